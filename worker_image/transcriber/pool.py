"""Engine processes: one a CPU, each with its own model, none of whose crashes reaches another."""

from __future__ import annotations

import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType

from .engine import Engine, EngineSpec, Recognition, load_engine
from .errors import ConfigError, Rejected, TemporaryError
from .process import IsolatedProcess, ProcessDied, ProcessHangs
from .samples import Samples

# A piece may take this long; far beyond what the slowest engine needs on a busy machine, so it hangs.
LIMIT_SECONDS = 120.0
LIMIT_PER_SECOND = 30.0
ATTEMPTS = 2  # at a piece, before it is taken for what crashes or hangs the engine


@dataclass(frozen=True)
class EngineFacts:
    runtime: str
    sample_rate: int  # Hz


@dataclass(frozen=True)
class TimedRecognition:
    recognition: Recognition
    compute_seconds: float  # CPU time of the engine's process


class Engines:
    """The running engines of this container.

    Args:
        count: how many processes.
    """

    def __init__(self, spec: EngineSpec, count: int) -> None:
        self._engines = [IsolatedProcess(_load, spec) for _ in range(count)]
        self._idle: SimpleQueue[IsolatedProcess[EngineFacts]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(count, "engine")  # one waits for each
        self._starts = [self._threads.submit(self._await, engine) for engine in self._engines]
        self._loaded = f"model {spec.model}" + (f" and scorer {spec.scorer}" if spec.scorer else "")

    def facts(self) -> EngineFacts:
        """Wait until the first engine is loaded.

        Raises:
            ConfigError: model or scorer cannot be used.
        """
        try:
            return self._starts[0].result()
        except ProcessDied as error:
            if error.exitcode == -signal.SIGKILL:
                why = "is killed, most likely because memory runs out. Give the container more"
            else:
                why = "crashes: a file is damaged"
            raise ConfigError(f"The engine that loads {self._loaded} {why}") from error

    def transcribe(self, samples: Samples, sample_rate: int) -> Future[TimedRecognition]:
        """Recognise one piece in the background: int16 mono samples of shape (n,).

        The result raises Rejected if engines crash or hang on it twice, TemporaryError if they are killed.
        """
        return self._threads.submit(self._transcribe, samples, len(samples) / sample_rate)

    def _await(self, engine: IsolatedProcess[EngineFacts]) -> EngineFacts:
        try:
            return engine.prepared()
        finally:
            self._idle.put(engine)

    def _transcribe(self, samples: Samples, seconds: float) -> TimedRecognition:
        engine = self._idle.get()
        attempt = 0
        try:
            while True:
                attempt += 1
                try:
                    return engine.call(_transcribe, samples, limit=LIMIT_SECONDS + LIMIT_PER_SECOND * seconds)
                except (ProcessDied, ProcessHangs) as error:
                    if attempt == ATTEMPTS:
                        raise _meaning(error) from error
        finally:
            self._idle.put(engine)

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines:
            engine.stop()
        self._threads.shutdown(cancel_futures=True)


def _meaning(error: ProcessDied | ProcessHangs) -> Exception:
    """What an engine's failure, seen twice, means for the recording."""
    if isinstance(error, ProcessHangs):
        return Rejected(
            "engine-timeout",
            "The speech engine does not get through this recording. Check that it is speech and upload it again.",
        )
    if error.exitcode == -signal.SIGKILL:  # no engine does that to itself: the machine ran out of memory
        return TemporaryError("An engine was killed, most likely because memory ran out")
    return Rejected(
        "engine-crash",
        "The speech engine crashes on this recording. Convert it to a 16 kHz mono WAV and upload it again.",
        f"the engine's process ended with {error.exitcode}",
    )


# What follows runs in the engine processes.

_engine: Engine


def _load(spec: EngineSpec) -> EngineFacts:
    global _engine
    _engine = load_engine(spec)
    return EngineFacts(_engine.runtime, _engine.sample_rate)


def _transcribe(samples: Samples) -> TimedRecognition:
    started = time.process_time()
    recognition = _engine.transcribe(samples)
    return TimedRecognition(recognition, time.process_time() - started)
