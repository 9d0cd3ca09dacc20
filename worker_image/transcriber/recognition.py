"""What an engine recognises in a piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Word(NamedTuple):
    """A recognised word and its times in seconds.

    margin is how much the log score falls from the best reading to the best one that lacks the word, or, if none
    does, to the last one; None if there is only one reading.
    """

    text: str
    start: float
    end: float
    margin: float | None = None


class Reading(NamedTuple):
    """One of several candidate transcripts of a piece, with the engine's unnormalised log score."""

    text: str
    score: float


@dataclass(frozen=True)
class Recognition:
    """An engine's result for one piece: the best reading and the next best ones."""

    words: list[Word]
    score: float
    """The engine's unnormalised log score: comparable only between readings of the same audio."""
    alternatives: list[Reading] = field(default_factory=list)
    compute_seconds: float = 0.0
    """CPU time of the engine's process."""
