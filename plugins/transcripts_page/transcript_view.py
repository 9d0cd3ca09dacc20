"""A transcript as the page shows it: paragraphs of pieces, each with its place in the audio. Pure functions."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from transcription import searchable
from transcription_contract.correction import Correction
from transcription_contract.words import TimedWord

DOUBTFUL_BELOW = {"log_margin": 5.0, "probability": 0.5}
"""A word is doubtful if its certainty is less, by the measure of the transcript's JSON."""

PARAGRAPH_PAUSE_SECONDS = 1.5
"""A longer pause between two words starts a paragraph."""


class _Word(NamedTuple):
    word: TimedWord
    doubtful: bool


def of_document(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The paragraphs of a transcript's JSON.

    Returns:
        For each paragraph its `channel` (None if mixed) and `pieces`: `[text]` between words, `[text, start, end]` in
        seconds for a word, `[text, start, end, 1]` for a doubtful one.
    """
    measure = document.get("word_certainty") or ""
    below = DOUBTFUL_BELOW.get(measure, 0.0)
    words = (
        _Word(
            TimedWord(word["text"], word["start"], word["end"], word["channel"]),
            word.get(measure) is not None and word[measure] < below,
        )
        for segment in document["segments"]
        for word in segment["words"]
    )
    return _paragraphs(document["text"], words, speakers=searchable.has_speakers(dict(document)))


def of_correction(correction: Correction) -> list[dict[str, Any]]:
    """The paragraphs of a corrected text, as `of_document`. What a person wrote is not doubtful."""
    words = (_Word(word, doubtful=False) for word in correction.words)
    return _paragraphs(correction.text, words, speakers=correction.speakers)


def of_text(text: str) -> list[dict[str, Any]]:
    """The paragraphs of a text without word times, as `of_document`."""
    return _paragraphs(text.rstrip("\n"), (), speakers=False)


def other_readings(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The segments that have other readings: `start` in seconds, `text`, and `readings`, the best first."""
    return [
        {
            "start": segment["start"],
            "text": segment["text"],
            "readings": [reading["text"] for reading in segment["alternatives"]],
        }
        for segment in document["segments"]
        if segment["alternatives"]
    ]


def _paragraphs(text: str, words: Iterable[_Word], *, speakers: bool) -> list[dict[str, Any]]:
    waiting: defaultdict[int | None, deque[_Word]] = defaultdict(deque)
    for word in words:
        waiting[word.word.channel if speakers else None].append(word)
    return [
        {"channel": channel, "pieces": pieces}
        for _, channel, line in searchable.spoken_lines(text, speakers=speakers)
        for pieces in _parts(_pieces(line, waiting[channel]))
    ]


def _pieces(line: str, waiting: deque[_Word]) -> Iterator[list[Any]]:
    """Take the words off the queue that stand in the line one after the other; what is between is plain text."""
    at = 0
    while waiting:
        word, doubtful = waiting[0]
        begin = at
        while begin < len(line) and line[begin].isspace():
            begin += 1
        if not word.text or not line.startswith(word.text, begin):
            break
        waiting.popleft()
        if begin > at:
            yield [line[at:begin]]
        yield [word.text, word.start, word.end, *([1] if doubtful else [])]
        at = begin + len(word.text)
    if line[at:]:
        yield [line[at:]]


def _parts(pieces: Iterable[list[Any]]) -> Iterator[list[list[Any]]]:
    """Cut a line at its long pauses."""
    part: list[list[Any]] = []
    end: float | None = None
    for piece in pieces:
        if len(piece) > 1:
            if end is not None and piece[1] - end > PARAGRAPH_PAUSE_SECONDS:
                yield part
                part = []
            end = piece[2]
        part.append(piece)
    if part:
        yield part
