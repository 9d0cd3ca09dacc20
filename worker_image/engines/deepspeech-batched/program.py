"""DeepSpeech 0.9 models in batches as an engine (docs/engines.md, docs/batched-engine.md).

One process computes on one thread: the worker starts one for each CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from deepspeech_transcripts import CERTAINTY, PIECE_SECONDS, long_enough, meaning, segments
from engine_protocol import Refused, Samples, serve

from deepspeech_batched.acoustics import Acoustics
from deepspeech_batched.batching import ROWS, probabilities
from deepspeech_batched.decoding import Decoder, DecoderError
from deepspeech_batched.features import Features
from deepspeech_batched.model import AcousticModel, ModelFileError, read_model
from deepspeech_batched.products import InexactProducts

PIECES = 2 * ROWS
"""As many run at once as there are rows. The others take the rows of those that end."""


class BatchedDeepSpeech:
    """A loaded model and scorer.

    Args:
        given: The worker's first message.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        model = _model(given["model"])
        self._decoder = _decoder(model, given)
        self._acoustics = _acoustics(model)
        self._features = Features(model.features)
        self._rate = model.features.sample_rate
        self._readings: int = given["readings"]
        self._alternatives: int = given["options"].get("alternatives", 0)
        self.facts = {
            "name": "deepspeech-batched",
            "version": version("ds_ctcdecoder"),
            "sample_rate": self._rate,
            "piece_seconds": PIECE_SECONDS,
            "pieces": PIECES,
            "certainty": CERTAINTY,
        }

    def recognise(self, pieces: Sequence[Samples]) -> list[list[dict[str, Any]]]:
        """The segments of each piece."""
        whole = [long_enough(piece, self._rate) for piece in pieces]
        found: dict[int, list[dict[str, Any]]] = {}
        for number, letters in probabilities(self._acoustics, self._features, whole):
            transcripts = self._decoder.decode(letters, self._readings)
            found[number] = segments(transcripts, len(pieces[number]) / self._rate, self._alternatives)
        return [found[number] for number in range(len(whole))]


def _model(path: str) -> AcousticModel:
    try:
        return read_model(Path(path))
    except ModelFileError as error:
        raise Refused(f"The model {path} cannot be used: {error}") from error


def _acoustics(model: AcousticModel) -> Acoustics:
    try:
        return Acoustics(model)
    except InexactProducts as error:
        raise Refused(f"{error}. Choose the engine deepspeech-tflite, which runs the same models.") from error


def _decoder(model: AcousticModel, given: dict[str, Any]) -> Decoder:
    scorer, options = given["scorer"], given["options"]
    weights = (options["lm_alpha"], options["lm_beta"]) if "lm_alpha" in options else None
    try:
        return Decoder(model, scorer, weights, options.get("beam_width"), options.get("hot_words"))
    except DecoderError as error:
        what = f"scorer {scorer}" if scorer else f"model {given['model']}"
        raise Refused(f"The {what} cannot be used: {meaning(error.code)} ({error})") from error


if __name__ == "__main__":
    serve(BatchedDeepSpeech)
