"""The speech engines behind one narrow interface: DeepSpeech 0.9.3 and its successor Coqui STT.

Which one is used follows from the model file: `.tflite` runs in `stt`, `.pbmm` and `.pb` in `deepspeech`.
(The `deepspeech-tflite` package would do as well, but it installs the same module as `deepspeech`.)
One Model serves one thread of one process: two threads segfault, a process forked after use hangs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from .errors import ConfigError
from .model_file import Kind
from .samples import Samples
from .settings import Decoding

# Less than one window of 32 ms crashes some versions.
LEAST_SECONDS = 0.1
LAST_LETTER_SECONDS = 0.2
# What the engines' error codes mean (native_client/deepspeech.h).
MEANINGS = {
    "0x2000": "its metadata does not fit this engine's version",
    "0x2001": "its alphabet cannot be read",
    "0x2002": "the scorer is damaged or no scorer of this version",
    "0x2003": "it was exported for another version of DeepSpeech (0.9 is needed)",
    "0x2004": "the scorer file cannot be read",
    "0x2005": "the scorer file cannot be read",
    "0x2006": "the scorer is damaged or of another version",
    "0x2007": "the scorer's dictionary is missing or damaged",
    "0x2008": "the scorer's dictionary is missing or damaged",
    "0x2009": "the scorer was made for another alphabet",
    "0x3000": "it is damaged or no model of this kind",
    "0x3001": "it is damaged or no model of this kind",
    "0x3005": "it is damaged or no model of this kind",
}


@dataclass(frozen=True)
class Word:
    """A recognised word and its place, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Recognition:
    """What an engine heard in one piece.

    score is the engine's unnormalised log score: comparable only between readings of the same audio.
    """

    words: list[Word]
    score: float


@dataclass(frozen=True)
class EngineSpec:
    """What it takes to load an engine in any process."""

    model: str  # a local path
    kind: Kind
    scorer: str | None  # a local path
    decoding: Decoding


class Engine(Protocol):
    """Turns samples into words."""

    runtime: str  # such as "stt 1.4.0"
    sample_rate: int  # Hz

    def transcribe(self, samples: Samples) -> Recognition:
        """Recognise int16 mono samples of shape (n,) at the engine's rate; times count from the first."""


def load_engine(spec: EngineSpec) -> Engine:
    """Load model and scorer.

    Raises:
        ConfigError: they cannot be used; says which and why.
    """
    return _DeepSpeech(spec)


class _DeepSpeech:
    """`deepspeech` and `stt` have the same Python interface."""

    def __init__(self, spec: EngineSpec) -> None:
        module = import_module("stt" if spec.kind is Kind.TFLITE else "deepspeech")
        self.runtime = f"{module.__name__} {module.version()}"
        self._model = _loading("model", spec.model, lambda: module.Model(spec.model))
        self.sample_rate: int = self._model.sampleRate()
        decoding = spec.decoding
        if decoding.beam_width is not None:
            self._model.setBeamWidth(decoding.beam_width)
        if spec.scorer is not None:
            _loading("scorer", spec.scorer, lambda: self._model.enableExternalScorer(spec.scorer))
        if decoding.lm_alpha is not None:
            self._model.setScorerAlphaBeta(decoding.lm_alpha, decoding.lm_beta)
        for word, boost in decoding.hot_words.items():
            self._model.addHotWord(word, boost)

    def transcribe(self, samples: Samples) -> Recognition:
        least = int(LEAST_SECONDS * self.sample_rate)
        if len(samples) < least:
            samples = np.pad(samples, (0, least - len(samples)))
        best = self._model.sttWithMetadata(samples, 1).transcripts[0]
        return Recognition(words_of(best.tokens, len(samples) / self.sample_rate), best.confidence)


def words_of(tokens: Any, seconds: float) -> list[Word]:
    """Group an engine's tokens, one a character, into words.

    A token tells only where its character starts, and a space can come long after the word, right before the
    next one. So a word ends where the space behind it starts, but at most LAST_LETTER_SECONDS after its last
    letter's start, and within the piece.
    """
    words: list[Word] = []
    letters: list[Any] = []
    for token in tokens:
        if token.text != " ":
            letters.append(token)
        elif letters:
            words.append(_word(letters, token.start_time))
            letters = []
    if letters:
        words.append(_word(letters, max(seconds, letters[-1].start_time)))
    return words


def _word(letters: list[Any], end: float) -> Word:
    end = min(end, letters[-1].start_time + LAST_LETTER_SECONDS)
    return Word("".join(letter.text for letter in letters), round(letters[0].start_time, 3), round(end, 3))


def _loading(what: str, path: str, load: Any) -> Any:
    try:
        return load()
    except RuntimeError as error:
        code = next((code for code in MEANINGS if f"({code})" in str(error)), "")
        meaning = MEANINGS.get(code, "the engine refuses it")
        raise ConfigError(f"The {what} {path} cannot be used: {meaning} ({error})") from error
