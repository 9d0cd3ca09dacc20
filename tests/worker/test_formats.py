"""Captions that can be read, and texts that a browser shows as they are."""

from __future__ import annotations

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from transcriber.captions import LEAST_SECONDS, LINE_CHARACTERS, LINES, MOST_SECONDS, captions
from transcriber.engine import Word
from transcriber.formats import render
from transcriber.log import log
from transcriber.transcript import Segment, Transcript


def transcript(*words: Word) -> Transcript:
    return Transcript([Segment(words[0].start, words[-1].end, list(words), -1.5)], words[-1].end, 1, 0.5, [])


def spoken(text: str, start: float = 0.0, pause: float = 0.1) -> list[Word]:
    words = []
    for word in text.split():
        words.append(Word(word, start, start + 0.06 * len(word)))
        start = words[-1].end + pause
    return words


def test_captions_break_at_pauses() -> None:
    words = spoken("good morning") + spoken("how are you", start=5)
    assert [caption.lines for caption in captions(words)] == [["good morning"], ["how are you"]]


def test_a_short_caption_stays_a_second_but_not_into_the_next() -> None:
    first, second = captions([Word("yes", 1.0, 1.2), Word("no", 2.0, 2.9)][:1] + spoken("no", start=1.9 + 0.2))
    assert (first.start, first.end) == (1.0, 1.0 + LEAST_SECONDS)
    close = captions([Word("yes", 1.0, 1.1), Word("no", 1.95, 2.1)])
    assert close[0].end == 1.95
    assert second.start == 2.1


words = st.lists(st.tuples(st.text("abc'é", min_size=1, max_size=60), st.floats(0.01, 3), st.floats(0, 4)), max_size=60)


@settings(max_examples=100, deadline=None)
@given(words)
def test_captions_keep_their_limits_and_every_word(parts: list[tuple[str, float, float]]) -> None:
    time, said = 0.0, []
    for text, length, pause in parts:
        said.append(Word(text, time, time + length))
        time += length + pause
    made = captions(said)
    assert "".join("".join(caption.lines) for caption in made).replace(" ", "") == "".join(w.text for w in said)
    for caption, following in zip(made, [*made[1:], None]):
        assert len(caption.lines) <= LINES
        assert all(len(line) <= LINE_CHARACTERS for line in caption.lines)
        assert 0 < caption.end - caption.start <= MOST_SECONDS + 1e-9
        assert following is None or caption.end <= following.start


def test_srt_numbers_its_blocks_and_writes_times_with_a_comma() -> None:
    made = transcript(*spoken("good morning", start=3661.5), *spoken("how are you", start=3670))
    text = render("srt", made, {}).decode("utf-8")
    blocks = text.strip().split("\n\n")
    assert blocks[0].startswith("1\n01:01:01,500 --> 01:01:02,")
    assert blocks[1].startswith("2\n01:01:10,000 --> ")
    assert all(re.fullmatch(r"\d+\n[\d:,]{12} --> [\d:,]{12}\n.+", block) for block in blocks)


def test_vtt_has_its_header_and_escapes_what_would_be_markup() -> None:
    text = render("vtt", transcript(Word("a<b>&", 0, 1)), {}).decode("utf-8")
    assert text == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na&lt;b&gt;&amp;\n"


def test_text_is_utf8_and_ends_with_one_newline() -> None:
    made = transcript(*spoken("grüße aus köln"))
    assert render("txt", made, {}) == "grüße aus köln\n".encode()
    assert json.loads(render("json", made, {}))["text"] == "grüße aus köln"


def test_no_name_can_forge_a_line_of_the_log(capsys) -> None:  # type: ignore[no-untyped-def]
    log("file", key='x.wav\n{"event":"forged"}\u2028\r\x1b[2J\ud800')
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.strip().isprintable()
    assert out.isascii()
    assert json.loads(out)["event"] == "file"
