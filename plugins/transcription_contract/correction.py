"""A person's correction of a transcript: an object beside the machine's text, which stays as it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from .words import TimedWord

SCHEMA = 1


@dataclass(frozen=True)
class Correction:
    """The corrected text of one version of a recording."""

    name: str
    """The recording's, see `layout.recording_name`."""
    source_etag: str
    """Which version of the recording: a later upload of the name has no correction until it gets its own."""
    author: str
    """Who corrected it, as Airflow names the user."""
    time: str
    """When, ISO 8601 in UTC."""
    text: str
    """Of separate channels, a line for each turn, such as `Channel 1: hello`."""
    audio_seconds: float
    """Duration of the recording."""
    transcript_version: str = ""
    """Version id of the transcript that was corrected."""
    speakers: bool = False
    """Whether each line of the text begins with its channel."""
    words: tuple[TimedWord, ...] = ()
    """The text's words in its order with the times of the machine's; empty if the transcript has no word times."""

    def to_bytes(self) -> bytes:
        """The content of the object."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, ensure_ascii=False).encode()

    @classmethod
    def read(cls, body: bytes) -> Correction | None:
        """Read a correction. Return None if the object is not from this pipeline, or of another version."""
        try:
            fields = json.loads(body)
            if fields.pop("schema") != SCHEMA:
                return None
            words = tuple(TimedWord(*word) for word in fields.pop("words"))
            return cls(**fields, words=words)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
