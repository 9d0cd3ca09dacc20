"""Text and queries for the search, in any language and with anything that a user types."""

from __future__ import annotations

import sqlite3
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transcription import searchable
from transcription.searchable import END_OF_MARK, MARK, TOKENIZER, Places, fts_query, passages, shown
from transcription_contract.words import TimedWord


def found(text: str, typed: str) -> list[str]:
    """What a search for `typed` marks in the text."""
    index = sqlite3.connect(":memory:")
    index.execute(f'CREATE VIRTUAL TABLE texts USING fts5 (text, tokenize="{TOKENIZER}")')
    index.execute("INSERT INTO texts VALUES (?)", (searchable.searchable(text),))
    query = fts_query(typed)
    marked = index.execute(
        "SELECT highlight(texts, 0, ?, ?) FROM texts WHERE texts MATCH ?", (MARK, END_OF_MARK, query or '""')
    ).fetchone()
    index.close()
    return [passage.found for passage in passages(marked[0], None, most=9)] if marked else []


@pytest.mark.parametrize(
    ("text", "typed", "marked"),
    [
        ("press one to send", "SEND", ["send"]),
        ("press one to send", "send press", ["press", "send"]),
        ("press one to send", '"one to"', ["one to"]),
        ("press one to send", '"to one"', []),
        ("press one to send", "one two", []),
        ("pressing one", "press*", ["pressing"]),
        ("Crème brûlée", "creme", ["Crème"]),
        (unicodedata.normalize("NFD", "Crème brûlée"), "brûlée", [unicodedata.normalize("NFD", "brûlée")]),
        ("I don't know", "don't", ["don't"]),
        ("今日はいい天気ですね", "天気", ["天気"]),
        ("今日はいい天気ですね", "気天", []),
        ("今天天气很好", "天气 今天", ["今天", "天气"]),
        ("สวัสดีครับ", "ครับ", ["ครับ"]),
        ("हिन्दी भाषा", "हिन्दी", ["हिन्दी"]),
        ("хорошая погода", "Погода", ["погода"]),
        ("الطقس جميل", "جميل", ["جميل"]),
        ("날씨가 좋다", "날씨*", ["날씨가"]),
        ("call me OR text me", "OR", ["OR"]),
        ("a near b", "NEAR(a b)", []),
    ],
)
def test_words_are_found_in_any_language(text: str, typed: str, marked: list[str]) -> None:
    assert found(text, typed) == marked


@settings(deadline=None)
@given(st.text())
@example('"')
@example('""*')
@example("a AND (b")
@example("text:^x NOT")
@example("\x00*{}[]-+")
@example("\ud800")
def test_nothing_that_a_user_types_is_a_wrong_query(typed: str) -> None:
    found("some text", typed)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "Zs"))))
def test_a_searchable_text_is_shown_as_it_was(text: str) -> None:
    assert shown(searchable.searchable(text)) == text


def test_each_found_word_has_its_place_in_the_audio() -> None:
    words = [
        TimedWord("今日", 0.0, 0.5),
        TimedWord("は", 0.5, 0.6),
        TimedWord("hello", 1.25, 2),
        TimedWord("you", 900, 901),
    ]
    text = searchable.searchable("今日はhello you")
    where = Places.read(searchable.places(text, words, speakers=False).to_bytes())
    marked = text.replace("hello", f"{MARK}hello{END_OF_MARK}").replace("you", f"{MARK}you{END_OF_MARK}")
    assert [(p.before, p.found, p.after, p.seconds) for p in passages(marked, where, most=2)] == [
        ("今日は", "hello", " you", 1.25),
        ("今日はhello ", "you", "", 900.0),
    ]


def test_the_words_of_separate_channels_are_found_in_the_turns() -> None:
    words = [
        TimedWord("hello", 0.0, 0.4, 1),
        TimedWord("fine", 2.0, 2.4, 1),
        TimedWord("how", 1.0, 1.2, 2),
        TimedWord("are", 1.2, 1.4, 2),
    ]
    text = "Channel 1: hello\nChannel 2: how are\nChannel 1: fine"
    where = searchable.places(text, words, speakers=True)
    assert [(text[offset:].split()[0], start) for offset, start in zip(*where, strict=True)] == [
        ("hello", 0.0),
        ("how", 1.0),
        ("are", 1.2),
        ("fine", 2.0),
    ]


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("abc今日", min_size=1, max_size=4), st.floats(0, 90_000)), max_size=30))
def test_places_are_kept_to_a_hundredth_of_a_second(spoken: list[tuple[str, float]]) -> None:
    words = [TimedWord(text, start, start) for text, start in spoken]
    text = searchable.searchable(" ".join(word.text for word in words))
    where = searchable.places(text, words, speakers=False)
    again = Places.read(where.to_bytes())
    assert len(where.offsets) == len(words)
    assert again.offsets == where.offsets
    assert again.starts == pytest.approx(where.starts, abs=0.006)


def test_a_passage_is_cut_at_words() -> None:
    text = f"{'before ' * 30}{MARK}found{END_OF_MARK}{' after' * 30}"
    [passage] = passages(text, None, most=1)
    assert passage.before.startswith("…before before")
    assert passage.after.endswith(" after after…")
    assert len(passage.before) < 70
