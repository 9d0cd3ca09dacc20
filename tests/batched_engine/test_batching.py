"""Pieces that run together give what each gives alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from deepspeech_batched import batching
from deepspeech_batched.acoustics import Acoustics
from deepspeech_batched.batching import probabilities
from deepspeech_batched.features import Features
from deepspeech_batched.model import AcousticModel

Audio = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]
LENGTHS = (200, 4000, 900, 12_000, 350, 200, 7001, 12_000, 2500, 640, 1990)


def pieces(lengths: tuple[int, ...] = LENGTHS) -> list[Audio]:
    chance = np.random.default_rng(11)
    return [chance.normal(0, 3000, length).astype(np.int16) for length in lengths]


def step_by_step(model: AcousticModel, runs: Acoustics, piece: Audio) -> Floats:
    """One piece, frame by frame, with the state handed over."""
    features = Features(model.features)
    inputs = features.in_context(features.coefficients(piece))
    hidden = runs.before(inputs.reshape(len(inputs), -1))
    output = cell = np.zeros((1, model.units), np.float32)
    outputs = []
    for frame in hidden:
        output, cell = runs.step(frame[None], output, cell)
        outputs.append(output)
    return runs.after(np.concatenate(outputs))


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_a_piece_gives_the_same_in_any_batch(tiny: AcousticModel, rows: int) -> None:
    """Bit for bit with int8 weights. In float32 a larger product may add in another order."""
    runs = Acoustics(tiny)
    found = dict(probabilities(runs, Features(tiny.features), pieces(), rows))
    assert sorted(found) == list(range(len(LENGTHS)))
    for number, piece in enumerate(pieces()):
        expected = step_by_step(tiny, runs, piece)
        if tiny.lstm.scale is None:
            np.testing.assert_allclose(found[number], expected, atol=1e-5)
        else:
            assert np.array_equal(found[number], expected)


def test_the_rounds_may_have_any_length(tiny: AcousticModel, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Acoustics(tiny)
    usual = dict(probabilities(runs, Features(tiny.features), pieces(), 4))
    monkeypatch.setattr(batching, "FRAMES_PER_ROUND", 5)
    other = dict(probabilities(runs, Features(tiny.features), pieces(), 4))
    for number, expected in usual.items():
        np.testing.assert_allclose(other[number], expected, atol=1e-5)


def test_a_row_takes_the_next_piece_as_soon_as_its_own_has_ended(
    tiny: AcousticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nearly all steps have full rows, however much the lengths differ."""
    runs = Acoustics(tiny)
    rows: list[int] = []
    whole = runs.step

    def counted(inputs: Floats, output: Floats, cell: Floats) -> tuple[Floats, Floats]:
        rows.append(len(inputs))
        return whole(inputs, output, cell)

    monkeypatch.setattr(runs, "step", counted)
    lengths = tuple(int(length) for length in np.random.default_rng(2).integers(300, 9000, 60))
    found = dict(probabilities(runs, Features(tiny.features), pieces(lengths), 8))
    assert sum(rows) == sum(map(len, found.values())), "no frame is computed twice or in vain"
    assert max(rows) == 8
    assert np.mean(rows) > 7


def test_no_pieces_give_nothing(tiny: AcousticModel) -> None:
    assert list(probabilities(Acoustics(tiny), Features(tiny.features), [])) == []
