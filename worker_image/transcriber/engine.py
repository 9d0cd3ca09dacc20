"""One interface to the two runtimes of DeepSpeech 0.9.3.

Which one is used follows from the model file: `.pbmm` and `.pb` run in the package `deepspeech`, `.tflite` in
`deepspeech-tflite`. Both install the module `deepspeech`, so the latter has a separate folder, TFLITE, and a process
can use only one of them. One Model serves one thread of one process: two threads segfault, a process forked after use
hangs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from transcription_contract.model_files import ModelKind
from transcription_contract.run_options import TranscriptionOptions

from .failures import ConfigError
from .samples import Samples

TFLITE = Path(sys.prefix) / "tflite"  # the Dockerfile and the Makefile install it there
# Some versions crash on less than one window of 32 ms.
LEAST_SECONDS = 0.1
LAST_LETTER_SECONDS = 0.2
READINGS = 20  # for margins and alternatives; 1% of the engine's time
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
    "0x3002": "it is damaged or no model of this kind",
    "0x3005": "it is damaged or no model of this kind",
}


class Word(NamedTuple):
    """A recognised word and its times in seconds.

    margin is how much the log score falls from the best reading to the best one that lacks the word, or, if none
    does, to the last one; None if there is only one reading.
    """

    text: str
    start: float
    end: float
    margin: float | None = None


class Reading(NamedTuple):
    """One of several candidate transcripts of a piece, with the engine's unnormalised log score."""

    text: str
    score: float


@dataclass(frozen=True)
class Recognition:
    """An engine's result for one piece: the best reading and the next best ones.

    score is the engine's unnormalised log score: comparable only between readings of the same audio.
    """

    words: list[Word]
    score: float
    alternatives: list[Reading] = field(default_factory=list)


@dataclass(frozen=True)
class EngineSpec:
    """The arguments of a process that loads an engine."""

    model: str  # a local path
    kind: ModelKind
    scorer: str | None  # a local path
    options: TranscriptionOptions
    readings: int = READINGS  # number of readings that the engine computes; 1 if no output needs more


class Engine(Protocol):
    """Recognises the words in samples."""

    runtime: str  # such as "deepspeech-tflite 0.9.3"
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
    def __init__(self, spec: EngineSpec) -> None:
        package, module = _runtime(spec.kind)
        self.runtime = f"{package} {module.version()}"
        self._model = _loading("model", spec.model, lambda: module.Model(spec.model))
        self.sample_rate: int = self._model.sampleRate()
        options = spec.options
        self._readings = spec.readings
        self._alternatives = options.alternatives
        if options.beam_width is not None:
            self._model.setBeamWidth(options.beam_width)
        if spec.scorer is not None:
            _loading("scorer", spec.scorer, lambda: self._model.enableExternalScorer(spec.scorer))
        if options.lm_alpha is not None:
            self._model.setScorerAlphaBeta(options.lm_alpha, options.lm_beta)
        for word, boost in options.hot_words.items():
            self._model.addHotWord(word, boost)

    def transcribe(self, samples: Samples) -> Recognition:
        least = int(LEAST_SECONDS * self.sample_rate)
        if len(samples) < least:
            samples = np.pad(samples, (0, least - len(samples)))
        best, *others = self._model.sttWithMetadata(samples, self._readings).transcripts
        words = words_of(best.tokens, len(samples) / self.sample_rate)
        texts = [word.text for word in words]
        readings = _readings(others, but=" ".join(texts))
        margins = _margins(texts, best.confidence, readings)
        return Recognition(
            [word._replace(margin=margin) for word, margin in zip(words, margins)],
            best.confidence,
            [reading for reading in readings if reading.text][: self._alternatives],
        )


def _runtime(kind: ModelKind) -> tuple[str, Any]:
    """The package that reads this kind of model, and its module."""
    if kind is not ModelKind.TFLITE:
        return "deepspeech", import_module("deepspeech")
    if str(TFLITE) not in sys.path:
        sys.path.insert(0, str(TFLITE))
    return "deepspeech-tflite", import_module("deepspeech")


def words_of(tokens: Any, seconds: float) -> list[Word]:
    """Group an engine's tokens, one per character, into words.

    A token states only where its character starts, and a space can come long after the word, right before the
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


def _readings(candidates: Any, but: str) -> list[Reading]:
    """The other readings, best first. Readings that differ only in spaces count as one."""
    readings: dict[str, Reading] = {}
    for candidate in candidates:
        text = " ".join("".join(token.text for token in candidate.tokens).split())
        if text != but:
            readings.setdefault(text, Reading(text, candidate.confidence))
    return list(readings.values())


def _margins(best: Sequence[str], score: float, others: Sequence[Reading]) -> list[float | None]:
    """See Word: one for each word of the best reading."""
    if not others:
        return [None] * len(best)
    margins: list[float | None] = [score - others[-1].score] * len(best)
    # From the worst to the best, so that the best reading without a word sets its margin.
    for other in reversed(others):
        kept: set[int] = set()
        for block in SequenceMatcher(None, best, other.text.split(), autojunk=False).get_matching_blocks():
            kept.update(range(block.a, block.a + block.size))
        for number in set(range(len(best))) - kept:
            margins[number] = score - other.score
    return margins


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
