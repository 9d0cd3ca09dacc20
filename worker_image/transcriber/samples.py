"""The forms of sound that flow through the worker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Samples of one channel, of shape (n,), or of several, of shape (n, channels); full scale ±32768."""


@dataclass(frozen=True)
class Piece:
    """A stretch of one channel of a recording: its samples of shape (n,), and where it starts in seconds."""

    start: float
    samples: Samples
    channel: int = 1  # counted from 1
