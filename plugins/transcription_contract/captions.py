"""Captions that can be read: at most two lines of 42 characters, 1 to 7 seconds, broken at pauses, one at a time.

The limits are those of common subtitling guides (BBC, Netflix). Where no pause shows where to break, the breaks are
those of the least cost, as TeX breaks paragraphs: no caption is nearly empty beside a full one.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .words import Turn, Word, joined

LINE_CHARACTERS = 42
LINES = 2
LEAST_SECONDS = 1.0
MOST_SECONDS = 7.0
PAUSE_SECONDS = 0.8  # a pause this long always ends a caption; shorter ones are preferred breaks
GAP_SECONDS = 0.3  # a shorter gap is closed: the caption stays until the next one
READ_CHARACTERS = 20.0  # reading speed per second, for the duration of a caption


@dataclass(frozen=True)
class Caption:
    start: float  # seconds
    end: float
    lines: list[str]
    speaker: str | None = None  # the first line has room for the name and a colon


def captions(turns: Sequence[Turn]) -> list[Caption]:
    """Make consecutive captions of the words.

    Where speakers talk at the same time, a caption waits for the one before it to be read.
    """
    groups = sorted(
        ((turn.speaker, words) for turn in turns for words in _groups(turn)), key=lambda group: group[1][0].start
    )
    starts = [round(words[0].start, 3) for _, words in groups]
    made: list[Caption] = []
    for (speaker, words), start, following in zip(groups, starts, [*starts[1:], math.inf], strict=True):
        lines = _lines(words, speaker)
        start = max(start, made[-1].end) if made else start
        made.append(
            Caption(start, _end(start, round(words[-1].end, 3), sum(map(len, lines)), following), lines, speaker)
        )
    return made


def srt(turns: Sequence[Turn]) -> str:
    """The captions as a SubRip file."""
    blocks = [
        f"{number}\n{_time(caption.start, ',')} --> {_time(caption.end, ',')}\n"
        + (f"{caption.speaker}: " if caption.speaker else "")
        + "\n".join(caption.lines)
        for number, caption in enumerate(captions(turns), start=1)
    ]
    return "\n\n".join(blocks) + "\n"


def vtt(turns: Sequence[Turn]) -> str:
    """The captions as a WebVTT file."""
    blocks = ["WEBVTT"] + [_cue(caption) for caption in captions(turns)]
    return "\n\n".join(blocks) + "\n"


def _cue(caption: Caption) -> str:
    text = html.escape("\n".join(caption.lines), quote=False)
    voice = f"<v {caption.speaker}>" if caption.speaker else ""
    return f"{_time(caption.start, '.')} --> {_time(caption.end, '.')}\n{voice}{text}"


def _time(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    hours, milliseconds = divmod(milliseconds, 3_600_000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{point}{milliseconds:03}"


def _end(start: float, spoken: float, characters: int, following: float) -> float:
    """The end of a caption: after its words and the time to read them, or at the start of the next one."""
    read = start + min(max(characters / READ_CHARACTERS, LEAST_SECONDS), MOST_SECONDS)
    end = max(read, spoken)
    if following - end < GAP_SECONDS:
        end = following
    if spoken > following:  # another speaker starts before this one ends
        end = min(read, spoken)
    return round(min(max(end, start + LEAST_SECONDS), start + MOST_SECONDS), 3)


def _groups(turn: Turn) -> Iterator[list[Word]]:
    """Break a turn at its long pauses, and the text between them at the breaks with the lowest cost."""
    words = [part for word in turn.words for part in _parts(word, turn.speaker)]
    first = 0
    for number, word in enumerate(words, start=1):
        if number == len(words) or words[number].start - word.end >= PAUSE_SECONDS:
            yield from _least_cost(words[first:number], turn.speaker)
            first = number


def _least_cost(words: Sequence[Word], speaker: str | None) -> Iterator[list[Word]]:
    """Find the best breaks by dynamic programming from the last word to the first."""
    costs = [0.0] * (len(words) + 1)
    breaks = [0] * len(words)
    for first in reversed(range(len(words))):
        options = ((_cost(words, first, end, size) + costs[end], end) for end, size in _fitting(words, first, speaker))
        costs[first], breaks[first] = min(options)
    first = 0
    while first < len(words):
        yield list(words[first : breaks[first]])
        first = breaks[first]


def _cost(words: Sequence[Word], first: int, end: int, characters: int) -> float:
    """The cost of a caption: a fixed part, its empty room, a break without a pause, and a too short duration."""
    cost = 1 + (1 - characters / (LINES * LINE_CHARACTERS)) ** 2
    if end < len(words):
        pause = max(words[end].start - words[end - 1].end, 0)
        cost += 1 - pause / PAUSE_SECONDS
        cost += 5 * max(0, LEAST_SECONDS - (words[end].start - words[first].start))
    return cost


def _fitting(words: Sequence[Word], first: int, speaker: str | None) -> Iterator[tuple[int, int]]:
    """The ends (exclusive) of the captions that can start with this word, and their characters."""
    line, used, characters = 1, _room(speaker), 0
    for number in range(first, len(words)):
        word = words[number]
        length = len(word.text) + (word.spaced and number > first)
        if used + length > LINE_CHARACTERS:
            line, used, length = line + 1, 0, len(word.text)
        if number > first and (line > LINES or word.end - words[first].start > MOST_SECONDS):
            return
        used += length
        characters += length
        yield number + 1, characters


def _lines(words: Sequence[Word], speaker: str | None) -> list[str]:
    """One line if the words fit, otherwise two lines of similar length."""
    room = _room(speaker)
    halves = [(joined(words[:middle]), joined(words[middle:])) for middle in range(1, len(words) + 1)]
    fitting = [half for half in halves if room + len(half[0]) <= LINE_CHARACTERS and len(half[1]) <= LINE_CHARACTERS]
    if fitting[-1][1] == "":
        return [fitting[-1][0]]
    return [*min(fitting, key=lambda half: abs(room + len(half[0]) - len(half[1])))]


def _parts(word: Word, speaker: str | None) -> list[Word]:
    """Split a word that is longer than a line into parts that share its time."""
    most = LINE_CHARACTERS - _room(speaker)
    if len(word.text) <= most:
        return [word]
    texts = [word.text[at : at + most] for at in range(0, len(word.text), most)]
    step = (word.end - word.start) / len(texts)
    return [
        Word(text, word.start + number * step, word.start + (number + 1) * step) for number, text in enumerate(texts)
    ]


def _room(speaker: str | None) -> int:
    return len(f"{speaker}: ") if speaker else 0
