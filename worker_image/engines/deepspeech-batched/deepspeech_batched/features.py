"""Features as TensorFlow's operations AudioSpectrogram and Mfcc compute them, in double precision and rounded twice.

The order of additions differs from TensorFlow's. That changes the last bits of a double, and so next to never the
float32 that it is rounded to.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .model import FeatureSettings, Floats

Doubles = npt.NDArray[np.float64]
FULL_SCALE = 32768
LEAST_ENERGY = 1e-12  # of a filter, before the logarithm


class Features:
    """Computes the features of whole pieces.

    Args:
        settings: The model's.
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self._settings = settings
        self._transform_length = 1 << (settings.window - 1).bit_length()
        self._taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)
        self._filters = mel_filters(settings, self._transform_length // 2 + 1)
        self._cosines = cosines(settings.filters, settings.coefficients)

    def coefficients(self, samples: npt.NDArray[np.int16]) -> Floats:
        """The coefficients of each frame.

        Args:
            samples: Mono, of shape (n,), at the model's rate; at least one window.

        Returns:
            Shape (frames, coefficients). The last frame is the partial window at the end.
        """
        windows = self._windows(samples)
        spectrum = np.fft.rfft(windows * self._taper, self._transform_length)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        energies = np.sqrt(power.astype(np.float64)) @ self._filters
        cepstrum = np.log(np.maximum(energies, LEAST_ENERGY)) @ self._cosines
        return cepstrum.astype(np.float32)

    def _windows(self, samples: npt.NDArray[np.int16]) -> Doubles:
        """The windows of shape (frames, window), in full scale 1."""
        window, step = self._settings.window, self._settings.step
        full = (len(samples) - window) // step + 1
        rest = samples[full * step :]
        known = np.concatenate([samples, np.zeros(step + window - len(rest), np.int16)])
        windows = np.lib.stride_tricks.sliding_window_view(known, window)[: full * step + 1 : step]
        scaled = windows.astype(np.float64) / FULL_SCALE
        if self._settings.partial_window_keeps_samples:
            scaled[full, len(rest) :] = scaled[full - 1, len(rest) :]
        return scaled

    def in_context(self, coefficients: Floats) -> Floats:
        """Each frame with the frames around it, which are the model's inputs. Outside of the piece are zeros.

        Returns:
            Shape (frames, 2 * context + 1, coefficients): a view, because a copy would be many times as large.
        """
        around = self._settings.context
        padded = np.pad(coefficients, ((around, around), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * around + 1, axis=0)
        return windows.transpose(0, 2, 1)


def mel(frequency: npt.ArrayLike) -> Doubles:
    """Hz on the mel scale."""
    scaled: Doubles = 1127.0 * np.log1p(np.asarray(frequency, np.float64) / 700.0)
    return scaled


def mel_filters(settings: FeatureSettings, bins: int) -> Doubles:
    """The weight of each bin of the spectrum in each filter: shape (bins, filters).

    The filters are triangles with equal distances on the mel scale. Each falls to zero at its neighbours' centres. Bins
    below the lower limit, and the one right above it, are left out, as TensorFlow does.
    """
    edges = np.linspace(mel(settings.lowest), mel(settings.highest), settings.filters + 2)
    hertz_per_bin = 0.5 * settings.sample_rate / (bins - 1)
    first, last = int(1.5 + settings.lowest / hertz_per_bin), int(settings.highest / hertz_per_bin)
    position = mel(np.arange(bins) * hertz_per_bin)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    falling = (high - position) / (high - centre)
    rising = 1 - (centre - position) / (centre - low)
    weights = np.where(position > centre, falling, rising).clip(min=0)
    used = (np.arange(bins) >= first) & (np.arange(bins) <= last)
    return weights * used[:, None]


def cosines(filters: int, coefficients: int) -> Doubles:
    """The discrete cosine transform: shape (filters, coefficients)."""
    angles = np.pi / filters * (np.arange(filters)[:, None] + 0.5) * np.arange(coefficients)
    return np.sqrt(2.0 / filters) * np.cos(angles)
