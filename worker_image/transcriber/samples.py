"""The one form of sound that flows through the worker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Samples of one channel, of shape (n,), or of several, of shape (n, channels); full scale ±32768."""
