"""Processes that pause before each call to AWS. A test decides which one continues and which one it kills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import greenlet  # type: ignore[import-untyped]

from tests.model.memory_s3 import Clock

SECONDS_PER_CALL = 0.05


class Killed(BaseException):
    """Ends the process, like SIGKILL."""


class Process(greenlet.greenlet):  # type: ignore[misc]
    """One process. It runs only within `step`, up to its next call to AWS.

    Args:
        name: The writer's name in the versions that it writes.
        clock: Each call advances it a little.
        work: The program.
        environment: Its environment variables.
    """

    def __init__(
        self, name: str, clock: Clock, work: Callable[[], Any], environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.environment = dict(environment or {})
        self.next_call = ("", "")
        """The operation and key of the next call."""
        self.repeats = False
        """Whether the response to the next call is lost, so that the SDK sends the call again."""
        self.result: Any = None
        self.error: BaseException | None = None
        self._clock = clock
        self._work = work
        self._killed = False

    def run(self) -> None:
        """See greenlet."""
        try:
            self.result = self._work()
        except Killed as error:
            self.error = error
        except Exception as error:
            self.error = error

    def step(self) -> None:
        """Make the next call, and run up to the call after it."""
        self.parent = greenlet.getcurrent()
        self.switch()

    def kill(self) -> None:
        """End the process at once. Its `finally` blocks cannot call AWS either."""
        self._killed = True
        if self and not self.dead:
            self.parent = greenlet.getcurrent()
            self.throw(Killed)
        self.error = self.error or Killed()

    @property
    def ended(self) -> bool:
        return self.dead or self._killed

    def gate(self, operation: str, key: str) -> bool:
        """Pause before a call. Return whether to send it twice."""
        if self._killed:
            raise Killed
        self.next_call = (operation, key)
        self._pause()
        self._clock.advance(SECONDS_PER_CALL)
        repeats, self.repeats = self.repeats, False
        return repeats

    def sleep(self, seconds: float) -> None:
        self.next_call = ("Sleep", "")
        self._pause()
        self._clock.advance(seconds)

    def wait(self) -> None:
        """Pause until the job's state may have changed."""
        self.next_call = ("Wait", "")
        self._pause()

    def _pause(self) -> None:
        assert self.parent is not None
        self.parent.switch()
        if self._killed:
            raise Killed


def current() -> Process | None:
    """The running process."""
    process = greenlet.getcurrent()
    return process if isinstance(process, Process) else None


class SerialExecutor:
    """Replaces ThreadPoolExecutor. It runs each call at once in the caller's thread."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def submit(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future

    def map(self, call: Callable[..., Any], *items: Iterable[Any]) -> Iterator[Any]:
        futures = [self.submit(call, *some) for some in zip(*items, strict=False)]
        return (future.result() for future in futures)

    def shutdown(self, *_: object, **__: object) -> None:
        """Do nothing."""

    def __enter__(self) -> SerialExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        pass
