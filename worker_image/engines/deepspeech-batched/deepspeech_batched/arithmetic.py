"""Calls the functions of arithmetic.c, which build.sh compiles into the engine's environment."""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .model import Dense, Floats

Bytes = npt.NDArray[np.uint8]
Matrix = npt.NDArray[Any]
"""A layer's inputs multiplied by its weights: int32 if it is quantised, else float32."""


LIBRARIES = Path(sys.prefix) / "lib" / "deepspeech_batched"
PROCESSOR = Path("/proc/cpuinfo")


def _array(dtype: type) -> type:
    return np.ctypeslib.ndpointer(dtype, flags="C_CONTIGUOUS")


_FLOATS, _INTEGERS, _BYTES = map(_array, (np.float32, np.int32, np.uint8))
_FLOAT, _SIZE = ctypes.c_float, ctypes.c_size_t
FUNCTIONS = {
    "quantise": [_FLOATS, _SIZE, _FLOATS, _SIZE, _BYTES, _FLOATS, _SIZE],
    "layer_of_integers": [_INTEGERS, _FLOATS, _FLOAT, _FLOATS, _FLOAT, _FLOAT, _FLOATS, _SIZE, _SIZE],
    "layer_of_floats": [_FLOATS, _FLOATS, _FLOAT, _FLOAT, _FLOATS, _SIZE, _SIZE],
    "lstm_of_integers": [_INTEGERS, _FLOATS, _FLOAT, *5 * [_FLOATS], _SIZE, _SIZE],
    "lstm_of_floats": [*6 * [_FLOATS], _SIZE, _SIZE],
    "softmax": [_FLOATS, _SIZE, _SIZE],
    "logistic_of": [_FLOATS, _FLOATS, _SIZE],
    "tanh_of": [_FLOATS, _FLOATS, _SIZE],
}
"""The functions' arguments. They return nothing."""


def loaded(library: Path) -> ctypes.CDLL:
    """The functions of a library, with their arguments declared."""
    found = ctypes.CDLL(str(library))
    for name, arguments in FUNCTIONS.items():
        getattr(found, name).argtypes = arguments
        getattr(found, name).restype = None
    return found


def library_for(flags: Set[str]) -> Path:
    """The library for a CPU with these flags, of the two that give the same numbers."""
    return LIBRARIES / ("baseline+avx2.so" if "avx2" in flags else "baseline.so")


_LIBRARY = loaded(library_for({*PROCESSOR.read_text().split()} if PROCESSOR.exists() else set()))


def quantised(values: Floats, more: Floats) -> tuple[Bytes, Floats]:
    """Quantise rows symmetrically around zero, each with a scale of its own.

    Args:
        values: Shape (rows, n).
        more: Further columns of the same rows: shape (rows, m).

    Returns:
        the integers of shape (rows, n + m), 128 higher than they are, and each row's largest absolute value, which
        became 127: shape (rows,).
    """
    values, more, rows = np.ascontiguousarray(values), np.ascontiguousarray(more), len(values)
    integers, spans = np.empty((rows, values.shape[1] + more.shape[1]), np.uint8), np.empty(rows, np.float32)
    _LIBRARY.quantise(values, values.shape[1], more, more.shape[1], integers, spans, rows)
    return integers, spans


def dense(product: Matrix, spans: Floats | None, layer: Dense) -> Floats:
    """The outputs of a layer, from its product.

    Args:
        product: Shape (rows, outputs).
        spans: As `quantised` returns it. None if the layer's weights are float32.

    Returns:
        the outputs, of the product's shape.
    """
    result = np.empty(product.shape, np.float32)
    limits = (-math.inf, math.inf) if layer.ceiling is None else (0.0, layer.ceiling)
    if spans is None:
        _LIBRARY.layer_of_floats(product, layer.bias, *limits, result, *product.shape)
    else:
        _LIBRARY.layer_of_integers(product, spans, layer.scale, layer.bias, *limits, result, *product.shape)
    return result


def lstm(product: Matrix, spans: Floats | None, layer: Dense, cell: Floats) -> tuple[Floats, Floats]:
    """One step of the LSTM, from its layer's product.

    Args:
        product: Shape (rows, 4 * units), for the gates input, candidate, forget and output.
        spans: As `quantised` returns it. None if the layer's weights are float32.
        cell: Before the step: shape (rows, units).

    Returns:
        the new output and the new cell, both of shape (rows, units).
    """
    cell = np.ascontiguousarray(cell)
    new_output, new_cell = np.empty_like(cell), np.empty_like(cell)
    given = (layer.bias, cell, new_cell, new_output, np.empty(layer.outputs, np.float32), *cell.shape)
    if spans is None:
        _LIBRARY.lstm_of_floats(product, *given)
    else:
        _LIBRARY.lstm_of_integers(product, spans, layer.scale, *given)
    return new_output, new_cell


def softmax(values: Floats) -> Floats:
    """e**x divided by the sum of them, in each row: shape (rows, n)."""
    result = values.copy()
    _LIBRARY.softmax(result, *result.shape)
    return result


def logistic(values: Floats) -> Floats:
    """1 / (1 + e**-x) of each number."""
    result = np.empty_like(values)
    _LIBRARY.logistic_of(values, result, values.size)
    return result


def tanh(values: Floats) -> Floats:
    """The hyperbolic tangent of each number."""
    result = np.empty_like(values)
    _LIBRARY.tanh_of(values, result, values.size)
    return result
