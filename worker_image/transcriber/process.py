"""A separate process for code that may crash, hang or fill the memory. It takes one call at a time and is restarted
after it dies.

Process pools do not show whether a process died at a call or before it, and most hide the exit code. Pebble's pool
(5.2.1) loses calls that arrive while it breaks, and their callers wait forever.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from .failures import ProcessLimitError, TemporaryError

# Spawned, never forked: an engine that was used hangs in a fork.
_SPAWN = multiprocessing.get_context("spawn")
# Starting a process reaps those that have ended: another thread that waits for one would miss its exit code.
_LIFE_AND_DEATH = threading.RLock()
START_SECONDS = 600.0  # for its preparation, such as reading a large model from a slow disk
GRACE_SECONDS = 5.0  # from the end of its connection to its own

Prepared = TypeVar("Prepared")
Answer = TypeVar("Answer")


class ProcessDied(Exception):
    """The process died during a call; exitcode is negative if a signal killed it."""

    def __init__(self, exitcode: int) -> None:
        super().__init__(f"the process ended with {exitcode}")
        self.exitcode = exitcode


class ProcessHangs(Exception):
    """The process did not answer in time, and was killed."""


class IsolatedProcess(Generic[Prepared]):
    """A process that answers calls from any thread.

    Args:
        prepare: the function that it calls first, with the arguments; both must be picklable.
    """

    def __init__(self, prepare: Callable[..., Prepared], *arguments: object) -> None:
        self._prepare = (prepare, arguments)
        self._turn = threading.Lock()
        self._stopped = False
        self._start()

    def prepared(self) -> Prepared:
        """Wait until it is prepared, and return what `prepare` did.

        Raises:
            ProcessDied: it died of it.
            TemporaryError: it does not come to an end, or has no process.
            ProcessLimitError: the container may have no more processes.
        """
        with self._turn:
            try:
                reply = self._ready()
            except (EOFError, OSError) as error:
                raise ProcessDied(self._end(GRACE_SECONDS)) from error
        answer: Prepared = reply.open()
        return answer

    def call(self, function: Callable[..., Answer], *arguments: object, limit: float) -> Answer:
        """Call a function in the process.

        If the process died while it was idle, a new one takes the call.

        Args:
            limit: seconds for the function; waiting for other calls and for the preparation does not count.

        Raises:
            ProcessDied: it died at this call.
            ProcessHangs: it did not answer in time.
            TemporaryError: it cannot be started.
            ProcessLimitError: the container may have no more processes.
            Exception: what the function, or the preparation, raised.
        """
        request = (function, arguments)
        with self._turn:
            try:
                reply = self._ask(request, limit)
            except _DiedIdle:
                try:
                    reply = self._ask(request, limit)
                except _DiedIdle as error:
                    raise TemporaryError("A process was killed twice before it could begin") from error
        answer: Answer = reply.open()
        return answer

    def stop(self) -> None:
        """Kill the process and start no other: every other call raises TemporaryError."""
        with _LIFE_AND_DEATH:
            self._stopped = True
            self._process.kill()
            self._process.join()

    def _start(self) -> None:
        with _LIFE_AND_DEATH:
            if self._stopped:
                raise TemporaryError("The worker is stopping")
            try:
                connection, others_end = _SPAWN.Pipe()
                with others_end:  # closed here, so that this end learns of the process's death
                    process = _SPAWN.Process(target=_serve, args=(others_end, *self._prepare), daemon=True)
                    process.start()
            except BlockingIOError as error:  # EAGAIN of fork
                raise ProcessLimitError from error
            except OSError as error:
                raise TemporaryError(f"No process can be started: {error}") from error
            self._connection, self._process, self._alive = connection, process, True
            self._first: _Reply | None = None  # its preparation's

    def _end(self, grace: float = 0) -> int:
        """Kill it, unless it ends by itself within so many seconds, and return its exit code."""
        with _LIFE_AND_DEATH:
            self._alive = False
            self._connection.close()
            self._process.join(grace)
            self._process.kill()
            self._process.join()
            return self._process.exitcode or 0

    def _ready(self) -> _Reply:
        if not self._alive:
            self._start()
        if self._first is None:
            if not self._connection.poll(START_SECONDS):
                self._end()
                raise TemporaryError(f"A process is not ready within {START_SECONDS:g} s")
            self._first = self._connection.recv()
        return self._first

    def _ask(self, request: object, limit: float) -> _Reply:
        begun = False
        try:
            reply = self._ready()
            if reply.error:
                return reply
            self._connection.send(request)
            begun = self._connection.recv()
            if not self._connection.poll(limit):
                raise ProcessHangs(f"no answer within {limit:g} s")
            answer: _Reply = self._connection.recv()
        except (EOFError, OSError) as error:
            exitcode = self._end(GRACE_SECONDS)
            raise (ProcessDied(exitcode) if begun else _DiedIdle()) from error
        except BaseException:
            self._end()  # or the next call would get its answer
            raise
        return answer


class _DiedIdle(Exception):
    """The process died before it began with the call."""


@dataclass(frozen=True)
class _Reply:
    value: Any = None
    error: Exception | None = None
    trace: str = ""  # of the error, in the process

    def open(self) -> Any:
        if self.error:
            raise self.error from RuntimeError(f"in another process:\n{self.trace}")
        return self.value


# What follows runs in the process.


def _serve(connection: Connection, prepare: Callable[..., object], arguments: tuple[object, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker
    reply = _called(prepare, arguments)
    connection.send(reply)
    while not reply.error:
        try:
            function, arguments = connection.recv()
        except EOFError:  # the worker has ended
            return
        connection.send(True)
        connection.send(_called(function, arguments))


def _called(function: Callable[..., object], arguments: tuple[object, ...]) -> _Reply:
    try:
        return _Reply(function(*arguments))
    except Exception as error:
        return _Reply(error=_portable(error), trace=traceback.format_exc())


def _portable(error: Exception) -> Exception:
    """The error, or, for some that libraries raise cannot be pickled, what it says."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301, they are its own
    except Exception:
        return RuntimeError(repr(error))
    return error
