"""Packs the speech of a piece into windows of 30 seconds, as a window costs Whisper the same whether full or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Audio = npt.NDArray[np.float32]
"""Mono samples of shape (n,) at RATE, full scale ±1."""

Stretch = tuple[int, int]
"""Start and end of some speech, in samples of the piece."""

RATE = 16_000
WINDOW_SECONDS = 30
LEFT_SECONDS = 2.0  # longer than a word, and than the silences that the voice detector leaves in
DIGIT_SECONDS = 1.0  # the longest that a digit takes; a number of many digits is one word


@dataclass
class Window:
    """Stretches of speech that Whisper hears as one."""

    stretches: list[Stretch] = field(default_factory=list)
    """In order."""

    @property
    def length(self) -> int:
        """Samples of all stretches."""
        return sum(map(_length, self.stretches))

    @property
    def start(self) -> float:
        """Seconds of the piece."""
        return self.stretches[0][0] / RATE

    @property
    def end(self) -> float:
        """Seconds of the piece."""
        return self.stretches[-1][1] / RATE

    def audio(self, piece: Audio) -> Audio:
        """The stretches of the piece, without the silences between them."""
        return np.concatenate([piece[start:end] for start, end in self.stretches])

    def times_in_piece(self, start: float, end: float) -> tuple[float, float]:
        """Where a word of the window is in the piece, both in seconds. It ends in the stretch in which it starts."""
        before = 0.0
        for first, last in self.stretches:
            length = (last - first) / RATE
            if start < before + length or (first, last) == self.stretches[-1]:
                break
            before += length
        shift = first / RATE - before
        latest = last / RATE
        return min(start + shift, latest), min(end + shift, latest)

    def cut(self, seconds: float) -> tuple[Window, Window]:
        """The window until this second of it, and the rest."""
        place = round(self.times_in_piece(seconds, seconds)[0] * RATE)
        before = [(start, min(end, place)) for start, end in self.stretches if start < place]
        return Window(before), Window([(max(start, place), end) for start, end in self.stretches if end > place])


def next_window(speech: deque[Stretch]) -> Window:
    """Take the next stretches of speech, as many as fit into a window, at least one.

    Args:
        speech: What is left; loses what is taken. No stretch is longer than a window.
    """
    window = Window()
    while speech and (not window.stretches or window.length + _length(speech[0]) <= WINDOW_SECONDS * RATE):
        window.stretches.append(speech.popleft())
    return window


def _length(stretch: Stretch) -> int:
    return stretch[1] - stretch[0]


def left_out(words: Sequence[tuple[str, float, float]], length: float) -> tuple[float, float] | None:
    """Start and end of the first speech in a window that its text leaves out, or None.

    Without time stamps the model sometimes leaves out sentences. The alignment then stretches a word over them, or
    leaves them between two words.

    Args:
        words: Text, start and end of each word. All times are seconds of the window.
        length: Length of the window.
    """
    previous_end = 0.0
    for text, start, end in (*words, ("", length, length)):
        if start - previous_end > LEFT_SECONDS:
            return previous_end, start
        if end - start > max(LEFT_SECONDS, DIGIT_SECONDS * sum(map(str.isdigit, text))):
            return start, end
        previous_end = end
    return None


def trimmed(words: Sequence[tuple[float, float]], most: float) -> list[tuple[float, float]]:
    """Shorten words that the alignment stretches over a silence: the first one from its start, others from their end.

    Args:
        words: Start and end of each word in seconds.
        most: Longest that a word is, in seconds.
    """
    return [
        (max(start, end - most), end) if number == 0 else (start, min(end, start + most))
        for number, (start, end) in enumerate(words)
    ]
