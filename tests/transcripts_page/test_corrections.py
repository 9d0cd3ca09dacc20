"""Corrections as documents: what goes in comes out, and what makes no sense is refused."""

from __future__ import annotations

from typing import Any

import pytest

from transcription_contract.correction import Correction
from transcription_contract.results import ReportEntry
from transcripts_page.corrections import caption_file, correct

ENTRY = ReportEntry(
    "input/calls/a.wav", "transcribed", 0, source_etag="etag", transcript_version="v1", audio_seconds=2.5
)


def document(*channels: int | None) -> dict[str, Any]:
    """A transcript's JSON with a word for each channel."""
    segments = [
        {"channel": channel, "words": [{"text": f"word{at}", "start": at, "end": at + 0.5, "channel": channel}]}
        for at, channel in enumerate(channels)
    ]
    return {"channels": len(set(channels)), "segments": segments}


def test_a_correction_is_read_as_it_was_written() -> None:
    made = correct(ENTRY, document(None), "  wort eins \r\n", "ann")
    assert (made.name, made.source_etag, made.author, made.text) == ("calls/a.wav", "etag", "ann", "wort eins")
    assert (made.transcript_version, made.audio_seconds, made.speakers) == ("v1", 2.5, False)
    assert [word.text for word in made.words] == ["wort", "eins"]
    assert Correction.read(made.to_bytes()) == made


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"schema": 9}', b'{"schema": 1}', b'{"schema": 1, "words": 3}'])
def test_other_objects_are_no_corrections(body: bytes) -> None:
    assert Correction.read(body) is None


def test_captions_are_made_of_the_corrected_text() -> None:
    made = correct(ENTRY, document(1, 2), "Channel 1: word0\nChannel 2: words", "ann")
    assert made.speakers
    assert caption_file(made, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<v Channel 1>word0\n\n"
        "00:00:01.000 --> 00:00:02.000\n<v Channel 2>words\n"
    )
    assert "Channel 2: words" in caption_file(made, "srt")


def test_a_transcript_without_word_times_can_be_corrected() -> None:
    assert correct(ENTRY, None, "words", "ann").words == ()


@pytest.mark.parametrize(
    ("entry", "text", "message"),
    [
        (ENTRY, " \n ", "is empty. Write at least one word"),
        (ReportEntry("input/a.wav", "rejected", 0), "words", "'a.wav' has no transcript .* it is rejected"),
    ],
)
def test_what_cannot_be_corrected_is_refused_with_a_reason(entry: ReportEntry, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        correct(entry, None, text, "ann")
