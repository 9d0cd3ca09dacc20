"""The one form of sound that flows through the worker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Mono samples of shape (n,), full scale ±32768, at the engines' sample rate."""
