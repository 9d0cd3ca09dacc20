"""Engine processes: one a CPU, each with its own model, none of whose crashes reaches another.

Processes are spawned, never forked: an engine that was used hangs in a fork.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from types import TracebackType

from pebble import CONSTS, ProcessExpired, ProcessPool

from .engine import Engine, EngineSpec, Recognition, load_engine
from .errors import ConfigError, Rejected, TemporaryError
from .samples import Samples

# A piece may take this long; far beyond what the slowest engine needs on a busy machine, so it hangs.
LIMIT_SECONDS = 120.0
LIMIT_PER_SECOND = 30.0
# An engine inside of native code hears no SIGTERM and has nothing to tidy up: kill it soon.
CONSTS.term_timeout = 0.2


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
        self._pool = ProcessPool(
            count, initializer=_load, initargs=[spec], context=multiprocessing.get_context("spawn")
        )
        self._facts = self._pool.schedule(_describe)
        self._loaded = f"model {spec.model}" + (f" and scorer {spec.scorer}" if spec.scorer else "")

    def facts(self) -> EngineFacts:
        """Wait until the first engine is loaded.

        Raises:
            ConfigError: model or scorer cannot be used.
        """
        try:
            facts: EngineFacts = self._facts.result()
        except (BrokenProcessPool, ProcessExpired) as error:
            raise ConfigError(f"The engine crashes when it loads {self._loaded}: one of them is damaged") from error
        return facts

    def transcribe(self, samples: Samples, sample_rate: int) -> Future[TimedRecognition]:
        """Recognise one piece in the background: int16 mono samples of shape (n,).

        The result raises Rejected if engines crash or hang on it twice, TemporaryError if they are killed.
        """
        answer: Future[TimedRecognition] = Future()
        self._attempt(samples, LIMIT_SECONDS + LIMIT_PER_SECOND * len(samples) / sample_rate, answer, again=True)
        return answer

    def _attempt(self, samples: Samples, limit: float, answer: Future[TimedRecognition], again: bool) -> None:
        def done(attempt: Future[TimedRecognition]) -> None:
            error = None if attempt.cancelled() else attempt.exception()
            if attempt.cancelled():
                answer.cancel()
            elif error is None:
                answer.set_result(attempt.result())
            elif isinstance(error, (ProcessExpired, TimeoutError)) and again:
                self._attempt(samples, limit, answer, again=False)
            else:
                answer.set_exception(_meaning(error))

        try:
            self._pool.schedule(_transcribe, args=[samples], timeout=limit).add_done_callback(done)
        except RuntimeError as error:  # the pool is broken or stopped
            answer.set_exception(TemporaryError(f"The engines are gone: {error}"))

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def _meaning(error: BaseException) -> BaseException:
    """What an engine's failure, seen twice, means for the recording."""
    if isinstance(error, ProcessExpired):
        if error.exitcode == -signal.SIGKILL:  # no engine does that to itself: the machine ran out of memory
            return TemporaryError("An engine was killed, most likely because memory ran out")
        return Rejected(
            "engine-crash",
            "The speech engine crashes on this recording. Convert it to a 16 kHz mono WAV and upload it again.",
            f"the engine's process ended with {error.exitcode}",
        )
    if isinstance(error, TimeoutError):
        return Rejected(
            "engine-timeout",
            "The speech engine does not get through this recording. Check that it is speech and upload it again.",
        )
    if isinstance(error, BrokenProcessPool):
        return TemporaryError("The engines died while they waited for work")
    return error


# What follows runs in the engine processes.

_engine: Engine | None = None
_refusal: Exception | None = None


def _load(spec: EngineSpec) -> None:
    global _engine, _refusal
    try:
        _engine = load_engine(spec)
    except ConfigError as error:  # an initializer cannot say why: the first task does
        _refusal = error


def _ready() -> Engine:
    if _engine is None:
        raise _refusal or ConfigError("The engine was not loaded")
    return _engine


def _describe() -> EngineFacts:
    engine = _ready()
    return EngineFacts(engine.runtime, engine.sample_rate)


def _transcribe(samples: Samples) -> TimedRecognition:
    engine = _ready()
    started = time.process_time()
    recognition = engine.transcribe(samples)
    return TimedRecognition(recognition, time.process_time() - started)
