"""Measures word errors with the worker's engine."""

from __future__ import annotations

import os
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transcriber.engine_programs import PROGRAMS, EngineSpec, engine_for
from transcriber.model_file import model_kind
from transcriber.pool import Engines
from transcriber.samples import Samples

from .dataset import Clip
from .word_errors import word_error_rate


@dataclass(frozen=True)
class Evaluation:
    """A model's transcripts of the clips, with or without a scorer, and their word error rate (0 to 1 or more)."""

    word_error_rate: float
    texts: list[str]


def evaluate(model: Path, scorer: Path | None, clips: Sequence[Clip]) -> Evaluation:
    """Transcribe the clips and measure the word error rate.

    Raises:
        ConfigError: the engine cannot load the model or the scorer.
    """
    spec = EngineSpec(engine_for(model_kind(model), PROGRAMS), model.resolve(), scorer, {}, readings=1)
    with _silenced():
        started = Engines(spec, 1)
    with started as engines:
        rate = engines.facts().sample_rate
        answers = [engines.transcribe(_samples(clip.wav), rate) for clip in clips]
        texts = [" ".join(word.text for word in answer.result().words) for answer in answers]
    return Evaluation(word_error_rate([(clip.text, text) for clip, text in zip(clips, texts, strict=True)]), texts)


@contextmanager
def _silenced() -> Iterator[None]:
    """Discard stderr of processes that start meanwhile: engines print a banner there. They report errors as answers."""
    before = os.dup(2)
    discard = os.open(os.devnull, os.O_WRONLY)
    os.dup2(discard, 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(discard)


def _samples(path: Path) -> Samples:
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")
