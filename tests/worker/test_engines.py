"""The engine processes: each loads one model, and a crash affects only the current piece."""

from __future__ import annotations

import os
import runpy
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
from transcriber.engine_programs import PROGRAMS, EngineProcess, EngineSpec, engine_for
from transcriber.failures import ConfigError, RecordingFailed, Rejected
from transcriber.model_file import File
from transcriber.model_loading import Model
from transcriber.pool import Engines, share
from transcriber.process import children
from transcriber.recognition import Recognition
from transcriber.worker import READINGS, engine_spec
from transcription_contract.model_files import ModelKind
from transcription_contract.run_options import TranscriptionOptions

MODEL = ROOT / "worker_image" / "models" / "asterisk-en" / "asterisk-en"
TFLITE = engine_for(ModelKind.TFLITE, PROGRAMS)
SPEC = EngineSpec(TFLITE, MODEL.with_suffix(".tflite"), MODEL.with_suffix(".scorer"), {}, READINGS)
# Without a scorer an engine works long enough on a piece for a test to kill it.
SLOW = replace(SPEC, scorer=None)
TEXT = "after the tone say your temporary message and then press the pound key"


@pytest.fixture
def engine() -> Iterator[Engines]:
    with Engines(SPEC, 1) as engines:
        engines.facts()
        yield engines


def text(answer: object) -> str:
    return " ".join(word.text for word in answer.result(60).words)  # type: ignore[attr-defined]


def recognised(spec: EngineSpec, samples: np.ndarray) -> Recognition:
    """What an engine of its own recognises in a piece."""
    engine = EngineProcess(spec)
    try:
        [found] = engine.recognise([samples], limit=60)
    finally:
        engine.stop()
    return found


def signal_while_busy(pid: int, signum: signal.Signals) -> None:
    """Send a signal to an engine's process after it has worked for a moment."""
    before = _cpu(pid)
    deadline = time.monotonic() + 20
    while _cpu(pid) < before + 10:  # hundredths of a second
        assert time.monotonic() < deadline, "the engine does not work"
        time.sleep(0.01)
    os.kill(pid, signum)


def _cpu(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def only_child(but: int = 0) -> int:
    """Wait until the engine's process has loaded its model. Return its id."""
    deadline = time.monotonic() + 20
    while True:
        pids = [child.pid for child in children() if child.pid not in (None, but)]
        if pids:
            return int(pids[0])
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_crashed_engine_is_replaced_and_the_piece_is_transcribed_again() -> None:
    with Engines(SLOW, 1) as engines:
        engines.facts()
        answer = engines.transcribe(np.tile(speech(), 4), RATE)
        signal_while_busy(only_child(), signal.SIGSEGV)
        assert "temporary message" in text(answer)


@pytest.mark.parametrize(
    ("signum", "meaning"), [(signal.SIGSEGV, Rejected), (signal.SIGABRT, Rejected), (signal.SIGKILL, RecordingFailed)]
)
def test_a_piece_that_crashes_two_engines_fails_and_the_next_is_transcribed(
    signum: signal.Signals, meaning: type[Exception]
) -> None:
    with Engines(SLOW, 1) as engines:
        engines.facts()
        answer = engines.transcribe(np.tile(speech(), 4), RATE)
        first = only_child()
        signal_while_busy(first, signum)
        second = only_child(but=first)
        time.sleep(1)  # the engine loads its model
        signal_while_busy(second, signum)
        with pytest.raises(meaning):
            answer.result(60)
        assert "temporary message" in text(engines.transcribe(speech(), RATE))


@pytest.mark.parametrize(("busy", "killed"), [(False, 1), (True, 1), (False, 2), (True, 2)])
def test_killing_an_idle_engine_uses_no_attempt(busy: bool, killed: int) -> None:
    """Also if the other engine is killed during a piece at the same time: that uses one attempt, not two."""
    with Engines(SLOW, 2) as engines:
        engines.facts()
        assert "temporary message" in text(engines.transcribe(speech(), RATE))
        time.sleep(1)  # both have loaded their models
        work = [engines.transcribe(np.tile(speech(), 4), RATE)] if busy else []
        time.sleep(0.2)
        idle_first = sorted((child.pid for child in children() if child.pid), key=_cpu)
        for pid in idle_first[:killed]:
            os.kill(pid, signal.SIGKILL)
        work += [engines.transcribe(speech(), RATE) for _ in range(4)]
        assert all("temporary message" in text(answer) for answer in work)


def test_engines_end_at_once_also_during_work() -> None:
    with Engines(SLOW, 2) as engines:
        answers = [engines.transcribe(np.tile(speech(), 40), RATE) for _ in range(4)]
        engines.facts()
    assert all(answer.done() for answer in answers)
    assert children() == []


def test_the_error_of_an_engine_killed_while_it_loads_names_the_memory() -> None:
    with Engines(SLOW, 1) as engines:
        os.kill(only_child(), signal.SIGKILL)
        with pytest.raises(ConfigError, match=r"asterisk-en\.tflite is killed, .* memory"):
            engines.facts()


def test_a_hanging_engine_is_killed_and_only_its_recording_is_rejected(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transcriber.pool.LIMIT_SECONDS", 0.01)
    monkeypatch.setattr("transcriber.pool.LIMIT_PER_SECOND", 0.0)
    with pytest.raises(Rejected) as caught:
        engine.transcribe(np.tile(speech(), 20), RATE).result(60)
    assert caught.value.code == "engine-timeout"
    monkeypatch.undo()
    assert text(engine.transcribe(speech(), RATE)) == TEXT


@pytest.mark.parametrize(
    ("waiting", "engines", "at_once", "taken"),
    [(1, 2, 1, 1), (100, 2, 1, 1), (300, 2, 64, 64), (64, 2, 64, 32), (20, 2, 64, 10), (3, 2, 64, 8), (64, 1, 64, 64)],
)
def test_an_engine_takes_an_equal_part_of_the_pieces_that_wait(
    waiting: int, engines: int, at_once: int, taken: int
) -> None:
    assert share(waiting, engines, at_once) == taken


def test_one_process_transcribes_many_pieces_with_one_model(capfd: pytest.CaptureFixture[str]) -> None:
    with Engines(SPEC, 1) as engines:
        answers = [engines.transcribe(speech(), RATE) for _ in range(5)]
        assert [text(answer) for answer in answers] == [TEXT] * 5
    assert capfd.readouterr().err.count("DeepSpeech: v") == 1, "the engine prints this at each load"


@pytest.mark.parametrize("samples", [0, 1, 100, 511, 512])
def test_audio_shorter_than_one_window_gives_no_words(samples: int) -> None:
    assert recognised(SPEC, speech()[:samples]).words == []


@pytest.mark.parametrize(("formats", "readings"), [(("srt", "vtt"), 1), (("srt", "json"), READINGS)])
def test_the_engine_computes_alternatives_only_for_the_json(formats: tuple[str, ...], readings: int) -> None:
    model = Model(File("m", Path(f"{MODEL}.tflite"), ""), ModelKind.TFLITE, None, None)
    assert engine_spec(model, TranscriptionOptions(output_formats=formats), PROGRAMS).readings == readings


def test_a_result_without_alternatives_has_the_same_words_and_no_margins() -> None:
    several, one = (recognised(replace(SPEC, readings=count), speech()) for count in (READINGS, 1))
    assert all(word.certainty is not None for word in several.words)
    assert one.words == [word._replace(certainty=None) for word in several.words]
    assert one.segments[0].alternatives == []


@pytest.mark.parametrize(
    ("model", "kind", "scorer"),
    [
        ("cut", ModelKind.TFLITE, None),
        ("cut", ModelKind.PBMM, None),
        ("whole", ModelKind.TFLITE, "cut"),
    ],
)
def test_the_error_names_the_damaged_model_or_scorer_and_the_problem(
    model: str, kind: ModelKind, scorer: str | None, tmp_path: Path
) -> None:
    path = MODEL.with_suffix(f".{kind.value}")
    if model == "cut":
        content = path.read_bytes()
        path = tmp_path / "model"
        path.write_bytes(content[:2000] if kind is ModelKind.TFLITE else content[:-4000] + content[-100:])
    if scorer:
        (tmp_path / "scorer").write_bytes(MODEL.with_suffix(".scorer").read_bytes()[:2000])
    spec = EngineSpec(engine_for(kind, PROGRAMS), path, tmp_path / "scorer" if scorer else None, {}, 1)
    with Engines(spec, 1) as engines, pytest.raises(ConfigError) as caught:
        engines.facts()
    assert str(tmp_path) in str(caught.value)


def test_a_word_ends_at_the_next_space_or_soon_after_its_last_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PROGRAMS))
    words_of = runpy.run_path(str(PROGRAMS / "deepspeech_transcripts.py"))["words_of"]

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
        # A spawned process first imports the main module, then the decoder's modules.
        ("import runpy; runpy.run_module('transcriber', run_name='__mp_main__')", set()),
        ("import transcriber.pool, transcriber.decoder", {"transcriber.pool"}),
    ],
)
def test_each_process_imports_only_the_modules_that_it_needs(start: str, loaded: set[str]) -> None:
    """Only the decoder imports codecs, and only at its first call. Only the worker imports AWS's SDK."""
    watched = {"av", "soxr", "webrtcvad", "boto3", "transcriber.pool", "transcriber.worker"}
    code = f"import sys; {start}; print(*{watched} & {{*sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "worker_image")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} == loaded


@pytest.fixture(scope="module")
def slow_to_decode() -> bytes:
    """Half an hour of silence and then words. The decoder works for several seconds before its first piece."""
    return encoded(np.concatenate([np.zeros(1800 * RATE, np.int16), speech()]), "flac", "flac")


def all_batches(session: decoding.DecodingSession) -> list[decoding.DecodedPieces]:
    batches = [session.next_pieces()]
    while not batches[-1].last:
        batches.append(session.next_pieces())
    return batches


def samples_of(batches: list[decoding.DecodedPieces]) -> np.ndarray:
    return np.concatenate([piece.samples for batch in batches for piece in batch.pieces])


def test_a_crashed_decoder_is_replaced_and_other_files_continue(slow_to_decode: bytes) -> None:
    words = np.tile(speech(), 60)
    with Decoder() as decoder, ThreadPoolExecutor() as threads:
        other = decoder.open(wav(words), RATE)
        batches = [other.next_pieces()]
        assert not batches[0].last
        slow = threads.submit(all_batches, decoder.open(slow_to_decode, RATE))
        signal_while_busy(only_child(), signal.SIGSEGV)
        assert len(samples_of(slow.result(60)))
        batches += all_batches(other)
    assert np.array_equal(samples_of(batches), words)


def test_a_file_on_which_the_decoder_does_not_answer_is_rejected(
    slow_to_decode: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Decoder() as decoder:
        monkeypatch.setattr(decoding, "LIMIT_SECONDS", 0.01)
        with pytest.raises(Rejected) as caught:
            decoder.open(slow_to_decode, RATE).next_pieces()
        assert caught.value.code == "undecodable"
        monkeypatch.undo()
        assert decoder.open(wav(speech()), RATE).next_pieces().last


class InThisProcess:
    """Replaces the decoding process. It executes each call in this process, so that a test can change constants."""

    def __init__(self, prepare: object) -> None:
        pass

    def call(self, function: object, *arguments: object, limit: float) -> object:
        return function(*arguments)  # type: ignore[operator]

    def stop(self) -> None:
        pass


def test_the_decoder_answers_during_long_silence_and_is_not_killed(
    slow_to_decode: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is shorter than the decoding of the silence, as the real limit is for a day of silence."""
    monkeypatch.setattr(decoding, "IsolatedProcess", InThisProcess)
    monkeypatch.setattr(decoding, "ANSWER_SECONDS", 0.02)
    monkeypatch.setattr(decoding, "LIMIT_SECONDS", 0.2)
    with Decoder() as decoder:
        batches = all_batches(decoder.open(slow_to_decode, RATE))
    assert sum(batch.seconds for batch in batches) > 0.2, (
        "the decoding was shorter than the limit, so the test proves nothing"
    )
    assert max(batch.seconds for batch in batches) < 0.2
    assert [batch for batch in batches if not batch.pieces]
    assert len(samples_of(batches)) >= len(speech())


def test_the_decoder_answers_while_it_skips_the_pieces_that_the_worker_has(
    slow_to_decode: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "IsolatedProcess", InThisProcess)
    monkeypatch.setattr(decoding, "ANSWER_SECONDS", 0.02)
    with Decoder() as decoder:
        session = decoder.open(slow_to_decode, RATE)
        before = all_batches(session)
        session._start_again()  # like after a crash; the worker has all pieces
        again = all_batches(session)
    assert len(again) > 3
    assert not [piece for batch in again for piece in batch.pieces]
    assert again[-1].duration == before[-1].duration


def test_a_decoder_that_answers_without_progress_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "IsolatedProcess", InThisProcess)
    monkeypatch.setattr(decoding, "LIMIT_SECONDS", 5.0)
    calls: list[object] = []

    def stuck(*arguments: object) -> decoding.DecodedPieces:
        calls.append(arguments)
        return decoding.DecodedPieces([], False, 1.0, 7.0, 1, [])

    monkeypatch.setattr(decoding, "_next_pieces", stuck)
    with Decoder() as decoder:
        session = decoder.open(b"", RATE)
        with pytest.raises(Rejected) as caught:
            all_batches(session)
    assert caught.value.code == "undecodable"
    assert len(calls) == 2 * 7, "two attempts, each with the first answer and more than 5 s of answers without progress"


def test_the_cpu_quota_limits_the_number_of_engines(tmp_path: Path) -> None:
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


def test_the_quota_of_a_parent_control_group_also_counts(tmp_path: Path) -> None:
    membership = tmp_path / "membership"
    membership.write_text("12:cpuset:/x\n4:cpu,cpuacct:/ecs/task/container\n")
    group = tmp_path / "cpu" / "ecs"
    (group / "task" / "container").mkdir(parents=True)
    (group / "cpu.cfs_quota_us").write_text("100000\n")
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (group / "task" / "container" / "cpu.cfs_quota_us").write_text("-1\n")
    (group / "task" / "container" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path, membership) == 1
