"""A call to a process that may crash or hang returns its own result or raises an error, never another call's result."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from transcriber.failures import ConfigError, Rejected, TemporaryError
from transcriber.process import IsolatedProcess, ProcessDied, ProcessHangs
from transcription_contract.results import ErrorCode

LIMIT = 30.0


def prepare(argument: int) -> tuple[int, int]:
    return os.getpid(), argument


def raise_config_error() -> None:
    raise ConfigError("no such model")


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def half(number: int) -> float:
    return number / 2


def send_to_itself(signum: signal.Signals) -> None:
    os.kill(os.getpid(), signum)


def exit_with_7() -> None:
    sys.exit(7)


class Unpicklable(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")  # unpickling would call __init__ with only this argument


def fail(kind: str) -> None:
    if kind == "unpicklable":
        raise Unpicklable("no", "header")
    raise Rejected(ErrorCode.NO_AUDIO, "It is a text.", kind)


@pytest.fixture
def process() -> Iterator[IsolatedProcess[tuple[int, int]]]:
    process = IsolatedProcess(prepare, 5)
    yield process
    process.stop()


Process = IsolatedProcess[tuple[int, int]]


def test_a_process_is_prepared_once_and_executes_calls_outside_this_process(process: Process) -> None:
    pid, argument = process.prepared()
    assert argument == 5
    assert pid != os.getpid()
    assert [process.call(os.getpid, limit=LIMIT) for _ in range(3)] == [pid] * 3


def test_an_error_keeps_its_class_attributes_and_traceback(process: Process) -> None:
    with pytest.raises(Rejected) as caught:
        process.call(fail, "text", limit=LIMIT)
    assert (caught.value.code, caught.value.detail) == ("no-audio", "text")
    assert "in fail" in str(caught.value.__cause__)


def test_an_error_that_cannot_be_pickled_becomes_a_runtime_error_with_its_message(process: Process) -> None:
    with pytest.raises(RuntimeError, match="no header"):
        process.call(fail, "unpicklable", limit=LIMIT)
    assert process.call(half, 3, limit=LIMIT) == 1.5


@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_process_that_dies_during_a_call_reports_the_signal_and_the_next_call_starts_a_new_process(
    signum: signal.Signals, process: Process
) -> None:
    with pytest.raises(ProcessDied) as caught:
        process.call(send_to_itself, signum, limit=LIMIT)
    assert caught.value.exitcode == -signum
    assert process.call(half, 3, limit=LIMIT) == 1.5
    assert process.prepared()[1] == 5


def test_a_process_that_exits_during_a_call_reports_its_exit_code(process: Process) -> None:
    with pytest.raises(ProcessDied) as caught:
        process.call(exit_with_7, limit=LIMIT)
    assert caught.value.exitcode == 7


def test_a_process_that_hangs_is_killed_and_the_next_call_starts_a_new_process(process: Process) -> None:
    pid, _ = process.prepared()
    with pytest.raises(ProcessHangs):
        process.call(time.sleep, 1000, limit=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert process.call(half, 3, limit=LIMIT) == 1.5


def test_an_idle_process_that_is_killed_is_replaced_at_the_next_call(process: Process) -> None:
    os.kill(process.prepared()[0], signal.SIGKILL)
    assert process.call(half, 3, limit=LIMIT) == 1.5


def test_every_call_gets_its_own_result_or_an_error_whenever_the_process_is_killed(
    process: Process,
) -> None:
    """Kill the process at random moments during many calls. With a ProcessPoolExecutor, callers could wait for ever."""
    stop = threading.Event()

    def call(number: int) -> str:
        try:
            return "right" if process.call(half, number, limit=LIMIT) == number / 2 else "wrong"
        except ProcessDied as error:
            return str(error.exitcode)

    def kill() -> int:
        kills = 0
        while not stop.is_set():
            pid = process.prepared()[0]
            time.sleep(kills % 20 / 1000)
            try:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        return kills

    with ThreadPoolExecutor(5) as threads:
        killing = threads.submit(kill)
        try:
            deadline = time.monotonic() + 5
            results: list[str] = []
            while time.monotonic() < deadline:
                results += [future.result(LIMIT) for future in [threads.submit(call, number) for number in range(40)]]
        finally:
            stop.set()
    assert killing.result() > 5
    assert set(results) <= {"right", str(-signal.SIGKILL)}
    assert results.count("right") > len(results) / 2


def test_the_result_of_an_interrupted_call_is_not_returned_to_the_next_call(process: Process) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    process.prepared()
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Interrupted):
            process.call(time.sleep, 0.5, limit=LIMIT)
    finally:
        signal.signal(signal.SIGALRM, before)
    time.sleep(0.5)  # by now the interrupted call has ended
    assert process.call(half, 3, limit=LIMIT) == 1.5


def test_stopping_the_process_ends_all_waiting_calls_at_once(process: Process) -> None:
    process.prepared()
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(process.call, time.sleep, 1000, limit=LIMIT * 40) for _ in range(3)]
        time.sleep(0.2)
        process.stop()
        ends = [call.exception(LIMIT) for call in calls]
    assert sorted(type(end).__name__ for end in ends) == ["ProcessDied", "TemporaryError", "TemporaryError"]
    with pytest.raises(TemporaryError):
        process.call(half, 3, limit=LIMIT)


def test_every_call_raises_the_error_of_the_preparation() -> None:
    process = IsolatedProcess(raise_config_error)
    for call in (process.prepared, lambda: process.call(half, 3, limit=LIMIT), process.prepared):
        with pytest.raises(ConfigError, match="no such model"):
            call()
    process.stop()


def test_a_process_that_dies_during_its_preparation_is_started_twice_per_call() -> None:
    process = IsolatedProcess(crash)
    with pytest.raises(ProcessDied) as caught:
        process.prepared()
    assert caught.value.exitcode == -signal.SIGSEGV
    with pytest.raises(TemporaryError, match="twice"):
        process.call(half, 3, limit=LIMIT)
    process.stop()
