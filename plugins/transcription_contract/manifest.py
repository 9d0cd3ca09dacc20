"""A child's manifest: JSON Lines with a header and then one recording per line.

`plan` writes it and the worker reads it. The header has the model, the scorer and the options of all recordings
that follow.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import layout, run_options
from .model_files import IMAGE_MODEL, ModelChoice
from .run_options import TranscriptionOptions

SCHEMA = 4

_encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make an encoder for each line


class ManifestError(ValueError):
    """The manifest is malformed or has another version. The message names the line."""


@dataclass(frozen=True)
class Header:
    """The settings for all recordings of a manifest."""

    model: ModelChoice = IMAGE_MODEL
    options: TranscriptionOptions = field(default_factory=TranscriptionOptions)

    def to_json(self) -> str:
        """The manifest's first line."""
        fields = {"schema": SCHEMA, **self.model._asdict(), "options": self.options.to_json()}
        return _encode(fields)


@dataclass(frozen=True)
class Recording:
    """One version of a recording.

    A million of them must fit in the memory of a small MWAA worker. So the class has slots, and properties compute the
    other keys.
    """

    __slots__ = ("keeps_extension", "source_etag", "source_key", "source_size", "uploaded")

    source_key: str
    source_etag: str
    """Without quotes."""
    source_size: int
    """In bytes."""
    uploaded: datetime
    """When the user uploaded it, with time zone."""
    keeps_extension: bool
    """Whether another recording may take the transcript key without the extension. This one then takes the whole name,
    unless the shorter key has its own earlier transcript."""

    @property
    def name(self) -> str:
        """The source key without `input/` or `processed/`."""
        return layout.recording_name(self.source_key)

    @property
    def transcript_keys(self) -> tuple[str, ...]:
        """The possible keys of its transcript (see `layout.transcript_keys`)."""
        return layout.transcript_keys(self.name)

    @property
    def processed_key(self) -> str:
        """Key of the audio after its transcript is written."""
        return layout.processed_key(self.name)

    @property
    def failed_key(self) -> str:
        """Key of the audio if it can never be transcribed."""
        return layout.failed_key(self.name)

    @property
    def error_key(self) -> str:
        """Key of the document with the reason why the recording could not be transcribed."""
        return layout.error_key(self.name)

    @property
    def in_place(self) -> bool:
        """Whether the audio is already in `processed/` and is transcribed again there."""
        return self.source_key == self.processed_key

    def to_json(self) -> str:
        """The recording's line, without a line feed: JSON escapes those of a key."""
        return _encode(
            {
                "source_key": self.source_key,
                "source_etag": self.source_etag,
                "source_size": self.source_size,
                "uploaded": self.uploaded.isoformat(),
                "keeps_extension": self.keeps_extension,
            }
        )


def to_bytes(header: Header, recordings: Iterable[Recording]) -> bytes:
    """The content of a manifest. The worker transcribes its recordings in this order."""
    lines = (header.to_json(), *(recording.to_json() for recording in recordings))
    return "".join(f"{line}\n" for line in lines).encode()


def read(lines: Iterable[bytes]) -> tuple[Header, Iterator[Recording]]:
    """Read a manifest as a stream: first the header, then one recording at a time.

    Args:
        lines: The manifest's lines, such as an open binary file.

    Raises:
        ManifestError: the header, or, while the recordings are read, a line is not of this schema.
    """
    rest = iter(lines)
    header = _parsed(_header, next(rest, b""), 1)
    return header, (_parsed(_recording, line, number) for number, line in enumerate(rest, start=2) if line.strip())


def _parsed(parse: Any, line: bytes, number: int) -> Any:
    try:
        fields = json.loads(line.decode())
        if not isinstance(fields, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004
        return parse(fields)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"line {number} of the manifest is malformed: {error}") from error


def _header(fields: dict[str, Any]) -> Header:
    if fields.get("schema") != SCHEMA:
        raise ValueError(f"it has schema {fields.get('schema')!r}, and this version reads schema {SCHEMA}")
    names = (fields.get("model"), fields.get("scorer"))
    model = ModelChoice(*(None if name is None else _text("model or scorer", name) for name in names))
    given = fields.get("options")
    if not isinstance(given, dict):
        raise ValueError(f"options must be an object, not {given!r}")  # noqa: TRY004
    return Header(model, run_options.parse(TranscriptionOptions, given))


def _recording(fields: dict[str, Any]) -> Recording:
    for name in Recording.__dataclass_fields__:
        if name not in fields:
            raise ValueError(f"{name} is missing")
    key = _text("source_key", fields["source_key"])
    if not key.startswith((layout.INPUT, layout.PROCESSED)) or key.endswith("/"):
        raise ValueError(f"source_key must name an object under {layout.INPUT} or {layout.PROCESSED}, not {key!r}")
    etag = _text("source_etag", fields["source_etag"])
    if '"' in etag or not etag.isascii() or not etag.isprintable():
        raise ValueError(f"source_etag must be an ETag without quotes, not {etag!r}")
    size = fields["source_size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError(f"source_size must be a number of bytes, not {size!r}")
    uploaded = datetime.fromisoformat(_text("uploaded", fields["uploaded"]))
    if uploaded.tzinfo is None:
        raise ValueError(f"uploaded must be a time with its offset from UTC, not {fields['uploaded']!r}")
    keeps_extension = fields["keeps_extension"]
    if not isinstance(keeps_extension, bool):
        raise ValueError(f"keeps_extension must be true or false, not {keeps_extension!r}")  # noqa: TRY004
    return Recording(key, etag, size, uploaded, keeps_extension)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a text, not {value!r}")
    value.encode("utf-8")  # a lone surrogate is not a key; UnicodeEncodeError is a ValueError
    return value
