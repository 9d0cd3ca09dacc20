"""Words of a transcript with their times, and the turns of its speakers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Word(NamedTuple):
    """A recognised word and its times in seconds.

    certainty is how sure the engine is, in the measure that `EngineFacts.certainty` names; None if it does not know.
    """

    text: str
    start: float
    end: float
    certainty: float | None = None
    spaced: bool = True
    """Whether a space goes before it. Chinese and Japanese have none."""


def joined(words: Iterable[Word]) -> str:
    """The words as one text."""
    return "".join(f" {word.text}" if word.spaced else word.text for word in words).lstrip()


@dataclass(frozen=True)
class Turn:
    """The words of one channel until another channel's speaker starts."""

    speaker: str | None  # None if there is only one
    words: list[Word]

    @property
    def text(self) -> str:
        words = joined(self.words)
        return f"{self.speaker}: {words}" if self.speaker else words


def speaker_of(channel: int) -> str:
    """The name of a channel's speaker; channels are counted from 1."""
    return f"Channel {channel}"


class TimedWord(NamedTuple):
    """A word of a written transcript with its times in seconds from the start of the recording."""

    text: str
    start: float
    end: float
    channel: int | None = None
    """Counted from 1; None if the channels were mixed."""
