"""A model with odd widths and random weights, and the layers in numpy."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from deepspeech_batched.model import AcousticModel, Dense, FeatureSettings, checked

UNITS, LETTERS = 37, 6
ALPHABET = struct.pack("<H", LETTERS - 1) + b"".join(
    struct.pack("<HH", label, 1) + letter.encode() for label, letter in enumerate(" abcd")
)
SETTINGS = FeatureSettings(
    sample_rate=8000,
    window=200,
    step=90,
    filters=14,
    lowest=50.0,
    highest=3900.0,
    coefficients=9,
    context=2,
    partial_window_keeps_samples=True,
)
Doubles = npt.NDArray[np.float64]


def small_model(quantised: bool) -> AcousticModel:
    chance = np.random.default_rng(3)

    def dense(inputs: int, outputs: int, ceiling: float | None) -> Dense:
        bias = chance.normal(0, 0.5, outputs).astype(np.float32)
        if quantised:
            weights = chance.integers(-127, 128, (inputs, outputs), np.int8)
            return Dense(weights, bias, 0.3 / 127 / np.sqrt(inputs), ceiling)
        return Dense(chance.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32), bias, None, ceiling)

    width = SETTINGS.coefficients * (2 * SETTINGS.context + 1)
    before = (dense(width, 33, 20.0), dense(33, 41, 20.0), dense(41, UNITS, 20.0))
    after = (dense(UNITS, 29, 20.0), dense(29, LETTERS, None))
    return checked(AcousticModel(before, dense(2 * UNITS, 4 * UNITS, None), after, SETTINGS, ALPHABET, 100))


def layer(inputs: npt.NDArray[np.float32], dense: Dense) -> Doubles:
    """A layer as TensorFlow Lite computes it with int8 weights, or in double precision."""
    if dense.scale is None:
        result = inputs.astype(np.float64) @ dense.weights.astype(np.float64)
    else:
        spans = np.abs(inputs).max(axis=1, keepdims=True)
        scaled = (inputs * (np.float32(127) / np.maximum(spans, np.float32(1e-30)))).astype(np.float64)
        integers = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
        result = (integers @ dense.weights.astype(np.float64)) * (spans / np.float64(127) * dense.scale)
    result = result + dense.bias
    return result if dense.ceiling is None else np.clip(result, 0, dense.ceiling)


def lstm_step(
    model: AcousticModel,
    inputs: npt.NDArray[np.float32],
    output: npt.NDArray[np.float32],
    cell: npt.NDArray[np.float32],
) -> tuple[Doubles, Doubles]:
    gates = layer(np.concatenate([inputs, output], axis=1), model.lstm)
    admit, candidate, forget, show = np.split(gates, 4, axis=1)
    new_cell = logistic(forget) * cell + logistic(admit) * np.tanh(candidate)
    return logistic(show) * np.tanh(new_cell), new_cell


def logistic(values: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-values))
