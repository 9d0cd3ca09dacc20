"""A child's manifest: JSON Lines, one recording a line. The one contract with the worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from transcription import layout
from transcription.errors import ManifestUnreadable

SCHEMA = 1
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
                "schema": SCHEMA,
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


def to_bytes(lines: Iterable[Line]) -> bytes:
    """A child's manifest as it stands in the bucket."""
    return "".join(line.to_json() + "\n" for line in lines).encode()


def from_bytes(body: bytes, key: str) -> Iterator[Line]:
    """Read a manifest back, line by line.

    Raises:
        ManifestUnreadable: it is none of this schema; the message names its key.
    """
    try:
        for text in body.decode().split("\n"):
            if text:
                yield _line(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestUnreadable(
            f"The manifest {key!r} cannot be read ({error}). Clear `plan` of its run and what follows, which writes "
            "it anew; no recording is lost."
        ) from error


def _line(fields: dict[str, Any]) -> Line:
    if fields["schema"] != SCHEMA:
        raise ValueError(f"it has schema {fields['schema']!r}, not {SCHEMA}")
    values = {name: fields[name] for name in Line.__slots__}
    return Line(**{**values, "uploaded": datetime.fromisoformat(fields["uploaded"])})


def digest(manifests: Iterable[bytes]) -> str:
    """A short hash of a run's manifests, in order: two plans are the same if their digests are."""
    total = hashlib.sha256()
    for body in manifests:
        total.update(hashlib.sha256(body).digest())
    return total.hexdigest()[:DIGEST_LENGTH]
