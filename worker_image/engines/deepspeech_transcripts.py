"""What the engines with DeepSpeech's decoder share: from its transcripts to segments (docs/engines.md)."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import numpy as np
from engine_protocol import Samples

# The cost grows faster than the length of a piece.
PIECE_SECONDS = {"least": 10.0, "most": 30.0, "silence": 2.0}
# Some versions crash on less than one window of 32 ms.
LEAST_SECONDS = 0.1
LAST_LETTER_SECONDS = 0.2
CERTAINTY = "log_margin"
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


def long_enough(samples: Samples, sample_rate: int) -> Samples:
    """The samples, with silence behind them if they are too short."""
    least = int(LEAST_SECONDS * sample_rate)
    return np.pad(samples, (0, least - len(samples))) if len(samples) < least else samples


def meaning(error: str) -> str:
    """What an error with a code such as "0x2002" in it means."""
    return next((MEANINGS[code] for code in MEANINGS if code in error), "the engine refuses it")


def segments(transcripts: Sequence[Any], seconds: float, alternatives: int) -> list[dict[str, Any]]:
    """The segments of a piece, as docs/engines.md describes them: one, or none without words.

    Args:
        transcripts: DeepSpeech's, the best first. Each has `tokens` and `confidence`.
        seconds: The piece's length.
        alternatives: How many other readings to report.
    """
    best, *others = transcripts
    words = words_of(best.tokens, seconds)
    if not words:
        return []
    texts = [word.text for word in words]
    readings = distinct(others, but=" ".join(texts))
    return [
        {
            "start": 0.0,
            "end": seconds,
            "words": [[*word, margin] for word, margin in zip(words, margins(texts, best.confidence, readings))],
            "score": best.confidence,
            "alternatives": [reading for reading in readings if reading.text][:alternatives],
        }
    ]


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


def distinct(candidates: Any, but: str) -> list[Reading]:
    """The other readings, best first. Readings that differ only in spaces count as one."""
    readings: dict[str, Reading] = {}
    for candidate in candidates:
        text = " ".join("".join(token.text for token in candidate.tokens).split())
        if text != but:
            readings.setdefault(text, Reading(text, candidate.confidence))
    return list(readings.values())


def margins(best: Sequence[str], score: float, others: Sequence[Reading]) -> list[float | None]:
    """How much the score falls without each word of the best reading: see `log_margin` in docs/engines.md."""
    if not others:
        return [None] * len(best)
    found: list[float | None] = [score - others[-1].score] * len(best)
    # From the worst to the best, so that the best reading without a word sets its margin.
    for other in reversed(others):
        kept: set[int] = set()
        for block in SequenceMatcher(None, best, other.text.split(), autojunk=False).get_matching_blocks():
            kept.update(range(block.a, block.a + block.size))
        for number in set(range(len(best))) - kept:
            found[number] = score - other.score
    return found
