"""Finds the words with DeepSpeech's own decoder, which is in the package ds_ctcdecoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from ds_ctcdecoder import swigwrapper

from .model import AcousticModel, Floats

# As libdeepspeech decodes.
CUTOFF_PROBABILITY = 1.0
CUTOFF_LETTERS = 40


class DecoderError(Exception):
    """The scorer or the alphabet cannot be used. `code` is DeepSpeech's error code, such as "0x2002"."""

    def __init__(self, code: int) -> None:
        self.code = f"0x{code:X}"
        super().__init__(f"the decoder's error code is {self.code}")


class Token(NamedTuple):
    """A character and its start in seconds from the start of the piece."""

    text: str
    start_time: float


@dataclass(frozen=True)
class Transcript:
    """One of the best transcripts of a piece, with the decoder's log score."""

    tokens: list[Token]
    confidence: float


class Decoder:
    """A decoder, with or without a scorer.

    Args:
        model: Its alphabet and beam width are used.
        scorer: The scorer's path.
        weights: The scorer's lm_alpha and lm_beta, if not its own.
        beam_width: If not the model's.
        hot_words: Each with its boost.

    Raises:
        DecoderError: the alphabet or the scorer cannot be used.
    """

    def __init__(
        self,
        model: AcousticModel,
        scorer: str | None = None,
        weights: tuple[float, float] | None = None,
        beam_width: int | None = None,
        hot_words: Mapping[str, float] | None = None,
    ) -> None:
        self._alphabet = swigwrapper.Alphabet()
        _check(self._alphabet.Deserialize(model.alphabet, len(model.alphabet)))
        self._beam_width = beam_width or model.beam_width
        self._hot_words = {word.encode(): float(boost) for word, boost in (hot_words or {}).items()}
        self._scorer = None
        if scorer is not None:
            self._scorer = swigwrapper.Scorer()
            _check(self._scorer.init(scorer.encode(), self._alphabet))
            if weights:
                self._scorer.reset_params(*weights)
        settings = model.features
        self._frame_seconds = np.float32(settings.step) / np.float32(settings.sample_rate)

    def decode(self, probabilities: Floats, count: int) -> list[Transcript]:
        """The best transcripts, at most `count`, the best first.

        Args:
            probabilities: Of the letters in each frame: shape (frames, letters).
        """
        found = swigwrapper.ctc_beam_search_decoder(
            probabilities.astype(np.float64), self._alphabet, self._beam_width, CUTOFF_PROBABILITY, CUTOFF_LETTERS,
            self._scorer, self._hot_words, count,
        )  # fmt: skip
        return [self._transcript(output) for output in found]

    def _transcript(self, output: Any) -> Transcript:
        tokens = [
            Token(self._alphabet.DecodeSingle(label).decode(), float(np.float32(frame) * self._frame_seconds))
            for label, frame in zip(output.tokens, output.timesteps)
        ]
        return Transcript(tokens, output.confidence)


def _check(code: int) -> None:
    if code:
        raise DecoderError(code)
