"""Runs the acoustic model, on one thread. Each row's result does not depend on the other rows."""

from __future__ import annotations

import numpy as np

from . import arithmetic
from .model import AcousticModel, Dense, Floats
from .products import Product, needs_unsigned_weights


class Acoustics:
    """The acoustic model, ready to run.

    Args:
        model: What its file contains.

    Raises:
        InexactProducts: the model is quantised, and this CPU cannot run it.
    """

    def __init__(self, model: AcousticModel) -> None:
        self.units = model.units
        self.letters = model.after[1].outputs
        layers = [*model.before, model.lstm, *model.after]
        quantised = any(layer.scale is not None for layer in layers)
        unsigned = quantised and needs_unsigned_weights()
        *self._before, self._lstm, self._fifth, self._sixth = (Layer(layer, unsigned) for layer in layers)

    def before(self, inputs: Floats) -> Floats:
        """Layers 1 to 3 for frames in context: shape (frames, inputs) becomes (frames, units)."""
        for layer in self._before:
            inputs = layer(inputs)
        return inputs

    def step(self, inputs: Floats, output: Floats, cell: Floats) -> tuple[Floats, Floats]:
        """One step of the LSTM for each row: the new output and cell. All have the shape (rows, units)."""
        product, spans = self._lstm.product(inputs, output)
        return arithmetic.lstm(product, spans, self._lstm.layer, cell)

    def after(self, outputs: Floats) -> Floats:
        """Layers 5, 6 and softmax: shape (frames, units) becomes (frames, letters)."""
        return arithmetic.softmax(self._sixth(self._fifth(outputs)))


class Layer:
    """A fully connected layer."""

    def __init__(self, layer: Dense, unsigned_weights: bool) -> None:
        self.layer = layer
        self._product = Product(layer.weights, unsigned_weights)

    def product(self, values: Floats, *more: Floats) -> tuple[arithmetic.Matrix, Floats | None]:
        """The inputs multiplied by the weights, of shape (rows, outputs), and what `arithmetic.quantised` found.

        Args:
            values: Shape (rows, n).
            more: Further columns of the same rows. In all, there are as many as the layer has inputs.
        """
        if self.layer.scale is None:
            return self._product(np.concatenate([values, *more], axis=1) if more else values), None
        integers, spans = arithmetic.quantised(values, *(more or [values[:, :0]]))
        return self._product(integers), spans

    def __call__(self, values: Floats) -> Floats:
        """The layer's outputs: shape (rows, inputs) becomes (rows, outputs)."""
        return arithmetic.dense(*self.product(values), self.layer)
