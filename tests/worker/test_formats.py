"""Captions are readable and keep the limits. Texts are UTF-8."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pysubs2
import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.fuzzing import bounded
from transcriber.formats import render
from transcriber.log import log
from transcriber.transcript import Segment, Transcript
from transcription_contract.captions import LINE_CHARACTERS, LINES, READ_CHARACTERS, captions
from transcription_contract.words import Word


def transcript(*words: Word) -> Transcript:
    return Transcript([Segment(words[0].start, words[-1].end, list(words), -1.5)], words[-1].end, 1, 0.5, [])


def call(*channels: list[Word]) -> Transcript:
    segments = [Segment(0, 9, words, -1.5, number) for number, words in enumerate(channels, start=1) if words]
    return Transcript(segments, 9, len(channels), 0.5, [])


def spoken(text: str, start: float = 0.0, pause: float = 0.1) -> list[Word]:
    words = []
    for word in text.split():
        words.append(Word(word, start, start + 0.06 * len(word)))
        start = words[-1].end + pause
    return words


def lines(*words: Word) -> list[list[str]]:
    return [caption.lines for caption in captions(transcript(*words).turns)]


def test_captions_break_at_pauses() -> None:
    assert lines(*spoken("good morning"), *spoken("how are you", start=5)) == [["good morning"], ["how are you"]]


def test_a_caption_ends_at_a_short_pause_before_its_maximum_length() -> None:
    first = spoken("all of our representatives are currently busy")
    second = spoken("please stay on the line and your call will be answered", start=first[-1].end + 0.5)
    assert lines(*first, *second) == [
        ["all of our representatives", "are currently busy"],
        ["please stay on the line and", "your call will be answered"],
    ]


def test_a_long_text_is_split_evenly_and_leaves_no_single_word() -> None:
    text = "after the tone say your temporary message and then press the pound key and hold the line"
    assert len(text) > LINES * LINE_CHARACTERS
    result = [" ".join(caption) for caption in lines(*spoken(text))]
    assert " ".join(result) == text
    assert len(result) == 2
    assert min(map(len, result)) > 35


def test_the_two_lines_of_a_caption_have_about_the_same_length() -> None:
    assert lines(*spoken("please enter your password followed by the pound key")) == [
        ["please enter your password", "followed by the pound key"]
    ]


def test_a_caption_stays_for_its_reading_time_or_until_the_next_one() -> None:
    fast = spoken("please hold while i try to locate you", pause=0.0)
    (alone,) = captions(transcript(*fast).turns)
    assert alone.end == pytest.approx(sum(map(len, alone.lines)) / READ_CHARACTERS, abs=0.001)
    first, second = captions(transcript(Word("yes", 1.0, 1.5), Word("no", 2.4, 2.6)).turns)
    assert (first.start, first.end) == (1.0, 2.0)
    assert (second.start, second.end) == (2.4, 3.4)


def test_a_very_short_gap_between_two_captions_is_closed() -> None:
    for start, end in ((2.2, 2.2), (2.4, 2.0)):
        first, second = captions(transcript(Word("yes", 1.0, 1.1), Word("no", start, 3.0)).turns)
        assert (first.end, second.start) == (end, start)


def test_simultaneous_speech_is_shown_in_consecutive_captions_with_the_speakers_name() -> None:
    result = captions(
        call(
            spoken("please hold while i try to locate the person you are calling"), spoken("no thank you", start=1.5)
        ).turns
    )
    assert [(caption.speaker, " ".join(caption.lines)) for caption in result] == [
        ("Channel 1", "please hold while i try to locate the person you are calling"),
        ("Channel 2", "no thank you"),
    ]
    assert result[1].start == result[0].end > 2.9, "the second caption starts after the first speaker's last word"


def test_turns_are_in_order_of_time_and_have_the_speakers_name() -> None:
    agent = [*spoken("good morning how can i help"), *spoken("of course", start=9)]
    customer = spoken("my phone is dead", start=6)
    assert call(agent, customer).text == (
        "Channel 1: good morning how can i help\nChannel 2: my phone is dead\nChannel 1: of course"
    )


def test_a_turn_lasts_until_another_speaker_starts() -> None:
    agent = [*spoken("good morning"), *spoken("are you there", start=6)]
    assert call(agent, spoken("yes", start=12)).text == "Channel 1: good morning are you there\nChannel 2: yes"


def test_a_single_channel_has_no_name_but_the_only_channel_with_speech_has_one() -> None:
    assert call(spoken("good morning")).text == "good morning"
    assert call([], spoken("good morning")).text == "Channel 2: good morning"


WORDS_OF_A_CHANNEL = st.lists(
    st.tuples(st.text("abc'é", min_size=1, max_size=90), st.floats(0.01, 9), st.floats(0, 4)), max_size=40
)


@bounded(60)
@given(st.lists(WORDS_OF_A_CHANNEL, min_size=1, max_size=3).filter(any))
def test_two_independent_parsers_read_every_word_within_the_limits(spoken_words: list[Any]) -> None:
    channels: list[list[Word]] = []
    for parts in spoken_words:
        time = 0.0
        channels.append([])
        for text, length, pause in parts:
            channels[-1].append(Word(text, time, time + length))
            time += length + pause
    result = call(*channels)
    assert_readable(result)


def assert_readable(result: Transcript) -> None:
    """Check that SRT and VTT are equal, keep the limits, and contain all words of each channel."""
    srt = pysubs2.SSAFile.from_string(render("srt", result, {}).decode("utf-8"), "srt")
    vtt = webvtt.from_buffer(io.StringIO(render("vtt", result, {}).decode("utf-8"))).captions
    assert len(srt) == len(vtt)
    end = 0
    read_back: dict[str | None, str] = {}
    for cue, other in zip(srt, vtt, strict=True):
        assert (cue.start, cue.end) == (milliseconds(other.start_time), milliseconds(other.end_time))
        assert end <= cue.start
        assert 1000 <= cue.end - cue.start <= 7000
        end = cue.end
        assert cue.plaintext == (f"{other.voice}: " if other.voice else "") + other.text
        assert len(cue.plaintext.split("\n")) <= 2
        assert all(0 < len(line) <= 42 for line in cue.plaintext.split("\n"))
        read_back[other.voice] = read_back.get(other.voice, "") + other.text
    names = {None} if result.turns[0].speaker is None else {f"Channel {s.channel}" for s in result.segments}
    assert read_back.keys() == names
    for name in names:
        expected = [s.text for s in result.segments if name in (None, f"Channel {s.channel}")]
        assert "".join(read_back[name].split()) == "".join(" ".join(expected).split())


def milliseconds(time: Any) -> int:
    return ((time.hours * 60 + time.minutes) * 60 + time.seconds) * 1000 + time.milliseconds


def test_srt_has_numbered_blocks_and_times_with_a_comma() -> None:
    result = transcript(*spoken("good morning", start=3661.5), *spoken("how are you", start=3670))
    text = render("srt", result, {}).decode("utf-8")
    blocks = text.strip().split("\n\n")
    assert blocks[0].startswith("1\n01:01:01,500 --> 01:01:02,")
    assert blocks[1].startswith("2\n01:01:10,000 --> ")
    assert all(re.fullmatch(r"\d+\n[\d:,]{12} --> [\d:,]{12}\n.+", block) for block in blocks)


def test_vtt_has_a_header_and_escaped_text() -> None:
    text = render("vtt", transcript(Word("a<b>&", 0, 1)), {}).decode("utf-8")
    assert text == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na&lt;b&gt;&amp;\n"


def test_text_is_utf8_and_ends_with_one_newline() -> None:
    result = transcript(*spoken("grüße aus köln"))
    assert render("txt", result, {}) == "grüße aus köln\n".encode()
    assert json.loads(render("json", result, {}))["text"] == "grüße aus köln"


def test_no_name_can_forge_a_line_of_the_log(capsys) -> None:  # type: ignore[no-untyped-def]
    log("file", key='x.wav\n{"event":"forged"}\u2028\r\x1b[2J\ud800')
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.strip().isprintable()
    assert out.isascii()
    assert json.loads(out)["event"] == "file"
