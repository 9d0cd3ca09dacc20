"""Runs many pieces at once: each row of the batch works on a piece, and takes the next one when it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from .acoustics import Acoustics
from .features import Features
from .model import Floats

ROWS = 32
"""More rows share each reading of the weights. Above this number the gain is small."""
FRAMES_PER_ROUND = 16
"""Frames of a piece between two changes of rows. Rows do not depend on each other, so it does not change results."""


class _Row:
    """A piece on its way through the acoustic model."""

    def __init__(self, number: int, inputs: Floats, units: int, letters: int) -> None:
        self.number = number
        self._inputs = inputs
        self._begun = 0
        self.output = np.zeros(units, np.float32)
        self.cell = np.zeros(units, np.float32)
        self.probabilities = np.empty((len(inputs), letters), np.float32)

    @property
    def due(self) -> int:
        """Frames of the next round."""
        return min(FRAMES_PER_ROUND, len(self._inputs) - self._begun)

    def inputs(self) -> Floats:
        """Of the next round: shape (frames, inputs)."""
        return self._inputs[self._begun : self._begun + self.due].reshape(self.due, -1)

    def take(self, probabilities: Floats, output: Floats, cell: Floats) -> None:
        self.probabilities[self._begun : self._begun + len(probabilities)] = probabilities
        self._begun += len(probabilities)
        self.output, self.cell = output, cell


def probabilities(
    acoustics: Acoustics, features: Features, pieces: Sequence[npt.NDArray[np.int16]], rows: int = ROWS
) -> Iterator[tuple[int, Floats]]:
    """The probabilities of the letters in each frame of each piece.

    The longest pieces start first, so that few rows are empty at the end.

    Args:
        pieces: Mono samples of shape (n,) each, at the model's rate.
        rows: How many pieces run at once.

    Yields:
        the number of a piece that has ended, and its probabilities of shape (frames, letters).
    """
    waiting = sorted(range(len(pieces)), key=lambda number: len(pieces[number]))
    running: list[_Row] = []
    while waiting or running:
        while waiting and len(running) < rows:
            number = waiting.pop()
            inputs = features.in_context(features.coefficients(pieces[number]))
            running.append(_Row(number, inputs, acoustics.units, acoustics.letters))
        _run_round(acoustics, running)
        for row in running:
            if not row.due:
                yield row.number, row.probabilities
        running = [row for row in running if row.due]


def _run_round(acoustics: Acoustics, running: Sequence[_Row]) -> None:
    """Run the next frames of each row.

    The frames are packed without gaps: first the first frame of each row, then the second, and so on. The rows with the
    most frames are first, so those that have a frame at a step are always the first ones.
    """
    rows = sorted(running, key=lambda row: -row.due)
    counts = [row.due for row in rows]
    active = [sum(count > step for count in counts) for step in range(counts[0])]
    starts = np.cumsum([0, *active])
    order = np.concatenate([starts[:count] + place for place, count in enumerate(counts)])
    packed = np.empty((starts[-1], rows[0].inputs().shape[1]), np.float32)
    packed[order] = np.concatenate([row.inputs() for row in rows])

    inputs = acoustics.before(packed)
    output, cell = np.stack([row.output for row in rows]), np.stack([row.cell for row in rows])
    outputs = np.empty_like(inputs)
    for start, count in zip(starts, active):
        span = slice(start, start + count)
        output[:count], cell[:count] = acoustics.step(inputs[span], output[:count], cell[:count])
        outputs[span] = output[:count]
    found = acoustics.after(outputs)[order]

    for place, (row, part) in enumerate(zip(rows, np.split(found, np.cumsum(counts)[:-1]))):
        row.take(part, output[place], cell[place])
