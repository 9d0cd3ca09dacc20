"""Model files are read without TensorFlow. A file that is no DeepSpeech 0.9 model is refused with a sentence."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepspeech_batched import graphdef_file
from deepspeech_batched.model import AcousticModel, ModelFileError, letters, read_model
from tests.batched_engine.conftest import MODEL

FILES = {kind: MODEL.with_suffix(f".{kind}").read_bytes() for kind in ("tflite", "pbmm")}


def pb(change: Callable[[Any], None] = lambda graph: None) -> bytes:
    """The demo's model as a `.pb`: the weights of the `.pbmm` are inside its graph."""
    content = np.frombuffer(FILES["pbmm"], np.uint8)
    regions = graphdef_file._regions(content)
    graph = graphdef_file._CLASSES["Graph"].FromString(list(regions.values())[-1].tobytes())
    for node in graph.node:
        if node.op == "ImmutableConst":
            attributes = graphdef_file._attributes(node)
            node.op = "Const"
            tensor = node.attr.add(key="value").value.tensor
            tensor.dtype = 1
            tensor.tensor_shape.CopyFrom(attributes["shape"].shape)
            tensor.tensor_content = regions[attributes["memory_region_name"].s.decode()].tobytes()
    change(graph)
    return graph.SerializeToString()


def node_of(graph: Any, name: str) -> Any:
    return next(node for node in graph.node if node.name == name)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def written(content: bytes) -> Path:
        path = tmp_path / "model"
        path.write_bytes(content)
        return path

    return written


def test_the_settings_and_widths_of_a_model_are_in_its_file(tflite: AcousticModel, pbmm: AcousticModel) -> None:
    for model in (tflite, pbmm):
        assert model.units == 256
        assert [layer.outputs for layer in (*model.before, model.lstm, *model.after)] == [256, 256, 256, 1024, 256, 29]
        assert [layer.ceiling for layer in (*model.before, model.lstm, *model.after)] == [20, 20, 20, None, 20, None]
        assert (model.features.sample_rate, model.features.window, model.features.step) == (16_000, 512, 320)
        assert (model.features.coefficients, model.features.context, model.features.highest) == (26, 9, 8000)
        assert model.beam_width == 256
    assert tflite.alphabet == pbmm.alphabet
    assert b"".join(letters(tflite.alphabet)) == b" abcdefghijklmnopqrstuvwxyz'"


@pytest.mark.parametrize("alphabet", [b"", b"\5\0\0", b"\1\0\0\0\2\0a", b"\1\0\1\0\1\0a"])
def test_a_damaged_alphabet_is_an_error(alphabet: bytes) -> None:
    with pytest.raises((ModelFileError, struct.error)):
        letters(alphabet)


def test_the_weights_of_the_tflite_are_the_quantised_ones_of_the_pbmm(
    tflite: AcousticModel, pbmm: AcousticModel
) -> None:
    for quantised, full in zip((*tflite.before, tflite.lstm, *tflite.after), (*pbmm.before, pbmm.lstm, *pbmm.after)):
        assert quantised.scale
        assert np.abs(quantised.weights * quantised.scale - full.weights).max() < quantised.scale
        np.testing.assert_allclose(quantised.bias, full.bias, atol=1e-6)


def test_a_pb_is_the_same_model_as_its_pbmm(pbmm: AcousticModel, file: Callable[[bytes], Path]) -> None:
    model = read_model(file(pb()))
    assert (model.features, model.alphabet, model.beam_width) == (pbmm.features, pbmm.alphabet, pbmm.beam_width)
    for layer, same in zip((*model.before, model.lstm, *model.after), (*pbmm.before, pbmm.lstm, *pbmm.after)):
        assert np.array_equal(layer.weights, same.weights)
        assert np.array_equal(layer.bias, same.bias)


def older(graph: Any) -> None:
    graphdef_file._attributes(node_of(graph, "metadata_version"))["value"].tensor.int_val[0] = 5


def other_cell(graph: Any) -> None:
    node_of(graph, "layer_3/weights/read").input[0] = "layer_6/weights"


def other_operation(graph: Any) -> None:
    node_of(graph, "Relu_1").op = "Elu"


def circle(graph: Any) -> None:
    node_of(graph, "Relu").input[0] = "Minimum_3"


def nameless(graph: Any) -> None:
    node_of(graph, "metadata_alphabet").name = "alphabet"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (older, "another version of DeepSpeech"),
        (other_cell, "do not fit together"),
        (other_operation, "operation Elu"),
        (circle, "circle"),
        (nameless, "no metadata_alphabet"),
    ],
)
def test_another_model_is_refused_with_the_reason(
    change: Callable[[Any], None], sentence: str, file: Callable[[bytes], Path]
) -> None:
    with pytest.raises(ModelFileError, match=sentence):
        read_model(file(pb(change)))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (b"metadata_version\0", b"metadata_versiom\0", "no metadata_version"),
        (b"AudioSpectrogram\0", b"AudioSpectrogran\0", "no operation AudioSpectrogram"),
        (b"input_node\0", b"input_mode\0", "no input_node"),
    ],
)
def test_a_tflite_of_something_else_is_refused_with_the_reason(
    old: bytes, new: bytes, sentence: str, file: Callable[[bytes], Path]
) -> None:
    with pytest.raises(ModelFileError, match=sentence):
        read_model(file(FILES["tflite"].replace(old, new)))


@pytest.mark.parametrize("content", [b"RIFF", b"\0" * 5000, b"TFL3" * 1000, bytes(range(256)) * 30])
def test_a_file_that_is_no_model_is_refused(content: bytes, file: Callable[[bytes], Path]) -> None:
    with pytest.raises(ModelFileError):
        read_model(file(content))


KINDS = st.sampled_from(["tflite", "pbmm", "pb"])
Share = st.floats(0, 1, exclude_max=True)


def whole(kind: str) -> bytes:
    return pb() if kind == "pb" else FILES[kind]


def read_or_refuse(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    with suppress(ModelFileError):
        assert read_model(path).units > 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KINDS, Share)
def test_a_cut_file_is_refused_or_read_and_never_crashes(tmp_path: Path, kind: str, share: float) -> None:
    content = whole(kind)
    read_or_refuse(content[: int(share * len(content))], tmp_path / "model")


# Where a file has its structure and not only weights: at its start and end, and in a .tflite nearly everywhere.
Places = st.one_of(Share, st.floats(0, 0.03), st.floats(0.95, 1, exclude_max=True))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KINDS, st.lists(st.tuples(Places, st.binary(min_size=1, max_size=8)), min_size=1, max_size=12))
def test_a_damaged_file_is_refused_or_read_and_never_crashes(
    tmp_path: Path, kind: str, damages: list[tuple[float, bytes]]
) -> None:
    content = bytearray(whole(kind))
    for share, some in damages:
        start = int(share * len(content))
        content[start : start + len(some)] = some
    read_or_refuse(bytes(content), tmp_path / "model")
