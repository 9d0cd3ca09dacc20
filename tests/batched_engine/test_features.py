"""Audio becomes the same features as in TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from deepspeech_batched.features import Features
from deepspeech_batched.model import AcousticModel
from tests.batched_engine.conftest import Reference

Audio = npt.NDArray[np.int16]


def reference_coefficients(reference: Reference, samples: Audio, keep: bool) -> npt.NDArray[np.float32]:
    """What TensorFlow Lite's operations make of each window, fed as libdeepspeech does."""
    found = []
    window = np.zeros(512, np.float32)
    for start in range(0, len(samples) - 512 + 320 + 1, 320):
        part = samples[start : start + 512].astype(np.float32) / 32768
        if len(part) < 512 and not keep:
            window[:] = 0
        window[: len(part)] = part
        found.append(reference.run("mfccs", input_samples=window)[0])
    return np.array(found)


@pytest.mark.parametrize("length", [512, 513, 831, 832, 1600, 20_000, 44_321])
@pytest.mark.parametrize("keep", [True, False])
def test_features_equal_tensorflows_bit_for_bit(
    tflite: AcousticModel, reference: Reference, speech: Audio, length: int, keep: bool
) -> None:
    settings = replace(tflite.features, partial_window_keeps_samples=keep)
    found = Features(settings).coefficients(speech[:length])
    assert np.array_equal(found, reference_coefficients(reference, speech[:length], keep))


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(4000, np.int16),
        np.full(4000, -32768, np.int16),
        np.random.default_rng(1).integers(-32768, 32768, 9000).astype(np.int16),
        (np.arange(9000) % 2 * 65535 - 32768).astype(np.int16),
    ],
    ids=["silence", "constant", "noise", "highest frequency"],
)
def test_features_of_extreme_sounds_equal_tensorflows(
    tflite: AcousticModel, reference: Reference, samples: Audio
) -> None:
    found = Features(tflite.features).coefficients(samples)
    np.testing.assert_allclose(found, reference_coefficients(reference, samples, keep=True), rtol=0, atol=1e-5)


def test_a_frame_in_context_has_its_neighbours_and_silence_outside(tflite: AcousticModel, speech: Audio) -> None:
    features = Features(tflite.features)
    coefficients = features.coefficients(speech)
    found = features.in_context(coefficients)
    assert found.shape == (len(coefficients), 19, 26)
    assert not found[0, :9].any()
    assert np.array_equal(found[0, 9:], coefficients[:10])
    assert np.array_equal(found[20], coefficients[11:30])
    assert not found[-1, 10:].any()
