"""What a model file contains: the layers, the settings of the features, and the metadata."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
GRAPH_VERSION = 6
"""Of DeepSpeech 0.9's models."""


class ModelFileError(Exception):
    """A model file cannot be used. The message continues a sentence about the file: "it …"."""


@dataclass(frozen=True)
class Dense:
    """A fully connected layer: x of shape (rows, inputs) becomes x @ weights + bias."""

    weights: npt.NDArray[Any]
    """Shape (inputs, outputs); int8 or float32."""
    bias: Floats
    """Shape (outputs,)."""
    scale: float | None
    """The value of one step of int8 weights. None if the weights are float32."""
    ceiling: float | None = None
    """The outputs are cut to 0 … ceiling. None if they are not."""

    @property
    def inputs(self) -> int:
        return int(self.weights.shape[0])

    @property
    def outputs(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class FeatureSettings:
    """How audio becomes mel-frequency cepstral coefficients (MFCC)."""

    sample_rate: int
    """Hz."""
    window: int
    """Samples of a frame."""
    step: int
    """Samples from the start of a frame to that of the next."""
    filters: int
    """Triangular filters on the mel scale."""
    lowest: float
    """Lower limit of the filters in Hz."""
    highest: float
    """Upper limit of the filters in Hz."""
    coefficients: int
    """Kept coefficients of a frame."""
    context: int
    """Frames before and after a frame that the model also sees."""
    partial_window_keeps_samples: bool
    """The rest of the last, partial window has the samples of the window before it. If not, it is silent."""


@dataclass(frozen=True)
class AcousticModel:
    """A DeepSpeech 0.9 model."""

    before: tuple[Dense, Dense, Dense]
    """Layers 1 to 3, before the LSTM."""
    lstm: Dense
    """Inputs: x and the previous output, of `units` each. Outputs: the gates input, candidate, forget, output."""
    after: tuple[Dense, Dense]
    """Layers 5 and 6, after the LSTM. The last one's outputs are the letters and the blank."""
    features: FeatureSettings
    alphabet: bytes
    """As DeepSpeech serialises it."""
    beam_width: int

    @property
    def units(self) -> int:
        """The width of the LSTM's state."""
        return self.lstm.outputs // 4


def checked(model: AcousticModel) -> AcousticModel:
    """The model, if its parts fit together.

    Raises:
        ModelFileError: they do not.
    """
    settings = model.features
    layers = [*model.before, model.lstm, *model.after]
    width = settings.coefficients * (2 * settings.context + 1)
    for layer, expected in zip(layers, [width, *(layer.outputs for layer in model.before[:2])]):
        _check(layer.inputs == expected)
    _check(model.units > 0 and model.lstm.outputs == 4 * model.units)
    _check(model.before[2].outputs == model.units and model.lstm.inputs == 2 * model.units)
    _check(model.after[0].inputs == model.units and model.after[1].inputs == model.after[0].outputs)
    for layer in layers:
        _check(layer.bias.shape == (layer.outputs,) and bool(np.isfinite(layer.bias).all()))
        _check((layer.scale is None) == (layer.weights.dtype == np.float32))
        _check(layer.scale is None or 0 < layer.scale < np.inf)
        _check(layer.ceiling is None or 0 < layer.ceiling < np.inf)
    _check(0 < settings.step <= settings.window <= settings.sample_rate <= 192_000)
    _check(0 < settings.coefficients <= settings.filters <= 1000)
    _check(0 <= settings.lowest < settings.highest <= settings.sample_rate / 2)
    _check(0 < model.beam_width <= 1_000_000)
    _check(len(letters(model.alphabet)) == model.after[1].outputs - 1)  # the last output is the blank
    return model


def letters(alphabet: bytes) -> list[bytes]:
    """The letters in the order of the model's outputs, in UTF-8.

    The serialised alphabet has their number, and for each its label, its length and itself; numbers have 16 bits
    (native_client/alphabet.cc).
    """
    (count,) = struct.unpack_from("<H", alphabet)
    found: dict[int, bytes] = {}
    position = 2
    for _ in range(count):
        label, length = struct.unpack_from("<HH", alphabet, position)
        position += 4 + length
        found[label] = alphabet[position - length : position]
    if position > len(alphabet) or sorted(found) != list(range(count)):
        raise ModelFileError("its alphabet cannot be read")
    return [found[label] for label in range(count)]


def _check(fits: bool) -> None:
    if not fits:
        raise ModelFileError("its layers or settings do not fit together")


def check_version(version: int) -> None:
    """Raise ModelFileError if the graph is older than DeepSpeech 0.9's."""
    if version < GRAPH_VERSION:
        raise ModelFileError(f"it was exported for another version of DeepSpeech (its graph is {version}, 0.9 has 6)")


def read_model(path: Path) -> AcousticModel:
    """Read a `.tflite`, `.pb` or `.pbmm`. The content decides which it is.

    Raises:
        ModelFileError: it is no DeepSpeech 0.9 model, or is damaged.
    """
    try:
        content: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        return checked(_reader(content[4:8].tobytes())(content))
    except ModelFileError:
        raise
    except Exception as error:  # a damaged file can have any number anywhere, and the parsers check little
        raise ModelFileError(f"it is damaged or no model of this kind ({error!r})") from error


def _reader(mark: bytes) -> Callable[[npt.NDArray[np.uint8]], AcousticModel]:
    # Imported here, because each needs packages that the other kind does not.
    if mark == b"TFL3":
        from .tflite_file import read
    else:
        from .graphdef_file import read
    return read
