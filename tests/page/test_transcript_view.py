"""A transcript as the page shows it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcription_contract.correction import Correction
from transcription_contract.words import TimedWord
from transcripts_page import transcript_view


def document(text: str, *words: dict[str, Any], channels: int = 1, measure: str | None = None) -> dict[str, Any]:
    """The parts of a transcript's JSON that matter here: a segment for each word."""
    return {
        "text": text,
        "channels": channels,
        "word_certainty": measure,
        "segments": [
            {
                "start": word["start"],
                "text": word["text"],
                "channel": word["channel"],
                "words": [word],
                "alternatives": [],
            }
            for word in words
        ],
    }


def word(text: str, start: float, end: float, channel: int | None = None, **certainty: Any) -> dict[str, Any]:
    return {"text": text, "start": start, "end": end, "channel": channel, **certainty}


def test_each_word_has_its_place_and_spaces_stand_between() -> None:
    found = transcript_view.of_document(document("hello you", word("hello", 0.5, 1.0), word("you", 1.1, 1.4)))
    assert found == [{"channel": None, "pieces": [["hello", 0.5, 1.0], [" "], ["you", 1.1, 1.4]]}]


def test_scripts_without_spaces_stay_together() -> None:
    found = transcript_view.of_document(document("你好", word("你", 0.0, 0.5), word("好", 0.5, 1.0)))
    assert found == [{"channel": None, "pieces": [["你", 0.0, 0.5], ["好", 0.5, 1.0]]}]


def test_a_long_pause_starts_a_paragraph() -> None:
    found = transcript_view.of_document(document("one two", word("one", 0, 1), word("two", 2.6, 3)))
    assert [part["pieces"] for part in found] == [[["one", 0, 1], [" "]], [["two", 2.6, 3]]]


@pytest.mark.parametrize(
    ("measure", "certainty", "doubtful"),
    [
        ("log_margin", 4.9, True),
        ("log_margin", 5.1, False),
        ("probability", 0.4, True),
        ("probability", 0.6, False),
        ("probability", None, False),
    ],
)
def test_a_word_of_little_certainty_is_doubtful(measure: str, certainty: float | None, doubtful: bool) -> None:
    sure: dict[str, Any] = {measure: certainty}
    [part] = transcript_view.of_document(document("a", word("a", 0, 1, **sure), measure=measure))
    assert part["pieces"] == [["a", 0, 1, 1] if doubtful else ["a", 0, 1]]


def test_channels_are_turns() -> None:
    words = [word("hi", 0, 1, 1), word("hello", 0.5, 1, 2), word("bye", 2, 3, 1)]
    text = "Channel 1: hi\nChannel 2: hello\nChannel 1: bye"
    found = transcript_view.of_document(document(text, *words, channels=2))
    assert [(part["channel"], part["pieces"]) for part in found] == [
        (1, [["hi", 0, 1]]),
        (2, [["hello", 0.5, 1]]),
        (1, [["bye", 2, 3]]),
    ]


def test_a_correction_shows_its_text_with_the_times_that_it_has() -> None:
    correction = Correction(
        "a.wav", "etag", "ann", "2026-11-28", "Hello, you!", 2.0, "v", words=(TimedWord("Hello,", 0, 1),)
    )
    assert transcript_view.of_correction(correction) == [{"channel": None, "pieces": [["Hello,", 0, 1], [" you!"]]}]


def test_a_text_without_times_is_shown_line_by_line() -> None:
    found = transcript_view.of_text("one two\nthree\n")
    assert found == [{"channel": None, "pieces": [["one two"]]}, {"channel": None, "pieces": [["three"]]}]


def test_only_segments_with_other_readings_are_listed() -> None:
    found = document("a b", word("a", 0, 1), word("b", 1, 2))
    found["segments"][1]["alternatives"] = [{"text": "bee", "log_score": -1.0}]
    assert transcript_view.other_readings(found) == [{"start": 1, "text": "b", "readings": ["bee"]}]


@settings(deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: not set(text) & set(" \n")), max_size=8
    )
)
def test_no_character_of_the_text_is_lost(texts: list[str]) -> None:
    words = [word(text, number, number + 0.5) for number, text in enumerate(texts)]
    text = " ".join(texts)
    parts = transcript_view.of_document(document(text, *words))
    assert "".join(piece[0] for part in parts for piece in part["pieces"]) == text
