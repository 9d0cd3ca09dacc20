"""The layers' products of matrices, in onnxruntime on one thread."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
MIDDLE = 128
"""What stands for zero where signed numbers are stored as unsigned ones."""


class InexactProducts(Exception):
    """The runtime's products of 8-bit numbers are wrong on this CPU."""


class Product:
    """Multiplies by a layer's weights.

    Args:
        weights: Shape (inputs, outputs); int8 or float32.
        unsigned_weights: int8 weights are stored as unsigned bytes, too. It is slower, and exact on every CPU.
    """

    def __init__(self, weights: npt.NDArray[Any], unsigned_weights: bool = False) -> None:
        self.unsigned_weights = unsigned_weights
        self._outputs = weights.shape[1]
        quantised = weights.dtype == np.int8
        self._dtype = np.int32 if quantised else np.float32
        if quantised and unsigned_weights:
            weights = weights.view(np.uint8) ^ np.uint8(MIDDLE)
        # The runtime uses the weights where they are, so they must live as long as the session.
        self._weights = onnxruntime.OrtValue.ortvalue_from_numpy(np.require(weights, requirements=["C", "ALIGNED"]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_initializer("weights", self._weights)
        content = _graph(weights, quantised).SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The product.

        Args:
            values: Shape (rows, inputs); float32, or for int8 weights unsigned bytes, of which 128 stands for zero.

        Returns:
            the product of shape (rows, outputs): float32, or int32 for int8 weights.
        """
        values = np.ascontiguousarray(values)
        result = np.empty((len(values), self._outputs), self._dtype)
        # Otherwise onnxruntime would copy each result.
        binding = self._session.io_binding()
        binding.bind_input("values", "cpu", 0, values.dtype, values.shape, values.ctypes.data)
        binding.bind_output("product", "cpu", 0, result.dtype, result.shape, result.ctypes.data)
        self._session.run_with_iobinding(binding)
        return result


def _graph(weights: npt.NDArray[Any], quantised: bool) -> Any:
    """A graph of one operation. Its weights are not in it, so that there are no copies of them."""
    kind = helper.np_dtype_to_tensor_dtype(weights.dtype)
    declared = TensorProto(name="weights", data_type=kind, dims=weights.shape, data_location=TensorProto.EXTERNAL)
    declared.external_data.add(key="location", value="memory")
    constants, names = [declared], ["values", "weights"]
    if quantised:
        constants.append(numpy_helper.from_array(np.uint8(MIDDLE), "middle"))
        names += ["middle", "middle"] if weights.dtype == np.uint8 else ["middle"]
    node = helper.make_node("MatMulInteger" if quantised else "MatMul", names, ["product"])
    given, made = (TensorProto.UINT8, TensorProto.INT32) if quantised else (TensorProto.FLOAT, TensorProto.FLOAT)
    values = helper.make_tensor_value_info("values", given, ["rows", weights.shape[0]])
    product = helper.make_tensor_value_info("product", made, ["rows", weights.shape[1]])
    graph = helper.make_graph([node], "product", [values], [product], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def needs_unsigned_weights() -> bool:
    """Whether int8 weights must be unsigned, because this CPU's fast product is not exact. If so, a line says it.

    Raises:
        InexactProducts: no product is exact.
    """
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
    rows = chance.integers(-127, 128, (5, 96))
    rows[:2] = [[127], [-127]]
    found = Product(weights, unsigned_weights)((rows + MIDDLE).astype(np.uint8))
    return bool(np.array_equal(found, rows @ weights.astype(np.int64)))
