"""Engine processes, one for each CPU. Each loads the model. A crash affects only one process."""

from __future__ import annotations

import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType

from transcription_contract.results import ErrorCode

from .engine import Engine, EngineSpec, Recognition, load_engine
from .failures import ConfigError, RecordingFailed, Rejected
from .process import IsolatedProcess, ProcessDied, ProcessHangs
from .samples import Samples

# An engine that takes longer for a piece hangs. Even the slowest one on a busy machine needs far less.
LIMIT_SECONDS = 120.0
LIMIT_PER_SECOND = 30.0
ATTEMPTS = 2  # per piece, if an engine crashes or hangs


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
        self._threads = ThreadPoolExecutor(count, "engine")  # one thread per engine waits for its answers
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

        The result raises Rejected if engines crash or hang at it twice, RecordingFailed if the system kills them.
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
    """Convert an engine's second failure at a piece to the recording's error."""
    if isinstance(error, ProcessHangs):
        return Rejected(
            ErrorCode.ENGINE_TIMEOUT,
            "The speech engine does not get through this recording. Check that it is speech and upload it again.",
        )
    if error.exitcode == -signal.SIGKILL:  # an engine never kills itself, so the machine ran out of memory
        return RecordingFailed("An engine was killed, most likely because memory ran out")
    return Rejected(
        ErrorCode.ENGINE_CRASH,
        "The speech engine crashes on this recording. Convert it to a 16 kHz mono WAV and upload it again.",
        f"the engine's process ended with {error.exitcode}",
    )


# The code below runs in the engine processes.

_engine: Engine


def _load(spec: EngineSpec) -> EngineFacts:
    global _engine
    _engine = load_engine(spec)
    return EngineFacts(_engine.runtime, _engine.sample_rate)


def _transcribe(samples: Samples) -> TimedRecognition:
    started = time.process_time()
    recognition = _engine.transcribe(samples)
    return TimedRecognition(recognition, time.process_time() - started)
