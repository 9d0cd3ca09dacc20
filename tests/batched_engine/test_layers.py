"""The layers compute what numpy and TensorFlow Lite compute."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from deepspeech_batched import arithmetic, products
from deepspeech_batched.acoustics import Acoustics
from deepspeech_batched.features import Features
from deepspeech_batched.model import AcousticModel
from deepspeech_batched.products import MIDDLE, InexactProducts, Product, products_are_exact
from tests.batched_engine.conftest import Reference
from tests.batched_engine.small_model import layer, lstm_step

Floats = npt.NDArray[np.float32]


LOGISTIC_IS_EXP_BELOW = -9
TANH_LIMIT, TANH_IS_X_BELOW = 7.90531110763549805, 0.0004
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


def frames(model: AcousticModel, count: int) -> Floats:
    return np.random.default_rng(count).normal(0, 4, (count, model.before[0].inputs)).astype(np.float32)


def test_the_layers_before_and_after_the_lstm_equal_numpys(tiny: AcousticModel) -> None:
    runs = Acoustics(tiny)
    inputs = frames(tiny, 50)
    expected: npt.NDArray[np.floating] = inputs
    for dense in tiny.before:
        expected = layer(expected.astype(np.float32), dense)
    np.testing.assert_allclose(runs.before(inputs), expected, rtol=1e-4, atol=1e-4)
    outputs = np.tanh(frames(tiny, 50)[:, : tiny.units])
    logits = layer(layer(outputs, tiny.after[0]).astype(np.float32), tiny.after[1])
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(runs.after(outputs), odds / odds.sum(axis=1, keepdims=True), rtol=1e-3, atol=1e-5)


def test_a_step_of_the_lstm_equals_numpys(tiny: AcousticModel) -> None:
    inputs, output, cell = (frames(tiny, count)[:7, : tiny.units] for count in (7, 8, 9))
    found = Acoustics(tiny).step(np.abs(inputs), np.tanh(output), cell)
    for value, expected in zip(found, lstm_step(tiny, np.abs(inputs), np.tanh(output), cell)):
        np.testing.assert_allclose(value, expected, rtol=1e-3, atol=1e-4)


def test_a_row_does_not_depend_on_the_other_rows() -> None:
    from tests.batched_engine.small_model import small_model

    runs = Acoustics(small_model(quantised=True))
    inputs = frames(small_model(quantised=True), 40)
    alone = np.concatenate([runs.before(inputs[number : number + 1]) for number in range(40)])
    assert np.array_equal(runs.before(inputs), alone)


def test_the_whole_model_gives_tensorflow_lites_probabilities(
    tflite: AcousticModel, reference: Reference, speech: npt.NDArray[np.int16]
) -> None:
    features = Features(tflite.features)
    inputs = features.in_context(features.coefficients(speech))[: len(speech) // 320 // 16 * 16].reshape(-1, 494)
    runs = Acoustics(tflite)
    cell = output = np.zeros((1, tflite.units), np.float32)
    state = {"previous_state_c": cell, "previous_state_h": output}
    hidden = runs.before(inputs)
    for start in range(0, len(inputs) - 15, 16):
        expected = reference.run("logits", input_node=inputs[None, start : start + 16].reshape(1, 16, 19, 26), **state)
        state = {f"previous_state_{name}": reference.output(f"new_state_{name}") for name in "ch"}
        outputs = []
        for number in range(start, start + 16):
            output, cell = runs.step(hidden[number : number + 1], output, cell)
            outputs.append(output)
        found = runs.after(np.concatenate(outputs))
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)
        assert np.array_equal(found.argmax(axis=1), expected.argmax(axis=1))


@pytest.mark.parametrize("value", [0.5, 1.5, -0.5, -2.5, 126.5, 0.49999997, -0.49999997, 3.4999998, 127.0, -127.0, 0.0])
def test_halves_are_rounded_away_from_zero(value: float) -> None:
    found, [span] = arithmetic.quantised(np.array([[value]], np.float32), np.array([[127.0]], np.float32))
    assert span == 127
    assert found[0, 0] - float(MIDDLE) == np.sign(value) * np.floor(abs(np.float64(np.float32(value))) + 0.5)


def test_each_row_is_quantised_with_its_own_scale_over_both_parts() -> None:
    values, more = (np.random.default_rng(seed).normal(0, 3, (5, 37)).astype(np.float32) for seed in (1, 2))
    values[3] = more[3] = 0
    more[4, 2] = -100
    found, spans = arithmetic.quantised(values, more)
    whole = np.concatenate([values, more], axis=1)
    np.testing.assert_array_equal(spans, np.maximum(np.abs(whole).max(axis=1), np.float32(1e-30)))
    np.testing.assert_allclose((found - float(MIDDLE)) * spans[:, None] / 127, whole, atol=100 / 127 / 2 * 1.001)
    assert (found[3] == MIDDLE).all()
    assert found[4, 37 + 2] == MIDDLE - 127


def test_the_gates_follow_their_functions_and_stay_in_their_range() -> None:
    values = np.append(np.linspace(-30, 30, 20_001, dtype=np.float32), np.float32([100, -100, 1e4, -1e4]))
    logistic, tanh = arithmetic.logistic(values), arithmetic.tanh(values)
    np.testing.assert_allclose(logistic, 1 / (1 + np.exp(-values.clip(-700, None).astype(np.float64))), atol=3e-7)
    np.testing.assert_allclose(tanh, np.tanh(values.astype(np.float64)), atol=5e-7)
    small = (values < LOGISTIC_IS_EXP_BELOW) & (values > -87)
    np.testing.assert_allclose(logistic[small], np.exp(values[small].astype(np.float64)), rtol=2e-7)
    assert logistic.min() >= 0
    assert logistic.max() <= 1
    assert np.abs(tanh).max() <= 1


def test_each_product_and_sum_of_a_gate_is_rounded_as_in_numpy() -> None:
    """A fused multiply-add would give other last bits."""
    values = np.random.default_rng(5).normal(0, 5, 4096).astype(np.float32)
    x = np.clip(values, np.float32(-TANH_LIMIT), np.float32(TANH_LIMIT))
    numerator, denominator = (horner(x * x, coefficients) for coefficients in TANH)
    expected = np.where(np.abs(values) < np.float32(TANH_IS_X_BELOW), values, x * numerator / denominator)
    np.testing.assert_array_equal(arithmetic.tanh(values), expected)


def test_the_code_for_every_cpu_gives_the_same_bits_as_that_for_newer_ones(
    monkeypatch: pytest.MonkeyPatch, tiny: AcousticModel
) -> None:
    """On a CPU without AVX2 the tests run only the code for every CPU, and this one compares it with itself."""
    inputs, output, cell = (frames(tiny, count)[:7, : tiny.units] for count in (7, 8, 9))
    runs = Acoustics(tiny)
    values = np.arange(0, 1 << 32, 99_991, dtype=np.uint32).view(np.float32)
    values = values[np.isfinite(values)]

    def all_results() -> list[Floats]:
        step = runs.step(runs.before(frames(tiny, 7)), output, cell)
        return [*step, runs.after(inputs), arithmetic.logistic(values), arithmetic.tanh(values)]

    usual = all_results()
    monkeypatch.setattr(arithmetic, "_LIBRARY", arithmetic.loaded(arithmetic.library_for(set())))
    for expected, found in zip(usual, all_results()):
        np.testing.assert_array_equal(found, expected)


def test_the_probabilities_of_a_frame_are_a_softmax() -> None:
    logits = np.random.default_rng(6).normal(0, 20, (50, 29)).astype(np.float32)
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    found = arithmetic.softmax(logits)
    np.testing.assert_allclose(found, odds / odds.sum(axis=1, keepdims=True), rtol=1e-5, atol=math.exp(-86))


def horner(square: Floats, coefficients: tuple[float, ...]) -> Floats:
    result = np.full_like(square, np.float32(coefficients[0]))
    for coefficient in coefficients[1:]:
        result = result * square + np.float32(coefficient)
    return result


def test_unsigned_weights_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch, tflite: AcousticModel) -> None:
    inputs = frames(tflite, 9)
    signed = Acoustics(tflite).before(inputs)
    monkeypatch.setattr(products, "products_are_exact", lambda unsigned_weights: unsigned_weights)
    assert np.array_equal(Acoustics(tflite).before(inputs), signed)


def test_a_cpu_whose_products_saturate_is_noticed_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tflite: AcousticModel
) -> None:
    assert products_are_exact(unsigned_weights=True), "the fallback is exact on every CPU"
    whole = Product.__call__

    def saturated(product: Product, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        """As if pairs of products were cut to 16 bits."""
        found = whole(product, values)
        return found if product.unsigned_weights else found // 2

    monkeypatch.setattr(Product, "__call__", saturated)
    assert not products_are_exact(unsigned_weights=False)
    Acoustics(tflite)
    [line] = capfd.readouterr().err.splitlines()
    assert "no VNNI" in line


def test_a_cpu_on_which_all_products_are_wrong_is_refused(
    monkeypatch: pytest.MonkeyPatch, tflite: AcousticModel, pbmm: AcousticModel
) -> None:
    monkeypatch.setattr(products, "products_are_exact", lambda unsigned_weights: False)
    with pytest.raises(InexactProducts):
        Acoustics(tflite)
    Acoustics(pbmm)
