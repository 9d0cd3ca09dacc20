"""A corrected text takes the times of the words that the machine heard."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcription_contract import captions
from transcription_contract.words import TimedWord
from transcripts_page.alignment import align, turns

HEARD = [
    TimedWord("pleas", 0.0, 0.4),
    TimedWord("leave", 0.4, 0.8),
    TimedWord("a", 1.0, 1.1),
    TimedWord("massage", 1.2, 2.2),
]


def times(text: str, heard: list[TimedWord] = HEARD, *, speakers: bool = False) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in align(text, heard, speakers=speakers)]


def test_kept_words_keep_their_times_and_others_take_those_of_the_words_that_they_replace() -> None:
    assert times("Please leave a message") == [
        ("Please", 0.0, 0.4),
        ("leave", 0.4, 0.8),
        ("a", 1.0, 1.1),
        ("message", 1.2, 2.2),
    ]


def test_capitals_and_punctuation_change_no_times() -> None:
    assert times("Leave, A massage!")[1:] == [("A", 1.0, 1.1), ("massage!", 1.2, 2.2)]


def test_several_words_share_the_time_of_one_and_added_words_the_pause_where_they_stand() -> None:
    assert times("pleas leave me a mess age") == [
        ("pleas", 0.0, 0.4),
        ("leave", 0.4, 0.8),
        ("me", 0.8, 1.0),
        ("a", 1.0, 1.1),
        ("mess", 1.2, 1.771),
        ("age", 1.771, 2.2),
    ]


def test_the_letters_of_a_script_without_spaces_are_aligned() -> None:
    heard = [TimedWord("今日", 0.0, 1.0), TimedWord("は", 1.0, 1.5), TimedWord("雨", 2.0, 2.5)]
    assert times("今日は晴", heard) == [("今", 0.0, 0.5), ("日", 0.5, 1.0), ("は", 1.0, 1.5), ("晴", 2.0, 2.5)]


def test_each_channel_is_aligned_with_its_own_words() -> None:
    heard = [TimedWord("hi", 0, 1, 1), TimedWord("bye", 4, 5, 1), TimedWord("yes", 2, 3, 2)]
    text = "Channel 1: hi\nChannel 2: yes\nChannel 1: bye"
    assert times(text, heard, speakers=True) == [("hi", 0, 1), ("yes", 2, 3), ("bye", 4, 5)]
    assert [(turn.speaker, turn.text) for turn in turns(text, align(text, heard, speakers=True), speakers=True)] == [
        ("Channel 1", "Channel 1: hi"),
        ("Channel 2", "Channel 2: yes"),
        ("Channel 1", "Channel 1: bye"),
    ]


def test_captions_have_the_corrected_text_at_the_times_of_the_machines_words() -> None:
    text = "Please leave a message"
    assert captions.srt(turns(text, align(text, HEARD, speakers=False), speakers=False)) == (
        "1\n00:00:00,000 --> 00:00:02,200\nPlease leave a message\n"
    )


WORDS = st.lists(st.sampled_from(["a", "b", "c", "今"]), max_size=20)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_every_written_word_has_a_time_within_the_recording(written: list[str], spoken: list[str]) -> None:
    heard = [TimedWord(text, float(number), number + 0.5) for number, text in enumerate(spoken)]
    text = " ".join(written)
    words = align(text, heard, speakers=False)
    assert [word.text for word in words] == written
    assert all(0 <= word.start <= word.end <= max(len(spoken), 0) for word in words)
    assert [word.start for word in words] == sorted(word.start for word in words)


@pytest.mark.parametrize("text", ["", "   \n  "])
def test_a_text_without_words_has_none(text: str) -> None:
    assert align(text, HEARD, speakers=False) == ()
