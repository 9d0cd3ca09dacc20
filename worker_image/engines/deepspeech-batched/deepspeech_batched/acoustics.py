"""Runs the acoustic model in onnxruntime, on one thread."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from . import graph
from .model import AcousticModel, Dense, Floats


class InexactProducts(Exception):
    """The runtime's products of 8-bit numbers are wrong on this CPU."""


class Acoustics:
    """The acoustic model, ready to run.

    Args:
        model: What its file contains.

    Raises:
        InexactProducts: the model is quantised, and this CPU cannot run it.
    """

    def __init__(self, model: AcousticModel) -> None:
        self.units = model.units
        self.letters = model.after[1].outputs
        quantised = any(layer.scale is not None for layer in (*model.before, model.lstm, *model.after))
        unsigned = quantised and _needs_unsigned_weights()
        self._before, self._step, self._after = (
            Session(build(model, unsigned)) for build in (graph.before, graph.step, graph.after)
        )

    def before(self, inputs: Floats) -> Floats:
        """Layers 1 to 3 for frames in context: shape (frames, inputs) becomes (frames, units)."""
        return self._before.run(x=inputs)[0]

    def step(self, inputs: Floats, output: Floats, cell: Floats) -> tuple[Floats, Floats]:
        """One step of the LSTM for each row: the new output and cell. All have the shape (rows, units)."""
        new_output, new_cell = self._step.run(x=inputs, h=output, c=cell)
        return new_output, new_cell

    def after(self, outputs: Floats) -> Floats:
        """Layers 5, 6 and softmax: shape (frames, units) becomes (frames, letters)."""
        return self._after.run(h=outputs)[0]


class Session:
    """A graph that onnxruntime runs on one thread."""

    def __init__(self, built: graph.BuiltGraph) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        # No more than the basic optimisations: the next level has MatMulIntegerToFloatFusion, whose results differ.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        # The runtime uses these values where they are, so they must live as long as the session.
        self._weights = [
            (name, onnxruntime.OrtValue.ortvalue_from_numpy(values)) for name, values in built.weights.items()
        ]
        for name, value in self._weights:
            options.add_initializer(name, value)
        content = built.model.SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, **inputs: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """The graph's outputs."""
        return self._session.run(None, inputs)


def _needs_unsigned_weights() -> bool:
    """Whether the weights must be unsigned, because this CPU's fast product is not exact. If so, a line says it."""
    if products_are_exact(unsigned_weights=False):
        return False
    if not products_are_exact(unsigned_weights=True):
        raise InexactProducts("onnxruntime computes wrong products of 8-bit numbers on this CPU")
    print(
        "deepspeech-batched: this CPU cuts off products of 8-bit numbers (it has no VNNI), so the engine takes "
        "the slower products of unsigned numbers.",
        file=sys.stderr,
    )
    return True


def products_are_exact(unsigned_weights: bool) -> bool:
    """Whether the runtime's integer products are exact on this CPU: those of the largest numbers, and random ones."""
    chance = np.random.default_rng(7)
    weights = chance.integers(-127, 128, (96, 40), np.int8)
    weights[:, :8] = [127, -127, 127, -127, 127, -127, 127, -127]
    rows = chance.integers(-127, 128, (5, 96)).astype(np.float32)
    rows[:, 0] = 127  # so that quantising keeps all numbers as they are
    rows[:2] = [[127], [-127]]
    built = graph.Graph(unsigned_weights)
    layer = Dense(weights, np.zeros(40, np.float32), scale=1.0)
    finished = built.build({"x": 96}, {"y": (built.dense("x", layer), 40)})
    [found] = Session(finished).run(x=rows)
    return bool(np.array_equal(found, rows.astype(np.int64) @ weights.astype(np.int64)))
