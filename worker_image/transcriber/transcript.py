"""A finished transcript, and what is told about how it was made."""

from __future__ import annotations

from dataclasses import dataclass

from .engine import Word


@dataclass(frozen=True)
class Segment:
    """What was heard in one piece of the recording; times in seconds of the whole recording."""

    start: float
    end: float
    words: list[Word]
    score: float  # the engine's unnormalised log score

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class Transcript:
    segments: list[Segment]  # in order; only those with words
    duration: float  # seconds of the recording
    compute_seconds: float  # CPU time of the engines
    warnings: list[str]

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> list[Word]:
        return [word for segment in self.segments for word in segment.words]
