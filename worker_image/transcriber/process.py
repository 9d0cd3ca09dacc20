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
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeVar

from .failures import ProcessLimitError, TemporaryError

# Spawned, never forked: the worker has threads.
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


class Child(Protocol):
    """A running process, as `multiprocessing.Process`."""

    @property
    def pid(self) -> int | None: ...

    @property
    def exitcode(self) -> int | None: ...

    def kill(self) -> None: ...

    def join(self, timeout: float | None = None) -> None: ...


class Channel(Protocol):
    """The messages between this process and the other one, as `multiprocessing.connection.Connection`.

    EOFError and OSError mean that the other process has ended.
    """

    def send(self, request: Any) -> None: ...

    def recv(self) -> Any: ...

    def poll(self, timeout: float) -> bool: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Reply:
    """What the other process answers: to its start, and to each request after anything that says that it begins."""

    value: Any = None
    error: Exception | None = None
    trace: str = ""
    """Of the error, in the process."""

    def open(self) -> Any:
        """The value. Raises the error instead if there is one."""
        if self.error:
            raise self.error from RuntimeError(f"in another process:\n{self.trace}")
        return self.value


_children: set[Child] = set()


def children() -> list[Child]:
    """The processes that were started and have not been seen to end."""
    return list(_children)


def kill_all() -> None:
    """Kill every process, without waiting for anything."""
    for child in children():
        child.kill()


class SupervisedProcess[Prepared](ABC):
    """A process that answers requests from any thread. A subclass says how to start it and what the messages are."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._stopped = False
        self._start()

    @abstractmethod
    def _launch(self) -> tuple[Child, Channel]:
        """Start the process, which prepares itself and then sends a reply."""

    def prepared(self) -> Prepared:
        """Wait until it is prepared, and return what its first reply has.

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

    def ask(self, request: Any, limit: float) -> Any:
        """Send a request and return what the reply has.

        If the process died while it was idle, a new one takes the request.

        Args:
            request: As the channel sends it.
            limit: Seconds for the answer; waiting for other calls and for the preparation does not count.

        Raises:
            ProcessDied: it died at this request.
            ProcessHangs: it did not answer in time.
            TemporaryError: it cannot be started.
            ProcessLimitError: the container may have no more processes.
            Exception: what the reply, or the preparation's, says.
        """
        with self._turn:
            try:
                reply = self._ask(request, limit)
            except _DiedIdle:
                try:
                    reply = self._ask(request, limit)
                except _DiedIdle as error:
                    raise TemporaryError("A process was killed twice before it could begin") from error
        return reply.open()

    def stop(self) -> None:
        """Kill the process and start no other: every other call raises TemporaryError."""
        with _LIFE_AND_DEATH:
            self._stopped = True
            self._process.kill()
            self._process.join()
            _children.discard(self._process)

    def _start(self) -> None:
        with _LIFE_AND_DEATH:
            if self._stopped:
                raise TemporaryError("The worker is stopping")
            try:
                process, channel = self._launch()
            except BlockingIOError as error:  # EAGAIN of fork
                raise ProcessLimitError from error
            except OSError as error:
                raise TemporaryError(f"No process can be started: {error}") from error
            _children.add(process)
            self._channel, self._process, self._alive = channel, process, True
            self._first: Reply | None = None  # its preparation's

    def _end(self, grace: float = 0) -> int:
        """Kill it, unless it ends by itself within so many seconds, and return its exit code."""
        with _LIFE_AND_DEATH:
            self._alive = False
            self._channel.close()
            self._process.join(grace)
            self._process.kill()
            self._process.join()
            _children.discard(self._process)
            return self._process.exitcode or 0

    def _ready(self) -> Reply:
        if not self._alive:
            self._start()
        if self._first is None:
            if not self._channel.poll(START_SECONDS):
                self._end()
                raise TemporaryError(f"A process is not ready within {START_SECONDS:g} s")
            self._first = self._channel.recv()
        return self._first

    def _ask(self, request: Any, limit: float) -> Reply:
        begun = False
        try:
            reply = self._ready()
            if reply.error:
                return reply
            self._channel.send(request)
            self._channel.recv()
            begun = True
            if not self._channel.poll(limit):
                raise ProcessHangs(f"no answer within {limit:g} s")
            answer: Reply = self._channel.recv()
        except (EOFError, OSError) as error:
            exitcode = self._end(GRACE_SECONDS)
            raise (ProcessDied(exitcode) if begun else _DiedIdle()) from error
        except BaseException:
            self._end()  # or the next call would get its answer
            raise
        return answer


class _DiedIdle(Exception):
    """The process died before it began with the call."""


class IsolatedProcess(SupervisedProcess[Prepared]):
    """A process of this program that calls functions.

    Args:
        prepare: the function that it calls first, with the arguments; both must be picklable.
    """

    def __init__(self, prepare: Callable[..., Prepared], *arguments: object) -> None:
        self._prepare = (prepare, arguments)
        super().__init__()

    def call(self, function: Callable[..., Answer], *arguments: object, limit: float) -> Answer:
        """Call a function in the process. Raises what it raises, and what `ask` does."""
        answer: Answer = self.ask((function, arguments), limit)
        return answer

    def _launch(self) -> tuple[Child, Channel]:
        connection, others_end = _SPAWN.Pipe()
        with others_end:  # closed here, so that this end learns of the process's death
            process = _SPAWN.Process(target=_serve, args=(others_end, *self._prepare), daemon=True)
            process.start()
        return process, connection


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


def _called(function: Callable[..., object], arguments: tuple[object, ...]) -> Reply:
    try:
        return Reply(function(*arguments))
    except Exception as error:
        return Reply(error=_portable(error), trace=traceback.format_exc())


def _portable(error: Exception) -> Exception:
    """The error, or, for some that libraries raise cannot be pickled, what it says."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301, they are its own
    except Exception:
        return RuntimeError(repr(error))
    return error
