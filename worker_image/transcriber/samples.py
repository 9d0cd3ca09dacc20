"""Types for audio samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Samples of shape (n,) for one channel or (n, channels) for several. Full scale is ±32768."""

MAX_SECONDS = 30.0
"""Maximum of a piece, unless the engine says otherwise."""


@dataclass(frozen=True)
class Piece:
    """A part of one channel of a recording, with its samples of shape (n,) and its start in seconds."""

    start: float
    samples: Samples
    channel: int = 1  # counted from 1
