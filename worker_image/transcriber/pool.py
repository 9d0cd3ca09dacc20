"""Engine processes, one for each CPU. Each loads the model. A crash affects only one process."""

from __future__ import annotations

import math
import signal
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType

from transcription_contract.results import ErrorCode

from .engine_programs import EngineFacts, EngineProcess, EngineSpec
from .failures import ConfigError, RecordingFailed, Rejected, TemporaryError
from .process import ProcessDied, ProcessHangs
from .recognition import Recognition
from .samples import Samples

# An engine that takes longer for a piece hangs. Even the slowest one on a busy machine needs far less.
LIMIT_SECONDS = 120.0
LIMIT_PER_SECOND = 30.0
ATTEMPTS = 2  # per piece, if an engine crashes or hangs


@dataclass
class _Asked:
    """A piece that waits for an engine."""

    samples: Samples
    seconds: float
    answer: Future[Recognition] = field(default_factory=Future)
    failures: int = 0
    """How often an engine crashed or hung at it."""


class Engines:
    """The running engines of this container.

    Args:
        count: how many processes.
    """

    def __init__(self, spec: EngineSpec, count: int) -> None:
        self._waiting: SimpleQueue[_Asked | None] = SimpleQueue()
        self._loaded = f"model {spec.model}" + (f" and scorer {spec.scorer}" if spec.scorer else "")
        self._first: Future[EngineFacts] = Future()
        self._engines = [EngineProcess(spec) for _ in range(count)]
        # One thread per engine waits for its answers.
        self._threads = [
            Thread(target=self._run, args=(number,), name=f"engine-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def facts(self) -> EngineFacts:
        """Wait until the first engine is loaded.

        Raises:
            ConfigError: model or scorer cannot be used.
        """
        try:
            return self._first.result()
        except ProcessDied as error:
            if error.exitcode == -signal.SIGKILL:
                why = "is killed, most likely because memory runs out. Give the container more"
            else:
                why = "crashes: a file is damaged"
            raise ConfigError(f"The engine that loads {self._loaded} {why}") from error

    def transcribe(self, samples: Samples, sample_rate: int) -> Future[Recognition]:
        """Recognise one piece in the background: int16 mono samples of shape (n,).

        The result raises Rejected if engines crash or hang at it twice, RecordingFailed if the system kills them.
        """
        asked = _Asked(samples, len(samples) / sample_rate)
        self._waiting.put(asked)
        return asked.answer

    def _run(self, number: int) -> None:
        """Give an engine pieces, as many at once as it takes, until the engines end."""
        engine, at_once = self._engines[number], 1
        try:
            facts = engine.prepared()
        except Exception as error:
            if number == 0:
                self._first.set_exception(error)
        else:
            at_once = facts.pieces
            if number == 0:
                self._first.set_result(facts)
        while True:
            some = self._next(at_once)
            if not some:
                return
            self._recognise(engine, some)

    def _next(self, at_once: int) -> list[_Asked]:
        """Wait for a piece, and take a share of what else waits already. Nothing if the engines end."""
        some: list[_Asked] = []
        most = 1
        with suppress(Empty):
            while len(some) < most:
                asked = self._waiting.get(block=not some)
                if asked is None:
                    self._waiting.put(None)  # for the other threads
                    break
                some.append(asked)
                if len(some) == 1:
                    most = share(1 + self._waiting.qsize(), len(self._engines), at_once)
        return some

    def _recognise(self, engine: EngineProcess, some: Sequence[_Asked]) -> None:
        """Answer the pieces. After a failure each is tried alone, so that only the one to blame is rejected."""
        limit = LIMIT_SECONDS + LIMIT_PER_SECOND * sum(asked.seconds for asked in some)
        try:
            recognitions = engine.recognise([asked.samples for asked in some], limit)
        except (ProcessDied, ProcessHangs) as error:
            for asked in some:
                asked.failures += 1
                if len(some) == 1 and asked.failures == ATTEMPTS:
                    asked.answer.set_exception(_meaning(error))
                else:
                    self._recognise(engine, [asked])
        except BaseException as error:
            for asked in some:
                asked.answer.set_exception(error)
        else:
            for asked, recognition in zip(some, recognitions, strict=True):
                asked.answer.set_result(recognition)

    def __enter__(self) -> Engines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines:
            engine.stop()
        self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        with suppress(Empty):
            while True:
                asked = self._waiting.get_nowait()
                if asked:
                    asked.answer.set_exception(TemporaryError("The worker is stopping"))


def share(waiting: int, engines: int, at_once: int) -> int:
    """How many of the waiting pieces one of the engines takes.

    An equal part for each, so that none has nothing to do while another has much. At least an eighth of what it takes
    at once, because small batches cost more CPU time for a piece.

    Args:
        waiting: Pieces that no engine has yet.
        engines: How many there are.
        at_once: The most pieces that an engine takes.
    """
    return min(at_once, max(at_once // 8, math.ceil(waiting / engines)))


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
