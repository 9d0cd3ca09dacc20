"""The engine processes: one model each, and a crash costs only what it was busy with."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.worker.harness import ROOT
from tests.worker.sounds import RATE, encoded, speech, wav
from transcriber import decoder as decoding
from transcriber.cpus import available_cpus
from transcriber.decoder import Decoder
from transcriber.engine import READINGS, EngineSpec, load_engine, words_of
from transcriber.errors import ConfigError, Rejected, TemporaryError
from transcriber.models import File, Model
from transcriber.pool import Engines
from transcriber.worker import engine_spec
from transcription_contract.model_files import ModelKind
from transcription_contract.run_options import TranscriptionOptions

MODEL = ROOT / "worker_image" / "models" / "asterisk-en" / "asterisk-en"
SPEC = EngineSpec(f"{MODEL}.tflite", ModelKind.TFLITE, f"{MODEL}.scorer", TranscriptionOptions())
# Without its scorer an engine is busy long enough to be hit.
SLOW = EngineSpec(f"{MODEL}.tflite", ModelKind.TFLITE, None, TranscriptionOptions())
TEXT = "after the tone say your temporary message and then press the pound key"


@pytest.fixture
def engine() -> Iterator[Engines]:
    with Engines(SPEC, 1) as engines:
        engines.facts()
        yield engines


def text(answer: object) -> str:
    return " ".join(word.text for word in answer.result(60).recognition.words)  # type: ignore[attr-defined]


def hit_while_busy(pid: int, blow: signal.Signals) -> None:
    """Kill an engine's process once it has worked on something for a moment."""
    before = _cpu(pid)
    deadline = time.monotonic() + 20
    while _cpu(pid) < before + 10:  # hundredths of a second
        assert time.monotonic() < deadline, "it does not work"
        time.sleep(0.01)
    os.kill(pid, blow)


def _cpu(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def only_child(but: int = 0) -> int:
    """The engine's process, once it is there and has loaded its model."""
    deadline = time.monotonic() + 20
    while True:
        pids = [child.pid for child in multiprocessing.active_children() if child.pid not in (None, but)]
        if pids:
            return int(pids[0])
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_engine_that_crashes_once_is_replaced_and_the_piece_is_done_again() -> None:
    with Engines(SLOW, 1) as engines:
        engines.facts()
        answer = engines.transcribe(np.tile(speech(), 4), RATE)
        hit_while_busy(only_child(), signal.SIGSEGV)
        assert "temporary message" in text(answer)


@pytest.mark.parametrize(
    ("blow", "meaning"), [(signal.SIGSEGV, Rejected), (signal.SIGABRT, Rejected), (signal.SIGKILL, TemporaryError)]
)
def test_a_piece_that_crashes_two_engines_fails_and_the_next_is_transcribed(
    blow: signal.Signals, meaning: type[Exception]
) -> None:
    with Engines(SLOW, 1) as engines:
        engines.facts()
        answer = engines.transcribe(np.tile(speech(), 4), RATE)
        first = only_child()
        hit_while_busy(first, blow)
        second = only_child(but=first)
        time.sleep(1)  # it loads its model
        hit_while_busy(second, blow)
        with pytest.raises(meaning):
            answer.result(60)
        assert "temporary message" in text(engines.transcribe(speech(), RATE))


@pytest.mark.parametrize(("busy", "killed"), [(False, 1), (True, 1), (False, 2), (True, 2)])
def test_an_engine_that_is_killed_while_it_waits_for_work_costs_nothing(busy: bool, killed: int) -> None:
    """Not even if the other one is killed at a piece at the same moment: that is one attempt at it, not two."""
    with Engines(SLOW, 2) as engines:
        engines.facts()
        assert "temporary message" in text(engines.transcribe(speech(), RATE))
        time.sleep(1)  # both have loaded their models
        work = [engines.transcribe(np.tile(speech(), 4), RATE)] if busy else []
        time.sleep(0.2)
        idle_first = sorted((child.pid for child in multiprocessing.active_children() if child.pid), key=_cpu)
        for pid in idle_first[:killed]:
            os.kill(pid, signal.SIGKILL)
        work += [engines.transcribe(speech(), RATE) for _ in range(4)]
        assert all("temporary message" in text(answer) for answer in work)


def test_engines_end_at_once_whatever_they_are_at() -> None:
    with Engines(SLOW, 2) as engines:
        answers = [engines.transcribe(np.tile(speech(), 40), RATE) for _ in range(4)]
        engines.facts()
    assert all(answer.done() for answer in answers)
    assert multiprocessing.active_children() == []


def test_an_engine_that_is_killed_while_it_loads_says_that_memory_ran_out() -> None:
    with Engines(SLOW, 1) as engines:
        os.kill(only_child(), signal.SIGKILL)
        with pytest.raises(ConfigError, match=r"asterisk-en\.tflite is killed, .* memory"):
            engines.facts()


def test_an_engine_that_hangs_is_stopped_and_only_its_recording_rejected(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transcriber.pool.LIMIT_SECONDS", 0.01)
    monkeypatch.setattr("transcriber.pool.LIMIT_PER_SECOND", 0.0)
    with pytest.raises(Rejected) as caught:
        engine.transcribe(np.tile(speech(), 20), RATE).result(60)
    assert caught.value.code == "engine-timeout"
    monkeypatch.undo()
    assert text(engine.transcribe(speech(), RATE)) == TEXT


def test_one_process_transcribes_many_pieces_with_one_model(capfd: pytest.CaptureFixture[str]) -> None:
    with Engines(SPEC, 1) as engines:
        answers = [engines.transcribe(speech(), RATE) for _ in range(5)]
        assert [text(answer) for answer in answers] == [TEXT] * 5
    assert capfd.readouterr().err.count("DeepSpeech: v") == 1, "the engine says that at each load"


@pytest.mark.parametrize("samples", [0, 1, 100, 511, 512])
def test_less_than_one_window_of_sound_is_no_words_and_no_crash(samples: int) -> None:
    assert load_engine(SPEC).transcribe(speech()[:samples]).words == []


@pytest.mark.parametrize(("formats", "readings"), [(("srt", "vtt"), 1), (("srt", "json"), READINGS)])
def test_other_readings_are_asked_for_only_if_the_json_tells_them(formats: tuple[str, ...], readings: int) -> None:
    model = Model(File("m", Path(f"{MODEL}.tflite"), ""), ModelKind.TFLITE, None, None)
    assert engine_spec(model, TranscriptionOptions(output_formats=formats)).readings == readings


def test_one_reading_has_the_same_words_and_no_margins() -> None:
    several, one = (load_engine(replace(SPEC, readings=count)).transcribe(speech()) for count in (READINGS, 1))
    assert all(word.margin is not None for word in several.words)
    assert one.words == [word._replace(margin=None) for word in several.words]
    assert one.alternatives == []


@pytest.mark.parametrize(
    ("model", "kind", "scorer"),
    [
        ("cut", ModelKind.TFLITE, None),
        ("cut", ModelKind.PBMM, None),
        ("whole", ModelKind.TFLITE, "cut"),
    ],
)
def test_a_damaged_model_or_scorer_is_named_with_what_is_wrong(
    model: str, kind: ModelKind, scorer: str | None, tmp_path: Path
) -> None:
    path = MODEL.with_suffix(f".{kind.value}")
    if model == "cut":
        content = path.read_bytes()
        path = tmp_path / "model"
        path.write_bytes(content[:2000] if kind is ModelKind.TFLITE else content[:-4000] + content[-100:])
    if scorer:
        (tmp_path / "scorer").write_bytes(MODEL.with_suffix(".scorer").read_bytes()[:2000])
    spec = EngineSpec(str(path), kind, str(tmp_path / "scorer") if scorer else None, TranscriptionOptions())
    with Engines(spec, 1) as engines, pytest.raises(ConfigError) as caught:
        engines.facts()
    assert str(tmp_path) in str(caught.value)


def test_words_end_where_the_space_behind_them_starts_or_soon_after_their_last_letter() -> None:
    class Token:
        def __init__(self, text: str, start_time: float) -> None:
            self.text, self.start_time = text, start_time

    tokens = [
        Token(*pair)
        for pair in [("h", 0.1), ("i", 0.2), (" ", 0.3), (" ", 0.5), ("a", 0.6), (" ", 2.0), ("y", 2.5), ("o", 2.6)]
    ]
    words = words_of(tokens, 2.7)
    assert [(word.text, word.start, word.end) for word in words] == [
        ("hi", 0.1, 0.3),
        ("a", 0.6, 0.8),
        ("yo", 2.5, 2.7),
    ]


@pytest.mark.parametrize(
    ("start", "loaded"),
    [
        ("import transcriber.worker", {"transcriber.worker", "boto3", "transcriber.pool"}),
        # What multiprocessing does first in a process that it spawned, and what the engines' and the decoder's need.
        ("import runpy; runpy.run_module('transcriber', run_name='__mp_main__')", set()),
        ("import transcriber.pool, transcriber.decoder", {"transcriber.pool"}),
    ],
)
def test_each_process_imports_no_more_than_it_needs(start: str, loaded: set[str]) -> None:
    """Codecs are for the decoder alone, and only when it is asked; AWS is for the worker alone."""
    watched = {"av", "soxr", "webrtcvad", "boto3", "transcriber.pool", "transcriber.worker"}
    code = f"import sys; {start}; print(*{watched} & {{*sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "worker_image")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} == loaded


@pytest.fixture(scope="module")
def slow_to_decode() -> bytes:
    """Half an hour of silence, which is one answer of the decoder, and then words."""
    return encoded(np.concatenate([np.zeros(1800 * RATE, np.int16), speech()]), "flac", "flac")


def test_a_decoder_that_crashes_is_replaced_and_other_files_go_on_where_they_were(slow_to_decode: bytes) -> None:
    words = np.tile(speech(), 60)
    with Decoder() as decoder, ThreadPoolExecutor() as threads:
        other = decoder.open(wav(words), RATE)
        batches = [other.next_batch()]
        assert not batches[0].last
        slow = threads.submit(decoder.open(slow_to_decode, RATE).next_batch)
        hit_while_busy(only_child(), signal.SIGSEGV)
        assert slow.result(60).pieces
        while not batches[-1].last:
            batches.append(other.next_batch())
    pieces = [piece.samples for batch in batches for piece in batch.pieces]
    assert np.array_equal(np.concatenate(pieces), words)


def test_a_file_on_which_the_decoder_hangs_is_rejected(slow_to_decode: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with Decoder() as decoder:
        monkeypatch.setattr(decoding, "LIMIT_SECONDS", 0.01)
        with pytest.raises(Rejected) as caught:
            decoder.open(slow_to_decode, RATE).next_batch()
        assert caught.value.code == "undecodable"
        monkeypatch.undo()
        assert decoder.open(wav(speech()), RATE).next_batch().last


def test_engines_are_as_many_as_the_quota_allows(tmp_path: Path) -> None:
    everything = len(os.sched_getaffinity(0))
    membership = tmp_path / "membership"
    membership.write_text("0::/\n")
    assert available_cpus(tmp_path, membership) == everything
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cpus(tmp_path, membership) == everything
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cpus(tmp_path, membership) == 1
    (tmp_path / "cpu.max").write_text("200000 100000\n")
    assert available_cpus(tmp_path, membership) == min(2, everything)


def test_the_quota_of_an_outer_control_group_counts_too(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("12:cpuset:/x\n4:cpu,cpuacct:/ecs/task/container\n")
    group = tmp_path / "cpu" / "ecs"
    (group / "task" / "container").mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("100000\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (group / "task" / "container" / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "task" / "container" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path, membership) == 1
