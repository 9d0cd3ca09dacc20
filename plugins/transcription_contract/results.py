"""The results of the worker and `verify`: objects' metadata, error documents, report entries, exit codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any
from urllib.parse import quote

from . import layout

WORDS_VERSION = 1
"""Part of the fingerprint of a transcript. Raise it when the same audio could give other words: the next run then
transcribes again what it finds. A release that changes nothing in the words leaves it as it is."""

# S3 user metadata of what the worker writes: of a transcript in each format, an error document, or moved audio.
RECORDING = "recording"
"""Whose transcript it is: `recording_id` of the recording's name."""
SOURCE_ETAG = "source-etag"
"""ETag of the version of the recording that was transcribed, rejected or moved."""
UPLOADED = "uploaded"
"""When the user uploaded that version, ISO 8601."""
RUN = "run"
"""Manifest prefix of the run that made the transcript."""
FINGERPRINT = "settings"
"""16 hexadecimal digits that differ whenever the same audio could give other words."""
AUDIO_SECONDS = "audio-seconds"
COMPUTE_SECONDS = "compute-seconds"
"""CPU time of the engines."""
ENGINE = "engine"
MODEL = "model"
REPLACES = "replaces"
"""Version id of the replaced transcript."""

_READABLE_NAME = 512  # S3 allows 2,048 bytes of metadata per object


def recording_id(name: str) -> str:
    """A recording's name (see `layout.recording_name`) as S3 metadata, which are short and ASCII.

    The name percent-encoded, or `sha256:` and its hash if that is longer than 512 characters.
    """
    encoded = quote(name)
    return encoded if len(encoded) <= _READABLE_NAME else f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


@dataclass(frozen=True)
class Owner:
    """Which version of which recording an object of the bucket belongs to, from its metadata."""

    recording: str = ""
    """As `recording_id`; empty if this pipeline did not write the object."""
    etag: str = ""
    uploaded: datetime | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Owner:
        """The owner in an object's metadata, or None if a user removed or changed the metadata."""
        try:
            uploaded = datetime.fromisoformat(metadata[UPLOADED])
        except (KeyError, ValueError):
            uploaded = None
        if uploaded is not None and uploaded.tzinfo is None:
            uploaded = None
        return cls(metadata.get(RECORDING, ""), metadata.get(SOURCE_ETAG, ""), uploaded)


ERROR_SCHEMA = 2
"""Version of the error document in `failed/`."""


class ErrorCode(StrEnum):
    """Why a recording has no transcript."""

    EMPTY = "empty"
    """The file has no bytes."""
    NOT_AUDIO = "not-audio"
    """No decoder knows the format."""
    NO_AUDIO = "no-audio"
    """The file has no audio track, or the track is empty."""
    UNDECODABLE = "undecodable"
    """The decoder does not know the codec, or it crashes or hangs."""
    TOO_LARGE = "too-large"
    """The file is larger than the container's scratch space."""
    TOO_LONG = "too-long"
    """The recording is longer than the worker's limit."""
    TOO_MANY_CHANNELS = "too-many-channels"
    NO_SPEECH = "no-speech"
    """The engine recognised no word."""
    ENGINE_TIMEOUT = "engine-timeout"
    """The engine hangs at the same piece twice."""
    ENGINE_CRASH = "engine-crash"
    """The engine crashes at the same piece twice."""
    UNREADABLE = "unreadable"
    """S3 denies access: the object is archived, or the worker may not use its KMS key. The audio stays in place."""
    VANISHED = "vanished"
    """The object was deleted before the worker read it."""
    NAME_TAKEN = "name-taken"
    """An object that the pipeline did not write has the transcript's key."""


@dataclass(frozen=True)
class ErrorDocument:
    """Why a recording has no transcript: a JSON object in `failed/`."""

    code: str
    """One of `ErrorCode`."""
    reason: str
    """A sentence that the recording's owner understands, with what to do."""
    detail: str
    """The libraries' messages."""
    source_key: str
    source_etag: str
    uploaded: str
    """ISO 8601."""
    run: str
    """Manifest prefix of the run."""
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """Time, engine, model and settings."""

    def to_bytes(self) -> bytes:
        """The content of the document."""
        fields = {"schema": ERROR_SCHEMA, **asdict(self)}
        made_by = fields.pop("made_by")
        return json.dumps({**fields, **made_by}, ensure_ascii=False, indent=1).encode()

    @classmethod
    def read(cls, body: bytes) -> ErrorDocument | None:
        """Read a document. Return None if it is not from this pipeline."""
        try:
            fields = json.loads(body)
            texts: dict[str, Any] = {name: str(fields[name]) for name in cls.__dataclass_fields__ if name != "made_by"}
            return cls(**texts)
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


@dataclass(frozen=True)
class ReportEntry:
    """What became of one planned recording: a line of `entries.jsonl`."""

    source_key: str
    state: str
    """`transcribed`, `rejected`, `replaced` or `missing`."""
    child: int
    """Array index of the child that had it."""
    log_stream: str = ""
    """CloudWatch log stream of the child's last attempt; empty if Batch does not know it."""
    transcript_key: str = ""
    """Empty, as what follows, unless the recording is transcribed."""
    audio_seconds: float = 0.0
    compute_seconds: float = 0.0
    """CPU time of the engines."""
    replaces: str = ""
    """Version id of the transcript that was there before."""
    code: str = ""
    """Of a rejected recording, one of `ErrorCode`."""
    reason: str = ""
    """Why there is no transcript."""
    source_etag: str = ""
    """Which version of the recording was planned."""
    engine: str = ""
    """Engine and version that made the transcript."""
    model: str = ""
    """Name of its model and the first 12 digits of the SHA-256."""
    settings: str = ""
    """`FINGERPRINT` of the transcript."""
    transcript_version: str = ""
    """Version id of the transcript."""
    time: str = ""
    """When the transcript was written, ISO 8601."""

    @property
    def name(self) -> str:
        """The recording's name, see `layout.recording_name`."""
        return layout.recording_name(self.source_key)

    def to_bytes(self) -> bytes:
        """The entry as a line; fields that say nothing are left out."""
        said = {name: value for name, value in asdict(self).items() if value or name == "child"}
        return json.dumps(said).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> ReportEntry:
        """Read a line that `to_bytes` made."""
        return cls(**json.loads(line))


class ExitCode(IntEnum):
    """How the worker ends. Batch retries a child that ends with another code than `DONE` and `PERMANENT`."""

    DONE = 0
    """Every recording of the manifest has its result."""
    TEMPORARY = 75
    """A new attempt can help: S3 trouble, a full disk, a container that had to stop (EX_TEMPFAIL)."""
    PERMANENT = 78
    """A new attempt cannot help: a wrong setting, manifest, model or permission (EX_CONFIG)."""
