"""The manifest of one Batch child: JSON Lines, a header and then one recording a line, every key already decided."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Callable, TypeVar

from .errors import ConfigError

SCHEMA = 2

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Recording:
    """One line: where a recording lies, which version of it was planned, and where its results go."""

    source_key: str
    source_etag: str  # without quotes
    source_size: int  # bytes
    uploaded: str  # ISO-8601, the source object's LastModified
    transcript_key: str
    processed_key: str
    failed_key: str

    @property
    def in_place(self) -> bool:
        """Whether audio that is already in its final place is transcribed anew."""
        return self.processed_key == self.source_key


@dataclass(frozen=True)
class Manifest:
    """What a child transcribes, and with what."""

    model: str | None  # a name of models.toml or s3://bucket/key; None: the environment's, which is the image's own
    scorer: str | None  # the same, or "none"; None: the model's own
    recordings: list[Recording]


def parse_manifest(text: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        ConfigError: it is no manifest of this schema; the message names the line.
    """
    first, *lines = text.split(b"\n")
    header = _parsed(_parse_header, first, 1)
    recordings = [_parsed(_parse_line, line, number) for number, line in enumerate(lines, start=2) if line.strip()]
    if not recordings:
        raise ConfigError("The manifest holds no recordings")
    for name in ("source_key", "transcript_key"):
        _refuse_shared([getattr(recording, name) for recording in recordings], name)
    return Manifest(header["model"], header["scorer"], recordings)


def _parsed(parse: Callable[[bytes], Parsed], line: bytes, number: int) -> Parsed:
    try:
        return parse(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"Line {number} of the manifest cannot be used: {error}") from error


def _parse_header(line: bytes) -> dict[str, str | None]:
    entry = _parse_object(line)
    if entry.get("schema") != SCHEMA:
        raise ValueError(f"it has schema {entry.get('schema')!r}, and this worker reads schema {SCHEMA}")
    return {name: None if entry.get(name) is None else _text(name, entry[name]) for name in ("model", "scorer")}


def _parse_object(line: bytes) -> dict[str, Any]:
    entry = json.loads(line.decode("utf-8"))
    if not isinstance(entry, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004
    return entry


def _parse_line(line: bytes) -> Recording:
    entry = _parse_object(line)
    values: dict[str, Any] = {}
    for field in fields(Recording):
        if field.name not in entry:
            raise ValueError(f"{field.name} is missing")
        values[field.name] = _CHECKS.get(field.name, _text)(field.name, entry[field.name])
    recording = Recording(**values)
    if recording.source_key in (recording.transcript_key, recording.failed_key):
        raise ValueError("a result would overwrite its own recording")
    return recording


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a text, not {value!r}")
    value.encode("utf-8")  # a lone surrogate is no key; UnicodeEncodeError is a ValueError
    return value


def _size(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a number of bytes, not {value!r}")
    return value


def _etag(name: str, value: object) -> str:
    etag = _text(name, value)
    if '"' in etag or not etag.isascii() or not etag.isprintable():
        raise ValueError(f"{name} must be an ETag without quotes, not {value!r}")
    return etag


def _ascii(name: str, value: object) -> str:
    text = _text(name, value)
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{name} must be an ISO-8601 time, not {value!r}")
    return text


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "source_size": _size,
    "source_etag": _etag,
    "uploaded": _ascii,
}


def _refuse_shared(keys: list[str], name: str) -> None:
    seen = set()
    for key in keys:
        if key in seen:
            raise ConfigError(f"Two lines of the manifest share the {name} {key!r}")
        seen.add(key)
