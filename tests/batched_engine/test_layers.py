"""The layers compute what numpy and TensorFlow Lite compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from deepspeech_batched import acoustics, graph
from deepspeech_batched.acoustics import Acoustics, InexactProducts, Session, products_are_exact
from deepspeech_batched.features import Features
from deepspeech_batched.model import AcousticModel
from tests.batched_engine.conftest import Reference
from tests.batched_engine.small_model import layer, lstm_step

Floats = npt.NDArray[np.float32]


def computed(build: Callable[[graph.Graph], str], values: Floats) -> Floats:
    """What a graph of one input makes of the values."""
    made = graph.Graph(unsigned_weights=False)
    built = made.build({"x": values.shape[1]}, {"y": (build(made), values.shape[1])})
    [found] = Session(built).run(x=values)
    return found


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


def test_the_units_may_be_cut_into_blocks_without_a_change(
    tiny: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [frames(tiny, count)[:5, : tiny.units] for count in (5, 6, 7)]
    whole = Acoustics(tiny).step(*values)
    monkeypatch.setattr(graph, "UNITS_PER_BLOCK", 10)
    assert all(map(np.array_equal, whole, Acoustics(tiny).step(*values)))


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
    values = np.array([[value, 127.0]], np.float32)
    found = computed(lambda made: made.add("Cast", made._rounded("x", positive=False)[0], to=1), values)
    assert found[0, 0] - 128 == np.sign(value) * np.floor(abs(np.float64(np.float32(value))) + 0.5)


def test_the_gates_follow_their_functions_and_stay_in_their_range() -> None:
    values = np.append(np.linspace(-30, 30, 20_001, dtype=np.float32), np.float32([100, -100, 1e4, -1e4]))[None]
    logistic = computed(lambda made: made.logistic("x"), values)
    tanh = computed(lambda made: made.tanh("x"), values)
    np.testing.assert_allclose(logistic, 1 / (1 + np.exp(-values.astype(np.float64))), atol=3e-7)
    np.testing.assert_allclose(tanh, np.tanh(values.astype(np.float64)), atol=5e-7)
    small = values[values < graph.LOGISTIC_IS_EXP_BELOW]
    np.testing.assert_allclose(logistic[values < graph.LOGISTIC_IS_EXP_BELOW], np.exp(small), rtol=1e-6)
    assert logistic.min() >= 0
    assert logistic.max() <= 1
    assert np.abs(tanh).max() <= 1


def test_each_product_and_sum_of_a_gate_is_rounded_as_in_numpy() -> None:
    """A fused multiply-add would give other last bits."""
    values = np.random.default_rng(5).normal(0, 5, (1, 4096)).astype(np.float32)
    x = np.clip(values, np.float32(-graph.TANH_LIMIT), np.float32(graph.TANH_LIMIT))
    numerator, denominator = (horner(x * x, coefficients) for coefficients in graph.TANH)
    expected = np.where(np.abs(values) < np.float32(graph.TANH_IS_X_BELOW), values, x * numerator / denominator)
    assert np.array_equal(computed(lambda made: made.tanh("x"), values), expected)


def horner(square: Floats, coefficients: tuple[float, ...]) -> Floats:
    result = np.full_like(square, np.float32(coefficients[0]))
    for coefficient in coefficients[1:]:
        result = result * square + np.float32(coefficient)
    return result


def test_unsigned_weights_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch, tflite: AcousticModel) -> None:
    inputs = frames(tflite, 9)
    signed = Acoustics(tflite).before(inputs)
    monkeypatch.setattr(acoustics, "products_are_exact", lambda unsigned_weights: unsigned_weights)
    assert np.array_equal(Acoustics(tflite).before(inputs), signed)


def test_a_cpu_whose_products_saturate_is_noticed_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tflite: AcousticModel
) -> None:
    assert products_are_exact(unsigned_weights=True), "the fallback is exact on every CPU"
    whole = graph.Graph._integer_product

    def saturated(made: graph.Graph, integers: str, zero: str, weights: npt.NDArray[np.int8]) -> str:
        """As if pairs of products were cut to 16 bits."""
        product = whole(made, integers, zero, weights)
        return product if made._unsigned_weights else str(made.add("Div", product, made.constant(2, np.int32)))

    monkeypatch.setattr(graph.Graph, "_integer_product", saturated)
    assert not products_are_exact(unsigned_weights=False)
    Acoustics(tflite)
    [line] = capfd.readouterr().err.splitlines()
    assert "no VNNI" in line


def test_a_cpu_on_which_all_products_are_wrong_is_refused(
    monkeypatch: pytest.MonkeyPatch, tflite: AcousticModel, pbmm: AcousticModel
) -> None:
    monkeypatch.setattr(acoustics, "products_are_exact", lambda unsigned_weights: False)
    with pytest.raises(InexactProducts):
        Acoustics(tflite)
    Acoustics(pbmm)
