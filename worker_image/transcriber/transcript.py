"""A finished transcript: its segments with words, and the turns of its speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from transcription_contract.words import Turn, Word, joined, speaker_of

from .recognition import Reading

TURN_PAUSE_SECONDS = 0.5  # a longer pause may end a speaker's turn


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording with words. Times are in seconds from the start of the recording."""

    start: float
    end: float
    words: list[Word]
    score: float  # the engine's unnormalised log score
    channel: int | None = None  # counted from 1; None means all channels, mixed
    alternatives: list[Reading] = field(default_factory=list)
    language: str | None = None  # its code, if the engine found it out

    @property
    def text(self) -> str:
        return joined(self.words)


@dataclass(frozen=True)
class Transcript:
    segments: list[Segment]  # in order of their start; all have words
    duration: float  # seconds of the recording
    channels: int  # number of channels in the recording
    compute_seconds: float  # CPU time of the engines
    warnings: list[str]

    @property
    def language(self) -> str | None:
        """The language of most words, if the engine found it out."""
        words: Counter[str] = Counter()
        for segment in self.segments:
            if segment.language:
                words[segment.language] += len(segment.words)
        return words.most_common(1)[0][0] if words else None

    @property
    def text(self) -> str:
        return "\n".join(turn.text for turn in self.turns)

    @property
    def turns(self) -> list[Turn]:
        """The turns in order of time. Mono or mixed audio has one turn without a speaker."""
        spoken = {channel: self._words(channel) for channel in {segment.channel for segment in self.segments}}
        if self.channels == 1 or None in spoken:
            return [Turn(None, [word for words in spoken.values() for word in words])]
        utterances = [(channel, words) for channel in sorted(spoken, key=str) for words in _utterances(spoken[channel])]
        utterances.sort(key=lambda utterance: utterance[1][0].start)
        return [
            Turn(speaker_of(channel), [word for _, words in together for word in words])
            for channel, together in groupby(utterances, key=lambda utterance: utterance[0])
        ]

    def _words(self, channel: int | None) -> list[Word]:
        return [word for segment in self.segments if segment.channel == channel for word in segment.words]


def _utterances(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Cut the words of one channel at its pauses."""
    utterance: list[Word] = []
    for word in words:
        if utterance and word.start - utterance[-1].end >= TURN_PAUSE_SECONDS:
            yield utterance
            utterance = []
        utterance.append(word)
    yield utterance
