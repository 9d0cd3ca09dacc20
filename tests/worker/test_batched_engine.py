"""The batched engine gives what libdeepspeech gives. `python -m benchmark.identity` compares more recordings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker.harness import ROOT
from tests.worker.sounds import RATE, speech
from transcriber.engine_programs import PROGRAMS, EngineProcess, EngineProgram, EngineSpec, engine_for, engine_programs
from transcriber.failures import ConfigError
from transcriber.pool import Engines
from transcriber.recognition import RecognisedSegment, Recognition
from transcriber.worker import READINGS
from transcription_contract.model_files import ModelKind

MODEL = ROOT / "worker_image" / "models" / "asterisk-en" / "asterisk-en"
SCORER = MODEL.with_suffix(".scorer")
SCORE_DIFFERENCE = 0.02
"""Of float32: the softmax and, with float32 weights, the products are added in another order."""


def batched() -> EngineProgram:
    return next(program for program in engine_programs(PROGRAMS) if program.name == "deepspeech-batched")


@cache
def sounds() -> list[np.ndarray]:
    """Recordings as they are, with noise, cut, quiet, joined and silent."""
    chance = np.random.default_rng(4)
    clips = [speech(path.name) for path in sorted((ROOT / "tests" / "recordings").glob("*.wav"))]
    noisy = [np.clip(clip + chance.normal(0, 1500, len(clip)), -32768, 32767).astype(np.int16) for clip in clips[::2]]
    cut = [speech()[:samples] for samples in (0, 1, 100, 511, 512, 1599, 1600, 1601, 5000, 20_000)]
    quiet = [(clip / 100).astype(np.int16) for clip in clips[1::4]]
    long = [np.concatenate(clips)[: 29 * RATE]]
    return [*clips, *noisy, *cut, *quiet, *long, np.zeros(RATE, np.int16)]


def recognised(program: EngineProgram, kind: ModelKind, scorer: Path | None, options: Any) -> list[Recognition]:
    engine = EngineProcess(EngineSpec(program, MODEL.with_suffix(f".{kind.value}"), scorer, options, READINGS))
    try:
        at_once = engine.prepared().pieces
        groups = [sounds()[start : start + at_once] for start in range(0, len(sounds()), at_once)]
        return [found for group in groups for found in engine.recognise(group, limit=300)]
    finally:
        engine.stop()


@pytest.mark.parametrize("kind", [ModelKind.TFLITE, ModelKind.PBMM])
@pytest.mark.parametrize(
    ("scorer", "options"),
    [
        (SCORER, {"alternatives": 5}),
        (None, {"beam_width": 60, "alternatives": 5}),
        (SCORER, {"lm_alpha": 0.3, "lm_beta": 2.5, "hot_words": {"pound": 9.0, "press": -8.0}, "beam_width": 100}),
    ],
)
def test_it_gives_libdeepspeechs_words_times_and_readings(
    kind: ModelKind, scorer: Path | None, options: Mapping[str, Any]
) -> None:
    library = recognised(engine_for(kind, PROGRAMS), kind, scorer, options)
    found = recognised(batched(), kind, scorer, options)
    assert [len(one.segments) for one in found] == [len(one.segments) for one in library]
    pairs = zip(segments(found), segments(library), strict=True)
    for ours, theirs in pairs:
        assert [word[:3] for word in ours.words] == [word[:3] for word in theirs.words]
        assert [reading.text for reading in ours.alternatives] == [reading.text for reading in theirs.alternatives]
        assert ours.score == pytest.approx(theirs.score, abs=SCORE_DIFFERENCE)
        assert [word.certainty for word in ours.words] == [
            pytest.approx(word.certainty, abs=2 * SCORE_DIFFERENCE) for word in theirs.words
        ]


def segments(found: list[Recognition]) -> list[RecognisedSegment]:
    return [segment for one in found for segment in one.segments]


@pytest.mark.parametrize(("kind", "cut"), [(ModelKind.TFLITE, 2000), (ModelKind.PBMM, -4000)])
def test_a_damaged_model_is_refused_with_its_path(kind: ModelKind, cut: int, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(MODEL.with_suffix(f".{kind.value}").read_bytes()[:cut])
    with Engines(EngineSpec(batched(), path, None, {}, 1), 1) as engines, pytest.raises(ConfigError) as caught:
        engines.facts()
    assert str(caught.value).startswith(f"The model {path} cannot be used: it ")


def test_a_damaged_scorer_ends_with_a_sentence_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "scorer"
    for content in (SCORER.read_bytes()[:2000], b"something else" * 500):
        path.write_bytes(content)
        spec = EngineSpec(batched(), MODEL.with_suffix(".tflite"), path, {}, 1)
        with Engines(spec, 1) as engines, pytest.raises(ConfigError) as caught:
            engines.facts()
        assert str(path) in str(caught.value)
