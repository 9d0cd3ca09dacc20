"""Reads a `.tflite` model. Its weights are int8, or float32 if they were not quantised."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite
from flatbuffers import flexbuffers

from .model import AcousticModel, Dense, FeatureSettings, ModelFileError, check_version

STRIPE = 64

# A layer's outputs are found by going back from the model's output along these inputs.
_FOLLOWED_INPUT = {
    tflite.BuiltinOperator.SOFTMAX: 0,
    tflite.BuiltinOperator.FULLY_CONNECTED: 0,
    tflite.BuiltinOperator.MINIMUM: 0,
    tflite.BuiltinOperator.CONCATENATION: 0,
    tflite.BuiltinOperator.MUL: 0,
    tflite.BuiltinOperator.LOGISTIC: 0,
    tflite.BuiltinOperator.SPLIT: 1,  # its first input is the axis
    tflite.BuiltinOperator.STRIDED_SLICE: 0,
    tflite.BuiltinOperator.RESHAPE: 0,
}
_DTYPES = {
    tflite.TensorType.FLOAT32: np.dtype(np.float32),
    tflite.TensorType.INT32: np.dtype(np.int32),
    tflite.TensorType.INT8: np.dtype(np.int8),
    tflite.TensorType.UINT8: np.dtype(np.int8),  # how TensorFlow 1 names it in hybrid models
    tflite.TensorType.STRING: np.dtype(np.uint8),
}


def read(content: npt.NDArray[np.uint8]) -> AcousticModel:
    """Read the model from the bytes of its file."""
    file = _File(content)
    check_version(file.integer("metadata_version"))
    layers = [_dense(file, *found) for found in _layers(file)]
    if len(layers) != 6:
        raise ModelFileError(f"it has {len(layers)} layers with weights, and a DeepSpeech 0.9 model has 6")
    first, second, third, lstm, fifth, sixth = layers
    return AcousticModel(
        (first, second, third),
        lstm,
        (fifth, sixth),
        _features(file),
        _string(file.constant("metadata_alphabet").tobytes()),
        file.integer("metadata_beam_width"),
    )


class _File:
    """The tensors and operators of the file."""

    def __init__(self, content: npt.NDArray[np.uint8]) -> None:
        self._model = tflite.Model.GetRootAsModel(content, 0)
        self._graph = self._model.Subgraphs(0)
        self.operators = [self._graph.Operators(number) for number in range(self._graph.OperatorsLength())]
        self.maker = {
            operator.Outputs(number): operator
            for operator in self.operators
            for number in range(operator.OutputsLength())
        }
        self._numbers = {self.name(number): number for number in range(self._graph.TensorsLength())}

    def name(self, number: int) -> str:
        return str(self._graph.Tensors(number).Name().decode())

    def number(self, name: str) -> int:
        if name not in self._numbers:
            raise ModelFileError(f"it has no {name}, as every DeepSpeech 0.9 model has")
        return self._numbers[name]

    def shape(self, number: int) -> list[int]:
        tensor = self._graph.Tensors(number)
        return [tensor.Shape(dimension) for dimension in range(tensor.ShapeLength())]

    def kind(self, operator: Any) -> int:
        """One of `tflite.BuiltinOperator`'s values."""
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())

    def custom(self, name: str) -> tuple[Any, dict[str, Any]]:
        """The custom operator of this name, and its options."""
        for operator in self.operators:
            if self._model.OperatorCodes(operator.OpcodeIndex()).CustomCode() == name.encode():
                options = flexbuffers.Loads(operator.CustomOptionsAsNumpy().tobytes())
                return operator, options
        raise ModelFileError(f"it has no operation {name}, as every DeepSpeech 0.9 model has")

    def values(self, number: int) -> npt.NDArray[Any]:
        """The values of a constant in its shape."""
        tensor = self._graph.Tensors(number)
        if tensor.Type() not in _DTYPES:
            raise ModelFileError(f"{self.name(number)} has the unexpected type {tensor.Type()}")
        content = self._model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(content, int):
            raise ModelFileError(f"{self.name(number)} has no values")
        found = content.view(_DTYPES[tensor.Type()])
        return found if tensor.Type() == tflite.TensorType.STRING else found.reshape(self.shape(number))

    def scale(self, number: int) -> float | None:
        """The value of one step of a quantised constant. None if it is not quantised."""
        quantised = self._graph.Tensors(number).Quantization()
        if self.values(number).dtype != np.int8:
            return None
        if quantised.ScaleLength() != 1 or any(quantised.ZeroPoint(i) for i in range(quantised.ZeroPointLength())):
            raise ModelFileError(f"{self.name(number)} is quantised in a way that DeepSpeech does not use")
        return float(quantised.Scale(0))

    def constant(self, name: str) -> npt.NDArray[Any]:
        """The values of a metadata tensor: the model copies each from a constant."""
        number = self.number(name)
        maker = self.maker.get(number)
        return self.values(number if maker is None else maker.Inputs(0))

    def integer(self, name: str) -> int:
        return int(self.constant(name).reshape(-1)[0])


def _layers(file: _File) -> Iterator[tuple[Any, float | None]]:
    """The layers' operators in the order of the data, each with the ceiling of its outputs."""
    found: list[tuple[Any, float | None]] = []
    number, end, ceiling = file.number("logits"), file.number("input_node"), None
    while number != end:
        operator = file.maker[number]
        kind = file.kind(operator)
        if kind not in _FOLLOWED_INPUT:
            raise ModelFileError(f"it has the operation {kind} where a DeepSpeech 0.9 model has none")
        if len(found) > 6:
            raise ModelFileError("it has more layers than a DeepSpeech 0.9 model")
        if kind == tflite.BuiltinOperator.MINIMUM:
            ceiling = float(file.values(operator.Inputs(1)).reshape(-1)[0])
        if kind == tflite.BuiltinOperator.FULLY_CONNECTED:
            found.append((operator, ceiling))
            ceiling = None
        number = operator.Inputs(_FOLLOWED_INPUT[kind])
    return reversed(found)


def _dense(file: _File, operator: Any, ceiling: float | None) -> Dense:
    options = tflite.FullyConnectedOptions()
    options.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    rectified = options.FusedActivationFunction() == tflite.ActivationFunctionType.RELU
    if rectified != (ceiling is not None) or options.AsymmetricQuantizeInputs():
        raise ModelFileError("its layers have other options than those of a DeepSpeech 0.9 model")
    weights, bias = operator.Inputs(1), operator.Inputs(2)
    return Dense(
        _transposed(file.values(weights)), np.array(file.values(bias), np.float32), file.scale(weights), ceiling
    )


def _transposed(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A matrix's transpose, copied in stripes: numpy's own copy of a large one is slow."""
    result = np.empty(values.shape[::-1], values.dtype)
    for start in range(0, len(values), STRIPE):
        result[:, start : start + STRIPE] = values[start : start + STRIPE].T
    return result


def _features(file: _File) -> FeatureSettings:
    _, spectrogram = file.custom("AudioSpectrogram")
    mfcc_operator, mfcc = file.custom("Mfcc")
    _, _, frames, coefficients = file.shape(file.number("input_node"))
    rate = int(file.values(mfcc_operator.Inputs(1)).reshape(-1)[0])
    if rate != file.integer("metadata_sample_rate") or coefficients != mfcc["dct_coefficient_count"]:
        raise ModelFileError("its features do not fit its metadata")
    return FeatureSettings(
        sample_rate=rate,
        window=spectrogram["window_size"],
        step=spectrogram["stride"],
        filters=mfcc["filterbank_channel_count"],
        lowest=mfcc["lower_frequency_limit"],
        highest=mfcc["upper_frequency_limit"],
        coefficients=mfcc["dct_coefficient_count"],
        context=(int(frames) - 1) // 2,
        partial_window_keeps_samples=True,
    )


def _string(content: bytes) -> bytes:
    """The string of a tensor with one: their count, the offsets of the string and of its end, the string."""
    count, start, end = struct.unpack_from("<3i", content)
    if count != 1 or not 0 <= start <= end <= len(content):
        raise ModelFileError("its alphabet cannot be read")
    return content[start:end]
