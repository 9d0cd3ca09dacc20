"""Text as SQLite's FTS5 finds it in any language, queries as users type them, and the words' places in the audio.

FTS5 knows words by spaces and signs. Scripts without spaces between words (Chinese, Japanese, Thai, Khmer, Lao,
Burmese) get a zero-width space at each letter, so that any part of a sentence is found as a phrase of letters.
Pages show such a text as it was.
"""

from __future__ import annotations

import re
import struct
import zlib
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from transcription_contract.words import TimedWord

TOKENIZER = "unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
"""Marks belong to a word, because Hindi and Thai write vowels with them."""

MARK, END_OF_MARK = "\x02", "\x03"
"""Stand around a found word in a text. `searchable` leaves none in a text."""

_ZERO_WIDTH = "\u200b"
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uff66-\uff9f\U00020000-\U0003ffff"
)
_LETTER_OF_UNSPACED = re.compile(rf"(?<=[{_UNSPACED}])(?=\S)|(?<=\S)(?=[{_UNSPACED}])")
_CONTROL = re.compile(rf"[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff{_ZERO_WIDTH}]")
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_SPEAKER = re.compile(r"Channel (\d+): ")
_CENTISECONDS = 100


class Places(NamedTuple):
    """Where the words of a searchable text are in the audio."""

    offsets: tuple[int, ...]
    """Characters before each word, in order."""
    starts: tuple[float, ...]
    """Seconds at which each word starts."""

    def to_bytes(self) -> bytes:
        """A compact form: differences in characters and hundredths of a second, compressed."""
        centiseconds = [round(start * _CENTISECONDS) for start in self.starts]
        numbers = [*_differences(self.offsets), *_differences(centiseconds)]
        return zlib.compress(struct.pack(f"<{len(numbers)}i", *numbers))

    @classmethod
    def read(cls, body: bytes) -> Places:
        """Read what `to_bytes` made."""
        packed = zlib.decompress(body)
        numbers = struct.unpack(f"<{len(packed) // 4}i", packed)
        half = len(numbers) // 2
        starts = (centiseconds / _CENTISECONDS for centiseconds in _sums(numbers[half:]))
        return cls(tuple(_sums(numbers[:half])), tuple(starts))

    def seconds(self, offset: int) -> float | None:
        """Start of the word at this character; None if no word is there or before it."""
        number = bisect_right(self.offsets, offset) - 1
        return self.starts[number] if number >= 0 else None


class Passage(NamedTuple):
    """A found word or phrase with the text around it."""

    before: str
    found: str
    after: str
    seconds: float | None
    """Where it starts in the audio; None if the transcript has no word times."""


def searchable(text: str) -> str:
    """The text as the index holds it; `shown` makes it a usual text again."""
    return _LETTER_OF_UNSPACED.sub(_ZERO_WIDTH, _CONTROL.sub("", text))


def shown(text: str) -> str:
    """The usual form of a searchable text."""
    return text.replace(_ZERO_WIDTH, "")


def tokens(text: str) -> list[str]:
    """The words of a text; of a script without spaces, each letter."""
    return _TOKEN.findall(text)


def fts_query(typed: str) -> str:
    """A query of FTS5 for what a user typed: all words, in any order, and phrases in quotes.

    A star at the end of a word or phrase finds all words that begin so. Every other sign is text, never an operator.

    Returns:
        The query, or an empty string if nothing was typed.
    """
    terms = []
    for phrase, word in _TERM.findall(_CONTROL.sub(" ", typed)):
        term = phrase.strip() or word
        begins = term.endswith("*")
        term = searchable(term.rstrip("*"))
        if term:
            terms.append(f'"{term}"*' if begins else f'"{term}"')
    return " ".join(terms)


def places(text: str, words: Iterable[TimedWord], *, speakers: bool) -> Places:
    """Find the words of a transcript in its searchable text.

    Args:
        text: As `searchable` returns it; of separate channels, a line for each turn, such as `Channel 1: hello`.
        words: In order of time, also within each channel.
        speakers: Whether each line begins with its channel.
    """
    waiting: defaultdict[int | None, deque[tuple[str, float]]] = defaultdict(deque)
    for word in words:
        waiting[word.channel if speakers else None].append((searchable(word.text), word.start))
    found = [
        place
        for begin, channel, line in spoken_lines(text, speakers=speakers)
        for place in _in_line(line, waiting[channel], begin)
    ]
    return Places(tuple(offset for offset, _ in found), tuple(start for _, start in found))


def spoken_lines(text: str, *, speakers: bool) -> Iterator[tuple[int, int | None, str]]:
    """The lines of a transcript: each one's offset in the text, its channel, and what was said.

    Args:
        text: A transcript's.
        speakers: Whether lines begin with their channels, such as `Channel 1: hello`.
    """
    offset = 0
    for line in text.split("\n"):
        speaker = _SPEAKER.match(line) if speakers else None
        begin = speaker.end() if speaker else 0
        yield offset + begin, int(speaker[1]) if speaker else None, line[begin:]
        offset += len(line) + 1


def words_of(document: dict[str, Any]) -> list[TimedWord]:
    """The words of a transcript's JSON, in its order."""
    return [
        TimedWord(word["text"], word["start"], word["end"], word["channel"])
        for segment in document["segments"]
        for word in segment["words"]
    ]


def has_speakers(document: dict[str, Any]) -> bool:
    """Whether the lines of a transcript's text begin with their channels, by its JSON."""
    return document["channels"] > 1 and all(segment["channel"] is not None for segment in document["segments"])


def passages(marked: str, where: Places | None, *, most: int, around: int = 60) -> list[Passage]:
    """The first found words of a text.

    Args:
        marked: The searchable text with `MARK` and `END_OF_MARK` around what was found.
        where: Of the same text without marks.
        most: How many passages.
        around: About how many characters before and after each.
    """
    made = []
    plain, *pieces = marked.split(MARK)
    texts = [piece.partition(END_OF_MARK) for piece in pieces]
    whole = plain + "".join(found + rest for found, _, rest in texts)
    offset = len(plain)
    for found, _, rest in texts[:most]:
        before, after = whole[:offset], whole[offset + len(found) :]
        seconds = where.seconds(offset) if where else None
        made.append(Passage(shown(_end_of(before, around)), shown(found), shown(_start_of(after, around)), seconds))
        offset += len(found) + len(rest)
    return made


def _in_line(line: str, waiting: deque[tuple[str, float]], begin: int) -> Iterator[tuple[int, float]]:
    """Take the words off the queue that stand in the line one after the other."""
    at = 0
    while waiting:
        while at < len(line) and line[at] in (" ", _ZERO_WIDTH):
            at += 1
        word, start = waiting[0]
        if not line.startswith(word, at):
            return
        waiting.popleft()
        yield begin + at, start
        at += len(word)


def _end_of(text: str, characters: int) -> str:
    """The last words of a text."""
    if len(text) <= characters:
        return text
    return "…" + re.sub(r"^\S*\s", "", text[-characters:], count=1)


def _start_of(text: str, characters: int) -> str:
    """The first words of a text."""
    if len(text) <= characters:
        return text
    return re.sub(r"\s\S*$", "", text[:characters], count=1) + "…"


def _differences(numbers: Iterable[int]) -> Iterator[int]:
    before = 0
    for number in numbers:
        yield number - before
        before = number


def _sums(differences: Iterable[int]) -> Iterator[int]:
    total = 0
    for difference in differences:
        total += difference
        yield total
