"""Converts an exported model to a checkpoint for training: `python checkpoint.py MODEL FOLDER`.

An export in full precision (`.pbmm`, `.pb`) has every weight of its checkpoint, under the same names. It lacks only
Adam's moments, which start at zero. So training can continue from any such model, also from Mozilla's models.
Writes the checkpoint, `alphabet.txt` and `model.json` (the model's properties that the trainer needs) into FOLDER.

Runs in the trainer's environment (Python 3.7, TensorFlow 1.15), so it imports no other module of this project.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf  # type: ignore[import-untyped]
from tensorflow.core.framework import graph_pb2  # type: ignore[import-untyped]
from tensorflow.core.util import memmapped_file_system_pb2  # type: ignore[import-untyped]

WEIGHTS = re.compile(r"(layer_[12356]|cudnn_lstm/.*/cudnn_compatible_lstm_cell)/(weights|kernel|bias)")
GRAPH = "memmapped_package://."


def constants(content: bytes) -> dict[str, Any]:
    """All constants of a frozen graph as numpy arrays, by name.

    A `.pbmm` file consists of regions (the large constants and the graph), the directory of the regions, and the
    directory's position (8 bytes, little endian).
    """
    graph, regions = graph_pb2.GraphDef(), {}
    (directory_start,) = struct.unpack("<Q", content[-8:])
    if directory_start < len(content):
        directory = memmapped_file_system_pb2.MemmappedFileSystemDirectory()
        directory.ParseFromString(content[directory_start:-8])
        regions = {region.name: content[region.offset : region.offset + region.length] for region in directory.element}
        content = regions[GRAPH]
    graph.ParseFromString(content)
    found = {}
    for node in graph.node:
        if node.op == "Const":
            found[node.name] = tf.make_ndarray(node.attr["value"].tensor)
        elif node.op == "ImmutableConst":
            shape = [dimension.size for dimension in node.attr["shape"].shape.dim]
            region = regions[node.attr["memory_region_name"].s.decode()]
            found[node.name] = np.frombuffer(region, "<f4", int(np.prod(shape))).reshape(shape)
    return found


def letters(serialised: bytes) -> list[str]:
    """The alphabet in the order of its labels (see transcriber.model_file.alphabet_of)."""
    (count,), at, found = struct.unpack_from("<H", serialised), 2, []
    for _ in range(count):
        _, length = struct.unpack_from("<HH", serialised, at)
        found.append(serialised[at + 4 : at + 4 + length].decode("utf-8"))
        at += 4 + length
    return found


def write_checkpoint(weights: Mapping[str, Any], folder: Path) -> None:
    """Write the weights and Adam's initial state under the trainer's names."""
    with tf.Session() as session:
        for name, value in weights.items():
            tf.get_variable(name, initializer=value)
            for moment in ("Adam", "Adam_1"):
                tf.get_variable(f"{name}/{moment}", initializer=np.zeros_like(value))
        for power, start in (("beta1_power", 0.9), ("beta2_power", 0.999)):
            tf.get_variable(power, initializer=start)
        tf.train.get_or_create_global_step()
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(folder / "exported"), global_step=0, write_meta_graph=False)


def main(model: Path, folder: Path) -> None:
    found = constants(model.read_bytes())
    weights = {name: value for name, value in found.items() if WEIGHTS.fullmatch(name)}
    if any("LayerNorm" in name for name in found):
        sys.exit(f"{model} uses layer normalisation, which is not supported. Use a model without layer normalisation")
    if len(weights) != 12:
        sys.exit(f"{model} is not a DeepSpeech 0.9 graph: it has {len(weights)} of the 12 weights")
    write_checkpoint(weights, folder)
    alphabet = letters(found["metadata_alphabet"][0])
    # In the trainer's alphabet file, a line that starts with # is a comment. A backslash escapes the #.
    (folder / "alphabet.txt").write_text("".join(("\\#" if a == "#" else a) + "\n" for a in alphabet), "utf-8")
    facts = {"alphabet": alphabet, "n_hidden": len(weights["layer_1/bias"])}
    for name in ("sample_rate", "feature_win_len", "feature_win_step", "beam_width"):
        facts[name] = int(found["metadata_" + name][0])
    facts["language"] = found.get("metadata_language", [b"unknown"])[0].decode()
    (folder / "model.json").write_text(json.dumps(facts), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
