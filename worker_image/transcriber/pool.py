"""Engine processes: one a CPU, each with its own model, none of whose crashes reaches another.

Processes are spawned, never forked: an engine that was used hangs in a fork.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections import deque
from concurrent.futures import Future, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from pebble import CONSTS, ProcessExpired, ProcessPool

from .engine import Engine, EngineSpec, Recognition, load_engine
from .errors import ConfigError, Rejected, TemporaryError
from .samples import Samples

# A piece may take this long; far beyond what the slowest engine needs on a busy machine, so it hangs.
LIMIT_SECONDS = 120.0
LIMIT_PER_SECOND = 30.0
ATTEMPTS = 2  # at a piece, before it is taken for what crashes or hangs the engine
# A pool that breaks forgets what it has not handed to its process yet (pebble 5.2.1): give it one piece at a time.
AT_HAND = 1
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


class _EngineProcess:
    """One engine in a pool of its own, started anew when it died.

    In a pool of several, a process that is killed while it waits for work can hold the lock on the work: then
    the others wait for ever (pebble 5.2.1). A pool of one breaks instead, and that can be mended.
    """

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._pool = self._start()
        self.loaded: Future[EngineFacts] = self._pool.schedule(_describe)  # a pool starts with its first task
        self.at_hand = 0  # pieces

    def schedule(self, samples: Samples, limit: float) -> Future[TimedRecognition]:
        try:
            return self._pool.schedule(_transcribe, args=[samples], timeout=limit)
        except RuntimeError:
            self._pool = self._start()
            return self._pool.schedule(_transcribe, args=[samples], timeout=limit)

    def stop(self) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def _start(self) -> ProcessPool:
        return ProcessPool(1, initializer=_load, initargs=[self._spec], context=multiprocessing.get_context("spawn"))


@dataclass
class _Task:
    samples: Samples
    limit: float  # seconds
    answer: Future[TimedRecognition]
    attempts: int = 0


class Engines:
    """The running engines of this container.

    Args:
        count: how many processes.
    """

    def __init__(self, spec: EngineSpec, count: int) -> None:
        self._engines = [_EngineProcess(spec) for _ in range(count)]
        self._waiting: deque[_Task] = deque()
        self._changing = threading.RLock()
        self._stopped = False
        scorer = f" and scorer {spec.scorer}: one of them" if spec.scorer else ": it"
        self._loaded = f"model {spec.model}{scorer}"

    def facts(self) -> EngineFacts:
        """Wait until the first engine is loaded.

        Raises:
            ConfigError: model or scorer cannot be used.
        """
        try:
            return self._engines[0].loaded.result()
        except (BrokenProcessPool, ProcessExpired) as error:
            raise ConfigError(f"The engine crashes when it loads {self._loaded} is damaged") from error

    def transcribe(self, samples: Samples, sample_rate: int) -> Future[TimedRecognition]:
        """Recognise one piece in the background: int16 mono samples of shape (n,).

        The result raises Rejected if engines crash or hang on it twice, TemporaryError if they are killed.
        """
        limit = LIMIT_SECONDS + LIMIT_PER_SECOND * len(samples) / sample_rate
        task = _Task(samples, limit, Future())
        with self._changing:
            self._waiting.append(task)
            self._hand_out()
        return task.answer

    def _hand_out(self) -> None:
        """Give what waits to the engines that have least at hand."""
        while self._waiting and not self._stopped:
            engine = min(self._engines, key=lambda engine: engine.at_hand)
            if engine.at_hand >= AT_HAND:
                return
            task = self._waiting.popleft()
            task.attempts += 1
            engine.at_hand += 1
            try:
                attempt = engine.schedule(task.samples, task.limit)
            except (RuntimeError, OSError) as error:  # no process can be started
                engine.at_hand -= 1
                task.answer.set_exception(TemporaryError(f"The engines are gone: {error}"))
            else:
                attempt.add_done_callback(partial(self._done, engine, task))

    def _done(self, engine: _EngineProcess, task: _Task, attempt: Future[TimedRecognition]) -> None:
        error = None if attempt.cancelled() else attempt.exception()
        again = isinstance(error, (ProcessExpired, TimeoutError, BrokenProcessPool)) and task.attempts < ATTEMPTS
        with self._changing:
            engine.at_hand -= 1
            if again:
                self._waiting.appendleft(task)
            self._hand_out()
        if attempt.cancelled():
            task.answer.cancel()
        elif error is None:
            task.answer.set_result(attempt.result())
        elif not again:
            task.answer.set_exception(_meaning(error))

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        for engine in self._engines:
            engine.stop()


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
