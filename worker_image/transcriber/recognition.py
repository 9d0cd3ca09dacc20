"""What an engine recognises in a piece."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from transcription_contract.words import Word


class Reading(NamedTuple):
    """One of several candidate transcripts of a segment, with the engine's unnormalised log score."""

    text: str
    score: float


@dataclass(frozen=True)
class RecognisedSegment:
    """A stretch of a piece: the best reading and the next best ones. Times are in seconds from the piece's start."""

    start: float
    end: float
    words: list[Word]
    """At least one."""
    score: float
    """The engine's unnormalised log score: comparable only between readings of the same audio."""
    alternatives: list[Reading] = field(default_factory=list)
    language: str | None = None
    """Its code, if the engine found it out."""


@dataclass(frozen=True)
class Recognition:
    """An engine's result for one piece. Without segments it has no words."""

    segments: list[RecognisedSegment]
    compute_seconds: float = 0.0
    """CPU time of the engine's process."""

    @property
    def words(self) -> list[Word]:
        """The words of all segments."""
        return [word for segment in self.segments for word in segment.words]
