"""Mozilla DeepSpeech 0.9.3 as an engine (docs/engines.md).

The packages `deepspeech` and `deepspeech-tflite` have the same module, and Coqui's `stt` the same functions. So this
program serves all three, each in an environment of its own. One Model serves one thread of one process: two threads
segfault, a process forked after use hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from deepspeech_transcripts import CERTAINTY, PIECE_SECONDS, long_enough, meaning, segments
from engine_protocol import Refused, Samples, serve

PACKAGES = {"deepspeech": "deepspeech", "deepspeech-tflite": "deepspeech", "stt": "stt"}  # and their modules


class DeepSpeech:
    """A loaded model and scorer.

    Args:
        given: The worker's first message.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        package = _package()
        module = import_module(PACKAGES[package])
        model, scorer, options = given["model"], given["scorer"], given["options"]
        self._model = _loading("model", model, lambda: module.Model(model))
        self._rate: int = self._model.sampleRate()
        self._readings: int = given["readings"]
        self._alternatives: int = options.get("alternatives", 0)
        if "beam_width" in options:
            self._model.setBeamWidth(options["beam_width"])
        if scorer is not None:
            _loading("scorer", scorer, lambda: self._model.enableExternalScorer(scorer))
        if "lm_alpha" in options:
            self._model.setScorerAlphaBeta(options["lm_alpha"], options["lm_beta"])
        for word, boost in options.get("hot_words", {}).items():
            self._model.addHotWord(word, boost)
        self.facts = {
            "name": package,
            "version": module.version(),
            "sample_rate": self._rate,
            "piece_seconds": PIECE_SECONDS,
            "pieces": 1,
            "certainty": CERTAINTY,
        }

    def recognise(self, pieces: Sequence[Samples]) -> list[list[dict[str, Any]]]:
        """The segments of each piece, one after the other: one, or none without words."""
        return [self._segments(piece) for piece in pieces]

    def _segments(self, samples: Samples) -> list[dict[str, Any]]:
        whole = long_enough(samples, self._rate)
        transcripts = self._model.sttWithMetadata(whole, self._readings).transcripts
        return segments(transcripts, len(samples) / self._rate, self._alternatives)


def _package() -> str:
    for name in PACKAGES:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        return name
    raise Refused(f"This environment has none of the packages {', '.join(PACKAGES)}.")


def _loading(what: str, path: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except RuntimeError as error:
        raise Refused(f"The {what} {path} cannot be used: {meaning(str(error))} ({error})") from error


if __name__ == "__main__":
    serve(DeepSpeech)
