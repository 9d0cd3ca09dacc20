"""Give the words of a corrected text the times of the machine's words that they stand for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from transcription.searchable import spoken_lines, tokens
from transcription_contract.words import TimedWord, Turn, Word, speaker_of


def align(text: str, heard: Sequence[TimedWord], *, speakers: bool) -> tuple[TimedWord, ...]:
    """The words of a corrected text with times.

    A word that the machine heard, too, keeps its times. Words in the place of others share the time of those. Words
    that were added share the pause where they stand, which may be no time at all.

    Args:
        text: The corrected text; of separate channels, a line for each turn, such as `Channel 1: hello`.
        heard: The machine's words, in order of time within each channel.
        speakers: Whether each line begins with its channel.
    """
    heard_by: defaultdict[int | None, list[TimedWord]] = defaultdict(list)
    for word in heard:
        heard_by[word.channel if speakers else None] += _pieces(word)
    written = [(channel, token) for _, channel, line in spoken_lines(text, speakers=speakers) for token in tokens(line)]
    timed = {
        channel: _timed([token for at, token in written if at == channel], heard_by[channel], channel)
        for channel in {channel for channel, _ in written}
    }
    return tuple(next(timed[channel]) for channel, _ in written)


def turns(text: str, words: Sequence[TimedWord], *, speakers: bool) -> list[Turn]:
    """The turns of a corrected text, for its captions.

    Args:
        text: The corrected text.
        words: What `align` made of it.
        speakers: Whether each line begins with its channel.
    """
    left = iter(words)
    made = []
    for _, channel, line in spoken_lines(text, speakers=speakers):
        spoken = [
            Word(word.text, word.start, word.end, spaced=spaced)
            for (spaced, _), word in zip(_spaced_tokens(line), left, strict=False)
        ]
        if spoken:
            made.append(Turn(None if channel is None else speaker_of(channel), spoken))
    return made


def _pieces(word: TimedWord) -> Iterator[TimedWord]:
    """A machine's word cut as `tokens` cuts a text: letters of a script without spaces share the word's time."""
    cut = tokens(word.text)
    for text, start, end in _shared(cut, word.start, word.end):
        yield TimedWord(text, start, end, word.channel)


def _timed(written: Sequence[str], heard: Sequence[TimedWord], channel: int | None) -> Iterator[TimedWord]:
    matcher = SequenceMatcher(None, [_plain(word.text) for word in heard], [_plain(text) for text in written])
    for kind, first, end, first_written, end_written in matcher.get_opcodes():
        texts = written[first_written:end_written]
        if kind == "equal":
            for text, word in zip(texts, heard[first:end], strict=True):
                yield TimedWord(text, word.start, word.end, word.channel)
        elif texts:
            for text, start, stop in _shared(texts, *_span(heard, first, end)):
                yield TimedWord(text, start, stop, channel)


def _span(heard: Sequence[TimedWord], first: int, end: int) -> tuple[float, float]:
    """From the start of the first to the end of the last word; without any, the pause between its neighbours."""
    if first < end:
        return heard[first].start, heard[end - 1].end
    before = heard[first - 1].end if first else 0.0
    after = heard[first].start if first < len(heard) else before
    return before, max(before, after)


def _shared(texts: Sequence[str], start: float, end: float) -> Iterator[tuple[str, float, float]]:
    """Texts with their parts of a time, by their length."""
    letters = sum(map(len, texts))
    done = 0
    for text in texts:
        begin = start + (end - start) * done / letters
        done += len(text)
        yield text, round(begin, 3), round(start + (end - start) * done / letters, 3)


def _plain(text: str) -> str:
    """A word without what an editor changes most: capitals and the signs around it."""
    return "".join(filter(str.isalnum, text.casefold())) or text


def _spaced_tokens(line: str) -> Iterator[tuple[bool, str]]:
    """Each token, and whether a space goes before it."""
    at = 0
    for token in tokens(line):
        found = line.index(token, at)
        yield found == 0 or line[found - 1].isspace(), token
        at = found + len(token)
