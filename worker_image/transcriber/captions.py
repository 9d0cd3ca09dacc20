"""Captions that can be read: at most two lines of 42 characters, 1 to 7 seconds, broken at pauses.

The limits are those of common subtitling guides (BBC, Netflix).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from .engine import Word

LINE_CHARACTERS = 42
LINES = 2
LEAST_SECONDS = 1.0
MOST_SECONDS = 7.0
PAUSE_SECONDS = 0.8  # a longer pause ends a caption
SOFT_PAUSE_SECONDS = 0.3  # ends one that is already half full


@dataclass(frozen=True)
class Caption:
    start: float  # seconds
    end: float
    lines: list[str]


def captions(words: Sequence[Word]) -> list[Caption]:
    """Group words, in order, into captions that do not overlap."""
    groups: list[list[Word]] = []
    for word in words:
        if not groups or not _goes_on(groups[-1], word):
            groups.append([])
        groups[-1].append(word)
    starts: list[float | None] = [group[0].start for group in groups[1:]]
    return [_caption(group, following) for group, following in zip(groups, [*starts, None])]


def _goes_on(group: Sequence[Word], word: Word) -> bool:
    pause = word.start - group[-1].end
    text = _text(group)
    return (
        pause < PAUSE_SECONDS
        and not (pause >= SOFT_PAUSE_SECONDS and len(text) >= LINE_CHARACTERS)
        and len(_lines(f"{text} {word.text}")) <= LINES
        and word.end - group[0].start <= MOST_SECONDS
    )


def _caption(group: Sequence[Word], following: float | None) -> Caption:
    """A short caption stays longer, but never into the next one."""
    start = group[0].start
    end = min(max(group[-1].end, start + LEAST_SECONDS), start + MOST_SECONDS)
    if following is not None:
        end = min(end, max(following, start + 0.001))
    return Caption(start, end, _lines(_text(group)))


def _text(group: Sequence[Word]) -> str:
    return " ".join(word.text for word in group)


def _lines(text: str) -> list[str]:
    return textwrap.wrap(text, LINE_CHARACTERS, break_on_hyphens=False)
