"""The scorer's automaton of words, as DeepSpeech's decoder reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fine_tuning.dataset import Clip
from fine_tuning.evaluation import evaluate
from fine_tuning.scorer import ScorerError, automaton, build_scorer, const_fst

PROJECT = Path(__file__).parents[2]
MODEL = PROJECT / "worker_image/models/asterisk-en/asterisk-en.tflite"
SCORER = MODEL.with_suffix(".scorer")
LETTERS = [" ", *"abcdefghijklmnopqrstuvwxyz'"]
TEXT = "press five to leave a message"
CLIP = Clip("vm-leavemsg", PROJECT / "tests/recordings/vm-leavemsg.wav", TEXT, 2.08)


def words_of(states: list[list[tuple[int, int]]], state: int, start: str = "") -> set[str]:
    if not states[state]:
        return {start}
    found = (words_of(states, following, start + LETTERS[label - 1]) for label, following in states[state])
    return set().union(*found)


def test_the_automaton_accepts_its_words_and_no_others() -> None:
    words = {"press", "pressed", "dress", "a", "don't"}
    states = automaton(words, LETTERS)
    assert words_of(states, len(states) - 1) == {f"{word} " for word in words}


def test_words_with_the_same_ending_share_states() -> None:
    assert len(automaton(["press", "dress"], LETTERS)) == len(automaton(["press"], LETTERS))


def test_the_arcs_of_every_state_are_sorted_by_label_as_the_decoder_requires() -> None:
    for leaving in automaton(["b", "a", "c", "ab", "aa"], LETTERS):
        labels = [label for label, _ in leaving]
        assert labels == sorted(set(labels))


@pytest.fixture(scope="module")
def language_model() -> bytes:
    """The demo scorer's KenLM binary and header, without the automaton."""
    content = SCORER.read_bytes()
    return content[: content.index(b"EIRT") + 25]


def test_the_decoder_uses_the_words_of_the_scorer(tmp_path: Path, language_model: bytes) -> None:
    package = tmp_path / "words.scorer"
    package.write_bytes(language_model + const_fst(automaton(TEXT.split(), LETTERS), len(language_model)))
    evaluation = evaluate(MODEL, package, [CLIP])
    assert (evaluation.texts, evaluation.word_error_rate) == ([TEXT], 0)


def test_the_decoder_writes_no_other_words(tmp_path: Path, language_model: bytes) -> None:
    words = ["press", "one", "to", "leave", "a", "message", "mess"]
    package = tmp_path / "words.scorer"
    package.write_bytes(language_model + const_fst(automaton(words, LETTERS), len(language_model)))
    evaluation = evaluate(MODEL, package, [CLIP])
    assert set(evaluation.texts[0].split()) <= set(words)
    assert evaluation.word_error_rate > 0


def test_the_error_contains_kenlms_message(tmp_path: Path) -> None:
    lmplz = tmp_path / "lmplz"
    lmplz.write_text("#!/bin/sh\necho 'too little text' >&2\nexit 1\n")
    lmplz.chmod(0o755)
    with pytest.raises(ScorerError, match="lmplz failed: too little text"):
        build_scorer(["one"], LETTERS, tmp_path, tmp_path, tmp_path / "model.scorer")
