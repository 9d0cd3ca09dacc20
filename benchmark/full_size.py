"""Makes a full-size model in full precision: `python full_size.py TFLITE PBMM OUT`.

The package armspeech has its model only as a quantised `.tflite`. The demo's `.pbmm` has the same graph with smaller
layers. This program puts the weights of the `.tflite` into the graph of the `.pbmm`, so that the benchmarks can measure
the full-size model in both runtimes.

A `.pbmm` file consists of regions (the large weights and the graph), the directory of the regions, and the directory's
position (tensorflow/core/util/memmapped_file_system.cc).
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tflite  # type: ignore[import-not-found]
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field  # type: ignore[import-untyped]
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message_factory import GetMessages  # type: ignore[import-untyped]
from tensorboard.compat.proto.graph_pb2 import GraphDef  # type: ignore[import-not-found]

CELL = "cudnn_lstm/rnn/multi_rnn_cell/cell_0/cudnn_compatible_lstm_cell"
TENSORS = {  # name in the .pbmm: name in the .tflite, where weights are transposed
    **{f"layer_{layer}/weights": f"layer_{layer}/weights/transpose" for layer in (1, 2, 3, 5, 6)},
    f"{CELL}/kernel": f"{CELL}/kernel/transpose_13",
    "layer_1/bias": "MatMul_bias",
    "layer_2/bias": "MatMul_1_bias",
    "layer_3/bias": "MatMul_2_bias",
    "layer_5/bias": "MatMul_3_bias",
    "layer_6/bias": "MatMul_4_bias",
    f"{CELL}/bias": f"{CELL}/MatMul_15_bias",
}


def main(tflite_model: Path, pbmm: Path, out: Path) -> None:
    found = tensors(tflite_model.read_bytes())
    weights = {name: floats(*found[there]) for name, there in TENSORS.items()}
    graph = graph_of(pbmm.read_bytes())
    resize(graph, weights)
    constant(graph, "metadata_alphabet").string_val[:] = strings(found["metadata_alphabet_copy"][1].tobytes())
    constant(graph, "metadata_beam_width").int_val[:] = found["metadata_beam_width_copy"][1].view(np.int32).tolist()
    out.write_bytes(packed(graph, weights))


def tensors(content: bytes) -> dict[str, tuple[float, npt.NDArray[Any]]]:
    """All constants of a `.tflite` by name, each with its scale. The scale is 0 if the type is not int8."""
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    found = {}
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        values = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if not isinstance(values, int):
            quantised = tensor.Type() == tflite.TensorType.INT8
            scale = tensor.Quantization().Scale(0) if quantised else 0.0
            kept = values.view(np.int8).reshape(tensor.ShapeAsNumpy()) if quantised else values
            found[tensor.Name().decode()] = (scale, kept)
    return found


def floats(scale: float, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray((values * np.float32(scale)).T) if scale else values.view(np.float32)


def strings(content: bytes) -> list[bytes]:
    """The strings of a `.tflite` string tensor: it has their count, their offsets and the end's, then the strings."""
    (count,) = struct.unpack_from("<i", content)
    offsets = struct.unpack_from(f"<{count + 1}i", content, 4)
    return [content[start:end] for start, end in zip(offsets, offsets[1:])]


def directory_message() -> Any:
    """An empty MemmappedFileSystemDirectory of TensorFlow (tensorflow/core/util/memmapped_file_system.proto)."""
    file = FileDescriptorProto(name="memmapped_file_system.proto", syntax="proto3")
    region, directory = file.message_type.add(name="Region"), file.message_type.add(name="Directory")
    region.field.add(name="offset", number=1, type=Field.TYPE_UINT64, label=Field.LABEL_OPTIONAL)
    region.field.add(name="name", number=2, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    region.field.add(name="length", number=3, type=Field.TYPE_UINT64, label=Field.LABEL_OPTIONAL)
    directory.field.add(
        name="element", number=1, type=Field.TYPE_MESSAGE, type_name="Region", label=Field.LABEL_REPEATED
    )
    return GetMessages([file])["Directory"]()


def graph_of(pbmm: bytes) -> Any:
    """The graph of a `.pbmm`, which is its last region."""
    (end,) = struct.unpack("<Q", pbmm[-8:])
    directory = directory_message()
    directory.ParseFromString(pbmm[end:-8])
    graph = GraphDef()
    graph.ParseFromString(pbmm[directory.element[-1].offset : end])
    return graph


def resize(graph: Any, weights: dict[str, npt.NDArray[np.float32]]) -> None:
    """Resize every constant and placeholder to the new layers."""
    new = {}
    for name in ("layer_1/bias", "layer_6/bias", f"{CELL}/bias"):
        new[len(np.frombuffer(constant(graph, name).tensor_content, np.float32))] = len(weights[name])
    for node in graph.node:
        value = node.attr["value"].tensor if node.op == "Const" else None
        if node.name in weights:
            shape = value.tensor_shape if value else node.attr["shape"].shape
            for dimension, size in zip(shape.dim, weights[node.name].shape):
                dimension.size = size
            if value:
                value.tensor_content = weights[node.name].tobytes()
        elif node.op == "Placeholder":
            for dimension in node.attr["shape"].shape.dim:
                dimension.size = new.get(dimension.size, dimension.size)
        elif value and node.name.endswith(("/shape", "/multiples")):
            sizes = np.frombuffer(value.tensor_content, np.int32).tolist()
            value.tensor_content = np.array([new.get(size, size) for size in sizes], np.int32).tobytes()
        elif value and node.name == f"{CELL}/zeros":
            value.tensor_shape.dim[0].size = new[value.tensor_shape.dim[0].size]


def constant(graph: Any, name: str) -> Any:
    return next(node for node in graph.node if node.name == name).attr["value"].tensor


def packed(graph: Any, weights: dict[str, npt.NDArray[np.float32]]) -> bytes:
    regions = {
        node.attr["memory_region_name"].s.decode(): weights[node.name].tobytes()
        for node in graph.node
        if node.op == "ImmutableConst"
    }
    regions["memmapped_package://."] = graph.SerializeToString()
    directory = directory_message()
    start = 0
    for name, region in regions.items():
        directory.element.add(offset=start, name=name, length=len(region))
        start += len(region)
    return b"".join([*regions.values(), directory.SerializeToString(), struct.pack("<Q", start)])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
