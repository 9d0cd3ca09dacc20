"""The project's own code on an AWS in memory. Only this module of the package imports the modules under test.

It replaces AWS's clients, the clock, threads, the engines and the decoding process. Everything else is real.
A recording's content is its text. A fake engine returns this text and adds the beam width and the model.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import boto3
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tests.model.memory_batch import Batch, BatchClient
from tests.model.memory_s3 import Clock, S3Client, Store
from tests.model.processes import SerialExecutor, current

MODEL_KEY = "models/default.tflite"
BEAM = "beam_width"
FORMATS = "output_formats"

Failed, Skipped = AirflowFailException, AirflowSkipException


@contextmanager
def _packages_of_the_worker() -> Iterator[None]:
    """Provide NumPy's types and a TOML parser for the import of the worker, because this environment lacks them."""
    numpy, typing = ModuleType("numpy"), ModuleType("numpy.typing")
    numpy.int16 = int  # type: ignore[attr-defined]
    numpy.typing = typing  # type: ignore[attr-defined]
    typing.NDArray = list  # type: ignore[attr-defined]
    substitutes = {"numpy": numpy, "numpy.typing": typing, "tomli": tomllib}
    missing = {name: module for name, module in substitutes.items() if name not in sys.modules}
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


with _packages_of_the_worker():
    from transcriber import decoder, engine_programs, failures, recognition, samples, worker
    from transcriber import log as worker_log

from tests.task_context import task_context  # noqa: E402
from transcription import configuration, plan_lock  # noqa: E402
from transcription.tasks import plan as plan_task  # noqa: E402
from transcription.tasks import sense_input as sense_input_task  # noqa: E402
from transcription.tasks import submit as submit_task  # noqa: E402
from transcription.tasks import verify as verify_task  # noqa: E402
from transcription_contract import layout, manifest  # noqa: E402
from transcription_contract.words import Word  # noqa: E402

_MEMORY_DISK = Path("/dev/shm")  # noqa: S108, makes scratch folders much faster
SETTINGS = configuration.Configuration(bucket="audio", job_queue="queue", job_definition="definition")


@dataclass(frozen=True)
class Planned:
    """A recording in a plan."""

    source_key: str
    etag: str

    @property
    def name(self) -> str:
        return self.source_key.partition("/")[2]

    @property
    def in_place(self) -> bool:
        return self.source_key.startswith("processed/")


@dataclass(frozen=True)
class Report:
    """The content of a run's report."""

    totals: Mapping[str, int]
    """Number of recordings by state."""
    entries: list[tuple[str, str]]
    """Source key and state of each recording."""


# The tasks.


def context(run_id: str, interval: tuple[datetime, datetime] | None, params: Mapping[str, Any]) -> dict[str, Any]:
    """Airflow's context for a run's tasks. Only a backfill has an interval."""
    found = task_context(run_id, backfill=interval, **params)
    found["ti"] = SimpleNamespace(xcom_push=lambda **_: None)
    return found


def sense_input(context: Mapping[str, Any]) -> bool:
    return sense_input_task.sense_input(**context)


def plan(context: Mapping[str, Any]) -> dict[str, Any]:
    return plan_task.plan(**context)


def submit(plan: Any, context: Any) -> str:
    process = current()
    operator = submit_task.SubmitOnce(task_id="submit", plan=plan)
    batch = _client("batch")
    operator.__dict__["hook"] = SimpleNamespace(client=batch, conn_region_name="", conn_partition="aws")
    assert process is not None
    return operator.execute(context)


def verify(plan: Any, job_id: str | None, context: Mapping[str, Any]) -> None:
    verify_task.verify(plan, job_id, **context)


def planned(store: Store, plan: Mapping[str, Any]) -> list[Planned]:
    """The recordings in a plan's manifests."""
    found = []
    for key in list(store.current):
        if key.startswith(plan["manifest_prefix"]):
            _, recordings = manifest.read(io.BytesIO(store.current[key].body))
            found += [Planned(recording.source_key, recording.source_etag) for recording in recordings]
    return found


def report(store: Store, context: Mapping[str, Any], plan: Mapping[str, Any]) -> Report | None:
    """The report of a run's plan, or None if it does not exist."""
    written = store.current.get(layout.report_key(context["run_id"], plan["plan_id"]))
    if written is None:
        return None
    document = json.loads(written.body)
    lines = store.current[layout.entries_key(context["run_id"], plan["plan_id"])].body.splitlines()
    entries = [(entry["source_key"], entry["state"]) for entry in map(json.loads, lines)]
    return Report(document["totals"]["files"], entries)


def reported(store: Store, context: Mapping[str, Any]) -> set[str]:
    """Names of the recordings that are in any report of a run."""
    prefix = layout.run_prefix(context["run_id"])
    reports = [key for key in store.current if key.startswith(prefix) and layout.is_report(key)]
    lines = [
        line for key in reports for line in store.current[key.replace("report.json", "entries.jsonl")].body.splitlines()
    ]
    return {json.loads(line)["source_key"].partition("/")[2] for line in lines}


def is_by_run(metadata: Mapping[str, str], context: Mapping[str, Any]) -> bool:
    """Whether a run wrote an object with these metadata."""
    return metadata.get("run") == layout.manifest_prefix(context["run_id"])


# The worker.


def work() -> int:
    """The container's program. It reads the current process's environment and returns the exit code."""
    try:
        return worker.main()
    except failures.WorkerError as error:
        return int(error.exit_code)


def audio(words: str) -> bytes:
    """A recording with these spoken words. It has no speech if `words` starts with `-`."""
    return words.encode()


def model_file(version: int) -> bytes:
    """A model file. The fake engine calls it m1, m2 and so on."""
    return b"\0\0\0\0TFL3" + f"m{version} ".encode().ljust(1100, b"\0")


class _Decoder:
    """Replaces the decoding process. It returns one piece, whose samples are the file's bytes."""

    def open(self, source: bytes, *_: object) -> Any:
        pieces = [] if source.startswith(b"-") else [samples.Piece(0.0, source)]  # type: ignore[arg-type]
        decoded = decoder.DecodedPieces(pieces, True, 0.0, 1.0, 1, [])
        return SimpleNamespace(next_pieces=lambda: decoded)

    def __enter__(self) -> _Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Engines:
    """Replaces the engine processes."""

    def __init__(self, spec: engine_programs.EngineSpec, width: int) -> None:
        model = spec.model.read_bytes()[8:].split(b" ")[0].decode()
        self._settings_words = [f"b{spec.options.get('beam_width', 0)}", model]

    def facts(self) -> engine_programs.EngineFacts:
        return engine_programs.EngineFacts("deepspeech-tflite", "0.9.3", 16_000, samples.PieceSeconds(), 1, None)

    def transcribe(self, samples: bytes, sample_rate: int) -> Future[recognition.Recognition]:
        texts = [*samples.decode().split(), *self._settings_words]
        words = [Word(text, 0.1 * at, 0.1 * at + 0.1) for at, text in enumerate(texts)]
        future: Future[recognition.Recognition] = Future()
        future.set_result(recognition.Recognition([recognition.RecognisedSegment(0.0, 1.0, words, -1.0)]))
        return future

    def __enter__(self) -> _Engines:
        return self

    def __exit__(self, *_: object) -> None:
        pass


# Replacements for AWS, time and threads.


class _Current:
    """The clock, bucket and queue in use."""

    clock: Clock
    store: Store
    batch: Batch


def use(clock: Clock, store: Store, batch: Batch) -> None:
    """Let the project's code use this AWS and this clock from now on."""
    _Current.clock, _Current.store, _Current.batch = clock, store, batch


def _client(service: str, **_: object) -> Any:
    process = current()
    name, gate = (process.name, process.gate) if process else ("test", lambda operation, key: False)
    if service == "s3":
        return S3Client(_Current.store, name, gate)
    if service == "batch":
        return BatchClient(_Current.batch, gate)
    raise TypeError(service)


class _Datetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return _Current.clock.now.astimezone(tz)


def _sleep(seconds: float) -> None:
    process = current()
    assert process is not None
    process.sleep(seconds)


class _NoThread:
    """Replaces the thread that renews the lock, because a paused process must not renew it."""

    def __init__(self, **_: object) -> None:
        pass

    def start(self) -> None:
        """Do nothing."""

    def join(self, timeout: float | None = None) -> None:
        """Do nothing."""


class _Environment:
    @property
    def environ(self) -> Mapping[str, str]:
        process = current()
        assert process is not None
        return process.environment


_SILENT = SimpleNamespace(stdout=SimpleNamespace(write=lambda text: None, flush=lambda: None))


@contextmanager
def installed() -> Iterator[None]:
    """Install the replacements in every module of the project that uses the originals."""
    clock = SimpleNamespace(sleep=_sleep, monotonic=time.monotonic, process_time=time.process_time, time=time.time)
    replaced = {"datetime": (datetime, _Datetime), "time": (time, clock), "ThreadPoolExecutor": (None, SerialExecutor)}
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith(("transcription.", "transcriber.")):
                for attribute, (old, new) in replaced.items():
                    existing = getattr(module, attribute, None)
                    if existing is not None and (old is None or existing is old):
                        stack.enter_context(patch.object(module, attribute, new))
        events = SimpleNamespace(Lock=threading.Lock, Event=threading.Event, Thread=_NoThread)
        for owner, attribute, new in (
            (boto3, "client", _client),
            (plan_lock, "threading", events),
            (configuration, "load", lambda: SETTINGS),
            (submit_task.SubmitOnce, "log", logging.getLogger(__name__)),  # Airflow's logger ignores logging.disable
            (worker, "os", _Environment()),
            (worker, "Decoder", _Decoder),
            (worker, "Engines", _Engines),
            (worker, "available_cpus", lambda: 1),
            (tempfile, "tempdir", str(_MEMORY_DISK) if _MEMORY_DISK.is_dir() else None),
            (worker_log, "sys", _SILENT),
        ):
            stack.enter_context(patch.object(owner, attribute, new))
        disabled = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, disabled)
        yield
