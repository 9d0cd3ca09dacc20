"""A child's manifest: JSON Lines, a header and then one recording a line. The one contract with the worker.

The header has the schema, and the model and scorer of all that follows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from transcription import layout
from transcription.errors import ManifestUnreadable
from transcription.models import IMAGES_OWN, ModelChoice

SCHEMA = 2
DIGEST_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Line:
    """All that the worker needs to know of one recording.

    A million of them must fit in a small MWAA worker, so what follows from another field is none of its own.
    """

    source_key: str
    source_etag: str
    source_size: int
    uploaded: datetime
    transcript_key: str

    @property
    def name(self) -> str:
        """The source key without `input/` or `processed/`."""
        return self.source_key.partition("/")[2]

    @property
    def processed_key(self) -> str:
        """Where the audio goes once its transcript is safe."""
        return layout.PROCESSED + self.name

    @property
    def failed_key(self) -> str:
        """Where the audio goes if it can never be transcribed."""
        return layout.FAILED + self.name

    @property
    def error_key(self) -> str:
        """Key of the document that says why the recording could not be transcribed."""
        return self.failed_key + layout.ERROR_SUFFIX

    @property
    def in_place(self) -> bool:
        """Whether this is a reprocessing of a recording that was moved to `processed/` before."""
        return self.source_key == self.processed_key

    def to_json(self) -> str:
        """The line as JSON, without a line feed: JSON escapes those of a key."""
        return json.dumps(
            {
                "source_key": self.source_key,
                "source_etag": self.source_etag,
                "source_size": self.source_size,
                "uploaded": self.uploaded.isoformat(),
                "transcript_key": self.transcript_key,
                "processed_key": self.processed_key,
                "failed_key": self.failed_key,
            },
            ensure_ascii=False,
        )


def to_bytes(lines: Iterable[Line], choice: ModelChoice = IMAGES_OWN) -> bytes:
    """A child's manifest as it stands in the bucket."""
    header = json.dumps({"schema": SCHEMA, **choice._asdict()}, ensure_ascii=False)
    return "".join(f"{text}\n" for text in (header, *(line.to_json() for line in lines))).encode()


def from_bytes(body: bytes, key: str) -> Iterator[Line]:
    """Read a manifest's recordings back, line by line.

    Raises:
        ManifestUnreadable: it is none of this schema; the message names its key.
    """
    try:
        header, *lines = body.decode().split("\n")
        _check_schema(json.loads(header))
        for text in lines:
            if text:
                yield _line(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestUnreadable(
            f"The manifest {key!r} cannot be read ({error}). Clear `plan` of its run and what follows, which writes "
            "it anew; no recording is lost."
        ) from error


def _check_schema(header: dict[str, Any]) -> None:
    if header["schema"] != SCHEMA:
        raise ValueError(f"it has schema {header['schema']!r}, not {SCHEMA}")


def _line(fields: dict[str, Any]) -> Line:
    values = {name: fields[name] for name in Line.__slots__}
    return Line(**{**values, "uploaded": datetime.fromisoformat(fields["uploaded"])})


def digest(manifests: Iterable[bytes]) -> str:
    """A short hash of a run's manifests, in order: two plans are the same if their digests are."""
    total = hashlib.sha256()
    for body in manifests:
        total.update(hashlib.sha256(body).digest())
    return total.hexdigest()[:DIGEST_LENGTH]
