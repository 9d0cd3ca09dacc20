"""Mozilla DeepSpeech 0.9.3 as an engine (docs/engines.md).

The packages `deepspeech` and `deepspeech-tflite` have the same module, and Coqui's `stt` the same functions. So this
program serves all three, each in an environment of its own. One Model serves one thread of one process: two threads
segfault, a process forked after use hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
from engine_protocol import Refused, Samples, serve

PACKAGES = {"deepspeech": "deepspeech", "deepspeech-tflite": "deepspeech", "stt": "stt"}  # and their modules
# The cost grows faster than the length of a piece.
PIECE_SECONDS = {"least": 10.0, "most": 30.0, "silence": 2.0}
# Some versions crash on less than one window of 32 ms.
LEAST_SECONDS = 0.1
LAST_LETTER_SECONDS = 0.2
# What the error codes mean (native_client/deepspeech.h).
MEANINGS = {
    "0x2000": "its metadata does not fit this engine's version",
    "0x2001": "its alphabet cannot be read",
    "0x2002": "the scorer is damaged or no scorer of this version",
    "0x2003": "it was exported for another version of DeepSpeech (0.9 is needed)",
    "0x2004": "the scorer file cannot be read",
    "0x2005": "the scorer file cannot be read",
    "0x2006": "the scorer is damaged or of another version",
    "0x2007": "the scorer's dictionary is missing or damaged",
    "0x2008": "the scorer's dictionary is missing or damaged",
    "0x2009": "the scorer was made for another alphabet",
    "0x3000": "it is damaged or no model of this kind",
    "0x3001": "it is damaged or no model of this kind",
    "0x3002": "it is damaged or no model of this kind",
    "0x3005": "it is damaged or no model of this kind",
}


class Word(NamedTuple):
    """A recognised word and its times in seconds from the start of the piece."""

    text: str
    start: float
    end: float


class Reading(NamedTuple):
    """One of several candidate transcripts of a piece, with the engine's unnormalised log score."""

    text: str
    score: float


class DeepSpeech:
    """A loaded model and scorer.

    Args:
        given: The worker's first message.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        package = _package()
        module = import_module(PACKAGES[package])
        model, scorer, options = given["model"], given["scorer"], given["options"]
        self._model = _loading("model", model, lambda: module.Model(model))
        self._rate: int = self._model.sampleRate()
        self._readings: int = given["readings"]
        self._alternatives: int = options.get("alternatives", 0)
        if "beam_width" in options:
            self._model.setBeamWidth(options["beam_width"])
        if scorer is not None:
            _loading("scorer", scorer, lambda: self._model.enableExternalScorer(scorer))
        if "lm_alpha" in options:
            self._model.setScorerAlphaBeta(options["lm_alpha"], options["lm_beta"])
        for word, boost in options.get("hot_words", {}).items():
            self._model.addHotWord(word, boost)
        self.facts = {
            "name": package,
            "version": module.version(),
            "sample_rate": self._rate,
            "piece_seconds": PIECE_SECONDS,
            "pieces": 1,
            "certainty": "log_margin",
        }

    def recognise(self, pieces: Sequence[Samples]) -> list[list[dict[str, Any]]]:
        """The segments of each piece, one after the other: one, or none without words."""
        return [self._segments(piece) for piece in pieces]

    def _segments(self, samples: Samples) -> list[dict[str, Any]]:
        seconds = len(samples) / self._rate
        least = int(LEAST_SECONDS * self._rate)
        if len(samples) < least:
            samples = np.pad(samples, (0, least - len(samples)))
        best, *others = self._model.sttWithMetadata(samples, self._readings).transcripts
        words = words_of(best.tokens, len(samples) / self._rate)
        if not words:
            return []
        texts = [word.text for word in words]
        readings = _distinct(others, but=" ".join(texts))
        margins = _margins(texts, best.confidence, readings)
        return [
            {
                "start": 0.0,
                "end": seconds,
                "words": [[*word, margin] for word, margin in zip(words, margins)],
                "score": best.confidence,
                "alternatives": [reading for reading in readings if reading.text][: self._alternatives],
            }
        ]


def _package() -> str:
    for name in PACKAGES:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    raise Refused(f"This environment has none of the packages {', '.join(PACKAGES)}.")


def _loading(what: str, path: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except RuntimeError as error:
        code = next((code for code in MEANINGS if f"({code})" in str(error)), "")
        meaning = MEANINGS.get(code, "the engine refuses it")
        raise Refused(f"The {what} {path} cannot be used: {meaning} ({error})") from error


def words_of(tokens: Any, seconds: float) -> list[Word]:
    """Group an engine's tokens, one per character, into words.

    A token states only where its character starts, and a space can come long after the word, right before the
    next one. So a word ends where the space behind it starts, but at most LAST_LETTER_SECONDS after its last
    letter's start, and within the piece.
    """
    words: list[Word] = []
    letters: list[Any] = []
    for token in tokens:
        if token.text != " ":
            letters.append(token)
        elif letters:
            words.append(_word(letters, token.start_time))
            letters = []
    if letters:
        words.append(_word(letters, max(seconds, letters[-1].start_time)))
    return words


def _word(letters: list[Any], end: float) -> Word:
    end = min(end, letters[-1].start_time + LAST_LETTER_SECONDS)
    return Word("".join(letter.text for letter in letters), round(letters[0].start_time, 3), round(end, 3))


def _distinct(candidates: Any, but: str) -> list[Reading]:
    """The other readings, best first. Readings that differ only in spaces count as one."""
    readings: dict[str, Reading] = {}
    for candidate in candidates:
        text = " ".join("".join(token.text for token in candidate.tokens).split())
        if text != but:
            readings.setdefault(text, Reading(text, candidate.confidence))
    return list(readings.values())


def _margins(best: Sequence[str], score: float, others: Sequence[Reading]) -> list[float | None]:
    """How much the score falls without each word of the best reading: see `log_margin` in docs/engines.md."""
    if not others:
        return [None] * len(best)
    margins: list[float | None] = [score - others[-1].score] * len(best)
    # From the worst to the best, so that the best reading without a word sets its margin.
    for other in reversed(others):
        kept: set[int] = set()
        for block in SequenceMatcher(None, best, other.text.split(), autojunk=False).get_matching_blocks():
            kept.update(range(block.a, block.a + block.size))
        for number in set(range(len(best))) - kept:
            margins[number] = score - other.score
    return margins


if __name__ == "__main__":
    serve(DeepSpeech)
