"""The formats of a transcript: plain text, JSON (transcript.schema.json), SubRip and WebVTT captions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

from transcription_contract import captions
from transcription_contract.words import Word

from .transcript import Segment, Transcript

SCHEMA = 3
CONTENT_TYPES = {
    "txt": "text/plain; charset=utf-8",
    "json": "application/json",
    "srt": "text/plain; charset=utf-8",  # SubRip has no registered type; with other types a browser downloads the file
    "vtt": "text/vtt; charset=utf-8",
}


def render(form: str, transcript: Transcript, origin: Mapping[str, Any]) -> bytes:
    """A transcript as a file.

    Args:
        form: one of CONTENT_TYPES.
        origin: what made the transcript, from what; goes into the JSON as it is.
    """
    return _json(transcript, origin) if form == "json" else _FORMS[form](transcript).encode("utf-8")


def _txt(transcript: Transcript) -> str:
    return transcript.text + "\n"


def _json(transcript: Transcript, origin: Mapping[str, Any]) -> bytes:
    """Write one segment per line. Dictionaries of hours of words would take a hundred megabytes."""
    head = {
        "schema": SCHEMA,
        "text": transcript.text,
        "duration": round(transcript.duration, 3),
        "channels": transcript.channels,
        "compute_seconds": round(transcript.compute_seconds, 3),
        "warnings": transcript.warnings,
        **origin,
        "language": transcript.language or origin.get("language"),
    }
    written = io.BytesIO()
    written.write(_dumped(head, indent=1)[: -len("\n}")] + b',\n "segments": [')
    for number, segment in enumerate(transcript.segments):
        written.write((b",\n  " if number else b"\n  ") + _dumped(_segment(segment, origin.get("word_certainty"))))
    written.write(b"\n ]\n}\n")
    return written.getvalue()


def _dumped(document: Mapping[str, Any], indent: int | None = None) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=indent).encode("utf-8")


def _segment(segment: Segment, certainty: str | None) -> dict[str, Any]:
    return {
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "channel": segment.channel,
        "language": segment.language,
        "text": segment.text,
        "log_score": round(segment.score, 3),
        "words": [_word(word, segment.channel, certainty) for word in segment.words],
        "alternatives": [
            {"text": reading.text, "log_score": round(reading.score, 3)} for reading in segment.alternatives
        ],
    }


def _word(word: Word, channel: int | None, certainty: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "text": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "channel": channel,
    }
    if certainty:
        found[certainty] = None if word.certainty is None else round(word.certainty, 3)
    return found


_FORMS: dict[str, Callable[[Transcript], str]] = {
    "txt": _txt,
    "srt": lambda transcript: captions.srt(transcript.turns),
    "vtt": lambda transcript: captions.vtt(transcript.turns),
}
