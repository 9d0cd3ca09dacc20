"""Builds the acoustic model as three ONNX graphs, with the arithmetic of libdeepspeech's runtimes.

`before` (layers 1 to 3) and `after` (layers 5, 6 and softmax) take any number of frames. `step` takes one frame of each
row. Every row is computed on its own, so its result does not depend on the other rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .model import AcousticModel, Dense

OPSET = 18
LARGEST = 127
"""A quantised number is in -LARGEST … LARGEST."""
LEAST_RANGE = np.float32(1e-30)
"""Rows of zeros are quantised with this range, to zeros."""
ALMOST_HALF = np.nextafter(np.float32(0.5), np.float32(0))
MIDDLE = 128
"""What stands for zero where signed numbers are stored as unsigned ones."""
UNITS_PER_BLOCK = 512
"""A block's numbers of all rows stay in the CPU's cache from one operation to the next."""

# Eigen's approximations, as (numerator's, denominator's) coefficients of x**2, the highest power first. The numerator
# is then multiplied by x. Above the limit the input is cut to the limit. Below -9 the logistic function is e**x,
# because the quotient loses digits there; tanh is cut at its negative limit.
# https://gitlab.com/libeigen/eigen/-/blob/386d809b/Eigen/src/Core/functors/UnaryFunctors.h (logistic)
# https://gitlab.com/libeigen/eigen/-/blob/386d809b/Eigen/src/Core/MathFunctionsImpl.h (tanh)
LOGISTIC_LIMIT = 16.619047164916992188
LOGISTIC_IS_EXP_BELOW = -9.0
LOGISTIC = (
    (4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03, 2.48287947061529e-01),
    (
        6.10247389755681e-13,
        5.76102136993427e-09,
        6.29106785017040e-06,
        1.70198817374094e-03,
        1.16817656904453e-01,
        9.93151921023180e-01,
    ),
)
TANH_LIMIT = 7.90531110763549805
TANH = (
    (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    ),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)
TANH_IS_X_BELOW = 0.0004


@dataclass(frozen=True)
class BuiltGraph:
    """A finished graph."""

    model: ModelProto
    weights: dict[str, npt.NDArray[Any]]
    """Its large constants. They are not in `model`, so that there are no copies of them."""


class Graph:
    """A graph in the making. Its methods add an operation and return the name of what that makes."""

    def __init__(self, unsigned_weights: bool) -> None:
        self._unsigned_weights = unsigned_weights
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._weights: dict[str, npt.NDArray[Any]] = {}

    def add(self, operation: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add an operation. Return its output's name, or a list of names if it has several."""
        names = [f"{operation}_{len(self._nodes)}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(operation, list(inputs), names, **attributes))
        return names if outputs > 1 else names[0]

    def constant(self, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant. Equal scalars are stored once."""
        array = np.asarray(values, dtype)
        name = f"{array.dtype}_{array.item()!r}" if array.ndim == 0 else f"constant_{len(self._constants)}"
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(array, name)
        return name

    def weights(self, values: npt.NDArray[Any]) -> str:
        """Add a large constant."""
        name = f"weights_{len(self._weights)}"
        self._weights[name] = np.require(values, requirements=["C", "ALIGNED"])
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        declared = TensorProto(name=name, data_type=kind, dims=values.shape, data_location=TensorProto.EXTERNAL)
        declared.external_data.add(key="location", value="memory")
        self._constants[name] = declared
        return name

    def number(self, operation: str, value: str, number: float) -> str:
        """Apply an operation such as `Mul` to a value and a float32."""
        return str(self.add(operation, value, self.constant(number)))

    def split(self, value: str, *columns: int) -> list[str]:
        """Cut a value into parts of so many columns."""
        if len(columns) == 1:
            return [value]
        sizes = self.constant(columns, np.int64)
        return list(self.add("Split", value, sizes, outputs=len(columns), axis=-1))

    def joined(self, values: Sequence[str]) -> str:
        """Put values side by side."""
        return str(self.add("Concat", *values, axis=-1))

    def polynomial(self, square: str, coefficients: Sequence[float]) -> str:
        """By Horner's scheme, with a rounding after each product and each sum."""
        result = self.number("Mul", square, coefficients[0])
        for coefficient in coefficients[1:-1]:
            result = self.add("Mul", square, self.number("Add", result, coefficient))
        return self.number("Add", result, coefficients[-1])

    def cut(self, value: str, low: float, high: float) -> str:
        return str(self.add("Clip", value, self.constant(low), self.constant(high)))

    def rational(self, value: str, coefficients: tuple[Sequence[float], Sequence[float]]) -> str:
        square = self.add("Mul", value, value)
        numerator = self.add("Mul", value, self.polynomial(square, coefficients[0]))
        return str(self.add("Div", numerator, self.polynomial(square, coefficients[1])))

    def chosen(self, condition: str, value: str, other: str) -> str:
        """The value where the condition is true, else the other; both are finite. (The runtime's `Where` is slow.)"""
        one = self.add("Cast", condition, to=TensorProto.FLOAT)
        zero = self.add("Sub", self.constant(1), one)
        return str(self.add("Add", self.add("Mul", value, one), self.add("Mul", other, zero)))

    def logistic(self, value: str) -> str:
        cut = self.cut(value, LOGISTIC_IS_EXP_BELOW, LOGISTIC_LIMIT)
        ratio = self.number("Add", self.rational(cut, LOGISTIC), 0.5)
        small = self.number("Less", value, LOGISTIC_IS_EXP_BELOW)
        return self.chosen(small, self.add("Exp", self.number("Min", value, 0.0)), ratio)

    def tanh(self, value: str) -> str:
        ratio = self.rational(self.cut(value, -TANH_LIMIT, TANH_LIMIT), TANH)
        tiny = self.number("Less", self.add("Abs", value), TANH_IS_X_BELOW)
        return self.chosen(tiny, value, ratio)

    def dense(self, value: str, layer: Dense, positive: bool = False) -> str:
        """A layer. `positive`: no input is below zero."""
        if layer.scale is None:
            product = self.add("MatMul", value, self.weights(layer.weights))
        else:
            product = self._quantised_product(value, layer.weights, layer.scale, positive)
        result = self.add("Add", product, self.constant(layer.bias))
        return self.cut(result, 0.0, layer.ceiling) if layer.ceiling is not None else str(result)

    def _quantised_product(self, value: str, weights: npt.NDArray[np.int8], scale: float, positive: bool) -> str:
        """TensorFlow Lite's hybrid product: each row is quantised with a scale of its own, symmetric around zero."""
        size = value if positive else self.add("Abs", value)
        largest = self.add("ReduceMax", size, self.constant([-1], np.int64), keepdims=1)
        span = self.number("Max", largest, float(LEAST_RANGE))
        scaled = self.add("Mul", value, self.add("Div", self.constant(LARGEST), span))
        integers, zero = self._rounded(scaled, positive)
        product = self.add("Cast", self._integer_product(integers, zero, weights), to=TensorProto.FLOAT)
        return str(self.add("Mul", product, self.number("Mul", self.number("Div", span, LARGEST), scale)))

    def _rounded(self, value: str, positive: bool) -> tuple[str, str]:
        """Rounded to unsigned integers, halves away from zero (a cast cuts fractions off), and what stands for zero."""
        if positive:
            moved = self.number("Add", value, float(ALMOST_HALF))
            return str(self.add("Cast", moved, to=TensorProto.UINT8)), self.constant(0, np.uint8)
        # A half with the number's sign, or less for numbers below a half, which become 0 in any case.
        half = self.cut(value, -float(ALMOST_HALF), float(ALMOST_HALF))
        signed = self.add("Cast", self.add("Add", value, half), to=TensorProto.INT32)
        # The runtime has no fast product of signed numbers, so 128 is added.
        moved = self.add("Add", signed, self.constant(MIDDLE, np.int32))
        return str(self.add("Cast", moved, to=TensorProto.UINT8)), self.constant(MIDDLE, np.uint8)

    def _integer_product(self, integers: str, zero: str, weights: npt.NDArray[np.int8]) -> str:
        if not self._unsigned_weights:
            return str(self.add("MatMulInteger", integers, self.weights(weights), zero))
        moved = self.weights(weights.view(np.uint8) ^ np.uint8(MIDDLE))
        return str(self.add("MatMulInteger", integers, moved, zero, self.constant(MIDDLE, np.uint8)))

    def build(self, inputs: dict[str, int], outputs: dict[str, tuple[str, int]]) -> BuiltGraph:
        """The finished graph.

        Args:
            inputs: The inputs' names, with their columns.
            outputs: The outputs' names, with the names of the values in this graph and their columns.
        """
        for name, (value, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [name]))
        graph = helper.make_graph(
            self._nodes,
            "deepspeech",
            [_rows(name, columns) for name, columns in inputs.items()],
            [_rows(name, columns) for name, (_, columns) in outputs.items()],
            list(self._constants.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        return BuiltGraph(model, self._weights)


def _rows(name: str, columns: int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", columns])


def before(model: AcousticModel, unsigned_weights: bool) -> BuiltGraph:
    """Layers 1 to 3: `x` of shape (frames, inputs) becomes `y` of shape (frames, units)."""
    graph = Graph(unsigned_weights)
    first, second, third = model.before
    value = graph.dense(graph.dense(graph.dense("x", first), second, positive=True), third, positive=True)
    return graph.build({"x": first.inputs}, {"y": (value, third.outputs)})


def step(model: AcousticModel, unsigned_weights: bool) -> BuiltGraph:
    """One step of the LSTM. `x`, `h` (last output) and `c` (cell) of shape (rows, units) become `new_h`, `new_c`."""
    graph = Graph(unsigned_weights)
    gates = graph.dense(graph.joined(["x", "h"]), model.lstm)
    sizes = [min(UNITS_PER_BLOCK, model.units - start) for start in range(0, model.units, UNITS_PER_BLOCK)]
    # The blocks of the gates input, candidate, forget, output, and of the cell.
    parts = graph.split(gates, *4 * sizes)
    by_gate = [parts[gate * len(sizes) : (gate + 1) * len(sizes)] for gate in range(4)]
    blocks = zip(*by_gate, graph.split("c", *sizes), sizes)
    results, cells = zip(*(_cell(graph, *block) for block in blocks))
    outputs = {"new_h": graph.joined(results), "new_c": graph.joined(cells)}
    columns = dict.fromkeys("xhc", model.units)
    return graph.build(columns, {name: (value, model.units) for name, value in outputs.items()})


def _cell(graph: Graph, admit: str, candidate: str, forget: str, output: str, cell: str, units: int) -> tuple[str, str]:
    """The new output and cell of a block of units. The three gates with the same function are computed together."""
    admit, forget, output = graph.split(graph.logistic(graph.joined([admit, forget, output])), *3 * [units])
    kept = graph.add("Mul", forget, cell)
    new_cell = graph.add("Add", kept, graph.add("Mul", admit, graph.tanh(candidate)))
    return graph.add("Mul", output, graph.tanh(new_cell)), new_cell


def after(model: AcousticModel, unsigned_weights: bool) -> BuiltGraph:
    """Layers 5 and 6: `h` of shape (frames, units) becomes `probabilities` of shape (frames, letters)."""
    graph = Graph(unsigned_weights)
    fifth, sixth = model.after
    logits = graph.dense(graph.dense("h", fifth), sixth, positive=True)
    probabilities = graph.add("Softmax", logits, axis=-1)
    return graph.build({"h": fifth.inputs}, {"probabilities": (probabilities, sixth.outputs)})


Builder = Callable[[AcousticModel, bool], BuiltGraph]
