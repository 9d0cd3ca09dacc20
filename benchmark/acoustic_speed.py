"""Measures the acoustic model by rows, and the integer product that limits it: `python acoustic_speed.py MODEL ROWS…`.

Runs in the engine's environment, with the engine's folder on the path. Prints a JSON object for each number of rows:
CPU seconds for a second of audio of the acoustic model (`measured`, and its `parts`), and of nothing but its products
(`products`): each layer's product alone, in the same runtime, with the same number of rows.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepspeech_batched.acoustics import Acoustics
from deepspeech_batched.features import Features
from deepspeech_batched.model import AcousticModel, Dense, read_model
from deepspeech_batched.products import Product

FRAMES_PER_ROUND = 16
REPETITIONS = 9
SECONDS = 4


def main(path: str, *rows: str) -> None:
    model = read_model(Path(path))
    runs, features = Acoustics(model), Features(model.features)
    frames_per_second = model.features.sample_rate / model.features.step
    for count in map(int, rows):
        parts = {name: spent * frames_per_second for name, spent in part_seconds(model, runs, count).items()}
        parts["features"] = feature_seconds(features)
        product = sum(product_seconds(layer, count, layer is model.lstm) for layer in layers(model)) * frames_per_second
        total = sum(parts.values())
        print(json.dumps({"rows": count, "measured": total, "products": product, "parts": parts}), flush=True)


def layers(model: AcousticModel) -> list[Dense]:
    return [*model.before, model.lstm, *model.after]


def part_seconds(model: AcousticModel, runs: Acoustics, rows: int) -> dict[str, float]:
    """CPU seconds for a frame in each of the three graphs."""
    chance = np.random.default_rng(7)
    frames = rows * FRAMES_PER_ROUND
    inputs = chance.normal(0, 3, (frames, model.before[0].inputs)).astype(np.float32)
    hidden = runs.before(inputs)
    state = np.tanh(chance.normal(0, 1, (rows, model.units))).astype(np.float32)
    outputs = np.tanh(chance.normal(0, 1, (frames, model.units))).astype(np.float32)
    return {
        "layers 1 to 3": median(lambda: runs.before(inputs)) / frames,
        "LSTM": median(lambda: runs.step(hidden[:rows], state, state)) / rows,
        "layers 5, 6": median(lambda: runs.after(outputs)) / frames,
    }


def product_seconds(layer: Dense, rows: int, is_lstm: bool) -> float:
    """CPU seconds for a frame in the layer's product alone. The LSTM has one frame of each row at a time."""
    count = rows if is_lstm else rows * FRAMES_PER_ROUND
    product = Product(layer.weights)
    values: npt.NDArray[np.generic] = np.ones((count, layer.inputs), np.float32)
    if layer.scale is not None:
        values = np.random.default_rng(7).integers(0, 255, values.shape).astype(np.uint8)
    return median(lambda: product(values)) / count


def feature_seconds(features: Features) -> float:
    """CPU seconds for the features of a second of audio."""
    samples = np.random.default_rng(7).integers(-3000, 3000, SECONDS * 16_000).astype(np.int16)
    return median(lambda: features.in_context(features.coefficients(samples))) / SECONDS


def median(run: Callable[[], object]) -> float:
    """The median CPU seconds of a call."""
    run()
    spent = []
    for _ in range(REPETITIONS):
        started = time.process_time()
        run()
        spent.append(time.process_time() - started)
    return statistics.median(spent)


if __name__ == "__main__":
    main(*sys.argv[1:])
