"""Fixtures of the batched engine's tests: models, recordings, and TensorFlow Lite as the reference."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from tflite_runtime.interpreter import Interpreter

from deepspeech_batched.model import AcousticModel, read_model
from tests.batched_engine.small_model import small_model

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "worker_image" / "models" / "asterisk-en" / "asterisk-en"


class Reference:
    """TensorFlow Lite runs the demo's model, as libdeepspeech does: one frame of audio, or 16 frames of features."""

    def __init__(self) -> None:
        self._runtime = Interpreter(str(MODEL.with_suffix(".tflite")), num_threads=1)
        self._runtime.allocate_tensors()
        details = self._runtime.get_input_details() + self._runtime.get_output_details()
        self._index = {detail["name"]: detail["index"] for detail in details}

    def run(self, output: str, **inputs: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Set the inputs and run the model. Return a copy of an output."""
        for name, values in inputs.items():
            self._runtime.set_tensor(self._index[name], values)
        self._runtime.invoke()
        return self.output(output)

    def output(self, name: str) -> npt.NDArray[np.float32]:
        return self._runtime.get_tensor(self._index[name]).copy()


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="session")
def tflite() -> AcousticModel:
    return read_model(MODEL.with_suffix(".tflite"))


@pytest.fixture(scope="session")
def pbmm() -> AcousticModel:
    return read_model(MODEL.with_suffix(".pbmm"))


@pytest.fixture(scope="session", params=["int8", "float32"])
def tiny(request: pytest.FixtureRequest) -> AcousticModel:
    """A model with odd widths and random weights."""
    return small_model(quantised=request.param == "int8")


@pytest.fixture(scope="session")
def speech() -> npt.NDArray[np.int16]:
    with wave.open(str(ROOT / "tests" / "recordings" / "vm-rec-temp.wav")) as recording:
        return np.frombuffer(recording.readframes(recording.getnframes()), np.int16)
