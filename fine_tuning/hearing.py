"""Measures word errors with the worker's own engine."""

from __future__ import annotations

import multiprocessing
import os
import wave
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transcriber.engine import EngineSpec, load_engine
from transcriber.model_file import model_kind
from transcriber.samples import Samples
from transcription_contract.run_options import TranscriptionOptions

from .dataset import Clip
from .word_errors import word_error_rate


@dataclass(frozen=True)
class Hearing:
    """What a model with a scorer, or without, makes of the clips."""

    word_error_rate: float
    texts: list[str]


def hear(model: Path, scorer: Path | None, clips: Sequence[Clip]) -> Hearing:
    """Transcribe the clips, in a process of its own: one can load only one of DeepSpeech's runtimes.

    Raises:
        ConfigError: the model or the scorer cannot be used.
    """
    spec = EngineSpec(str(model), model_kind(model), str(scorer) if scorer else None, TranscriptionOptions())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _silence) as process:
        texts = process.submit(_transcribe, spec, [clip.wav for clip in clips]).result()
    return Hearing(word_error_rate([(clip.text, text) for clip, text in zip(clips, texts)]), texts)


def _silence() -> None:
    """The runtimes greet on stderr; what they have to say they raise."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _transcribe(spec: EngineSpec, wavs: Sequence[Path]) -> list[str]:
    engine = load_engine(spec)
    return [" ".join(word.text for word in engine.transcribe(_samples(wav)).words) for wav in wavs]


def _samples(path: Path) -> Samples:
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")
