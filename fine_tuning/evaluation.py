"""Measures word errors with the worker's engine."""

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
class Evaluation:
    """A model's transcripts of the clips, with or without a scorer, and their word error rate (0 to 1 or more)."""

    word_error_rate: float
    texts: list[str]


def evaluate(model: Path, scorer: Path | None, clips: Sequence[Clip]) -> Evaluation:
    """Transcribe the clips and measure the word error rate.

    Uses a new process, because a process can load only one of DeepSpeech's runtimes.

    Raises:
        ConfigError: the engine cannot load the model or the scorer.
    """
    spec = EngineSpec(str(model), model_kind(model), str(scorer) if scorer else None, TranscriptionOptions())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _silence) as process:
        texts = process.submit(_transcribe, spec, [clip.wav for clip in clips]).result()
    return Evaluation(word_error_rate([(clip.text, text) for clip, text in zip(clips, texts)]), texts)


def _silence() -> None:
    """Discard stderr: the runtimes print a banner there. They report errors as exceptions."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _transcribe(spec: EngineSpec, wavs: Sequence[Path]) -> list[str]:
    engine = load_engine(spec)
    return [" ".join(word.text for word in engine.transcribe(_samples(wav)).words) for wav in wavs]


def _samples(path: Path) -> Samples:
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")
