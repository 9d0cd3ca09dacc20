"""Types for audio samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Samples of shape (n,) for one channel or (n, channels) for several. Full scale is ±32768."""


class PieceSeconds(NamedTuple):
    """How long the pieces of a long recording are."""

    least: float = 10.0
    most: float = 30.0
    """At least 1.1 times `least`."""
    silence: float = 2.0
    """A silence this long ends a piece sooner. Its inside is skipped."""


USUAL_PIECES = PieceSeconds()


@dataclass(frozen=True)
class Piece:
    """A part of one channel of a recording, with its samples of shape (n,) and its start in seconds."""

    start: float
    samples: Samples
    channel: int = 1  # counted from 1
