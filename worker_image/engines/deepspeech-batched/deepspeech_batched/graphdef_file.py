"""Reads a `.pb` or `.pbmm` model: TensorFlow's GraphDef, with float32 weights, without TensorFlow.

A `.pbmm` consists of regions (the large weights, and last the graph), the directory of the regions, and the directory's
position (tensorflow/core/util/memmapped_file_system.proto). A `.pb` is the graph alone. Of TensorFlow's messages only
the fields that a DeepSpeech model needs are declared here: https://github.com/tensorflow/tensorflow/tree/r2.3
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from .model import AcousticModel, Dense, FeatureSettings, Floats, ModelFileError, check_version

_MESSAGES = {  # name: its fields as (name, number, type); "[]" marks a repeated field
    "Dimension": [("size", 1, "int64")],
    "Shape": [("dim", 2, "Dimension[]")],
    "Tensor": [
        ("dtype", 1, "int32"),
        ("tensor_shape", 2, "Shape"),
        ("tensor_content", 4, "bytes"),
        ("float_val", 5, "float[]"),
        ("int_val", 7, "int32[]"),
        ("string_val", 8, "bytes[]"),
    ],
    "Value": [
        ("s", 2, "bytes"),
        ("i", 3, "int64"),
        ("f", 4, "float"),
        ("b", 5, "bool"),
        ("shape", 7, "Shape"),
        ("tensor", 8, "Tensor"),
    ],
    "Attribute": [("key", 1, "string"), ("value", 2, "Value")],
    "Node": [("name", 1, "string"), ("op", 2, "string"), ("input", 3, "string[]"), ("attr", 5, "Attribute[]")],
    "Graph": [("node", 1, "Node[]")],
    "Region": [("offset", 1, "uint64"), ("name", 2, "string"), ("length", 3, "uint64")],
    "Directory": [("element", 1, "Region[]")],
}
_FLOAT = 1  # TensorFlow's DT_FLOAT
# Which input leads from a node back towards the model's input.
_FOLLOWED_INPUT = {
    **dict.fromkeys(("Softmax", "Reshape", "BiasAdd", "MatMul", "Minimum", "Relu", "Mul", "Transpose", "Identity"), 0),
    "BlockLSTM": 1,
}


def read(content: npt.NDArray[np.uint8]) -> AcousticModel:
    """Read the model from the bytes of its file."""
    graph = _Graph(content)
    check_version(graph.integer("metadata_version"))
    layers = list(_layers(graph))
    if len(layers) != 6:
        raise ModelFileError(f"it has {len(layers)} layers with weights, and a DeepSpeech 0.9 model has 6")
    first, second, third, lstm, fifth, sixth = layers
    return AcousticModel(
        (first, second, third),
        lstm,
        (fifth, sixth),
        _features(graph),
        bytes(graph.tensor("metadata_alphabet").string_val[0]),
        graph.integer("metadata_beam_width"),
    )


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="deepspeech.proto", package="deepspeech", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            plain = kind.replace("[]", "")
            label = types.LABEL_REPEATED if kind.endswith("[]") else types.LABEL_OPTIONAL
            if plain in _MESSAGES:
                message.field.add(
                    name=field, number=number, label=label, type=types.TYPE_MESSAGE, type_name=f".deepspeech.{plain}"
                )
            else:
                message.field.add(name=field, number=number, label=label, type=f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"deepspeech.{name}")) for name in _MESSAGES
    }


_CLASSES = _message_classes()


class _Graph:
    """The nodes of the file, and the regions with the weights if it is a `.pbmm`."""

    def __init__(self, content: npt.NDArray[np.uint8]) -> None:
        self._size = len(content)
        self._regions = _regions(content)
        serialised = content if not self._regions else list(self._regions.values())[-1]
        message = _CLASSES["Graph"].FromString(serialised.tobytes())
        self.nodes = {node.name: node for node in message.node}

    def node(self, name: str) -> Any:
        """The node that makes a tensor, which may be given with its output's number."""
        plain = name.lstrip("^").partition(":")[0]
        if plain not in self.nodes:
            raise ModelFileError(f"it has no {plain}, as every DeepSpeech 0.9 model has")
        return self.nodes[plain]

    def only(self, operation: str) -> Any:
        found = [node for node in self.nodes.values() if node.op == operation]
        if len(found) != 1:
            raise ModelFileError(f"it has {len(found)} operations {operation}, and a DeepSpeech 0.9 model has one")
        return found[0]

    def tensor(self, name: str) -> Any:
        return _attributes(self.node(name))["value"].tensor

    def integer(self, name: str) -> int:
        return int(self.tensor(name).int_val[0])

    def floats(self, name: str) -> Floats:
        """The values of a constant in its shape."""
        node = self.node(name)
        while node.op == "Identity":
            node = self.node(node.input[0])
        attributes = _attributes(node)
        if node.op == "ImmutableConst":
            shape, content = attributes["shape"].shape, self._regions[attributes["memory_region_name"].s.decode()]
            return content.view(np.float32).reshape(_sizes(shape))
        tensor = attributes["value"].tensor
        if tensor.dtype != _FLOAT:
            raise ModelFileError(f"{name} does not consist of float32 numbers")
        if tensor.tensor_content:
            return np.frombuffer(tensor.tensor_content, np.float32).reshape(_sizes(tensor.tensor_shape))
        sizes = _sizes(tensor.tensor_shape) or (1,)
        if math.prod(sizes) > self._size:
            raise ModelFileError(f"{name} has more numbers than the file has bytes")
        return np.broadcast_to(np.array(tensor.float_val, np.float32), sizes)


def _regions(content: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.uint8]]:
    """The regions of a `.pbmm` by name, none for a `.pb`."""
    (end,) = struct.unpack("<Q", content[-8:].tobytes())
    if end >= len(content) or b"memmapped_package://" not in content[end:].tobytes():
        return {}
    directory = _CLASSES["Directory"].FromString(content[end:-8].tobytes())
    found = {}
    for region in directory.element:
        # The last region's length may be missing: it ends where the directory starts.
        stop = region.offset + region.length if region.length else end
        found[region.name] = content[region.offset : min(stop, end)]
    return found


def _attributes(node: Any) -> Mapping[str, Any]:
    return {attribute.key: attribute.value for attribute in node.attr}


def _sizes(shape: Any) -> tuple[int, ...]:
    return tuple(dimension.size for dimension in shape.dim)


def _layers(graph: _Graph) -> Iterator[Dense]:
    """The layers in the order of the data."""
    found: list[Dense] = []
    node, bias, ceiling = graph.node("logits"), "", None
    for _ in graph.nodes:
        if node.name == "input_node":
            return reversed(found)
        if node.op not in _FOLLOWED_INPUT:
            raise ModelFileError(f"it has the operation {node.op} where a DeepSpeech 0.9 model has none")
        if node.op == "Minimum":
            ceiling = float(graph.floats(node.input[1]).reshape(-1)[0])
        elif node.op == "BiasAdd":
            bias = node.input[1]
        elif node.op == "MatMul":
            found.append(_dense(graph, node.input[1], bias, ceiling))
            ceiling = None
        elif node.op == "BlockLSTM":
            found.append(_lstm(graph, node))
        node = graph.node(node.input[_FOLLOWED_INPUT[node.op]])
    raise ModelFileError("its layers form a circle")


def _dense(graph: _Graph, weights: str, bias: str, ceiling: float | None) -> Dense:
    return Dense(graph.floats(weights), np.array(graph.floats(bias)), None, ceiling)


def _lstm(graph: _Graph, node: Any) -> Dense:
    attributes = _attributes(node)
    if attributes["use_peephole"].b or attributes["cell_clip"].f > 0:
        raise ModelFileError("its LSTM has options that no DeepSpeech 0.9 model has")
    dense = _dense(graph, node.input[4], node.input[8], None)
    units = dense.outputs // 4
    dense.bias[2 * units : 3 * units] += np.float32(attributes["forget_bias"].f)
    return dense


def _features(graph: _Graph) -> FeatureSettings:
    spectrogram, mfcc = (_attributes(graph.only(name)) for name in ("AudioSpectrogram", "Mfcc"))
    rate = graph.integer(graph.only("Mfcc").input[1])
    _, _, frames, coefficients = _sizes(_attributes(graph.node("input_node"))["shape"].shape)
    if rate != graph.integer("metadata_sample_rate") or coefficients != mfcc["dct_coefficient_count"].i:
        raise ModelFileError("its features do not fit its metadata")
    return FeatureSettings(
        sample_rate=rate,
        window=spectrogram["window_size"].i,
        step=spectrogram["stride"].i,
        filters=mfcc["filterbank_channel_count"].i,
        lowest=mfcc["lower_frequency_limit"].f,
        highest=mfcc["upper_frequency_limit"].f,
        coefficients=mfcc["dct_coefficient_count"].i,
        context=(frames - 1) // 2,
        partial_window_keeps_samples=False,
    )
