"""A process that may crash or hang answers each call, or says what became of it: never nothing, never another's."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from transcriber.errors import ConfigError, Rejected, TemporaryError
from transcriber.process import IsolatedProcess, ProcessDied, ProcessHangs

LIMIT = 30.0


def number_of(given: int) -> tuple[int, int]:
    return os.getpid(), given


def refusing() -> None:
    raise ConfigError("no such model")


def dying() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def half(number: int) -> float:
    return number / 2


def hit_by(blow: signal.Signals) -> None:
    os.kill(os.getpid(), blow)


def leaving() -> None:
    sys.exit(7)


class Peculiar(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")  # which its unpickling would give to __init__, alone


def failing(kind: str) -> None:
    if kind == "peculiar":
        raise Peculiar("no", "header")
    raise Rejected("no-audio", "It is a text.", kind)


@pytest.fixture
def process() -> Iterator[IsolatedProcess[tuple[int, int]]]:
    process = IsolatedProcess(number_of, 5)
    yield process
    process.stop()


Process = IsolatedProcess[tuple[int, int]]


def test_it_is_prepared_once_and_answers_from_another_process(process: Process) -> None:
    pid, given = process.prepared()
    assert given == 5
    assert pid != os.getpid()
    assert [process.call(os.getpid, limit=LIMIT) for _ in range(3)] == [pid] * 3


def test_an_error_arrives_with_its_kind_its_facts_and_its_traceback(process: Process) -> None:
    with pytest.raises(Rejected) as caught:
        process.call(failing, "text", limit=LIMIT)
    assert (caught.value.code, caught.value.detail) == ("no-audio", "text")
    assert "in failing" in str(caught.value.__cause__)


def test_an_error_that_cannot_be_sent_is_told_in_words(process: Process) -> None:
    with pytest.raises(RuntimeError, match="no header"):
        process.call(failing, "peculiar", limit=LIMIT)
    assert process.call(half, 3, limit=LIMIT) == 1.5


@pytest.mark.parametrize("blow", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_one_that_dies_at_a_call_says_of_what_and_the_next_call_has_a_new_one(
    blow: signal.Signals, process: Process
) -> None:
    with pytest.raises(ProcessDied) as caught:
        process.call(hit_by, blow, limit=LIMIT)
    assert caught.value.exitcode == -blow
    assert process.call(half, 3, limit=LIMIT) == 1.5
    assert process.prepared()[1] == 5


def test_one_that_ends_at_a_call_says_with_what(process: Process) -> None:
    with pytest.raises(ProcessDied) as caught:
        process.call(leaving, limit=LIMIT)
    assert caught.value.exitcode == 7


def test_one_that_hangs_is_killed_and_the_next_call_has_a_new_one(process: Process) -> None:
    pid, _ = process.prepared()
    with pytest.raises(ProcessHangs):
        process.call(time.sleep, 1000, limit=0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert process.call(half, 3, limit=LIMIT) == 1.5


def test_one_that_is_killed_while_it_has_nothing_to_do_costs_nothing(process: Process) -> None:
    os.kill(process.prepared()[0], signal.SIGKILL)
    assert process.call(half, 3, limit=LIMIT) == 1.5


def test_no_call_is_forgotten_or_answered_with_anothers_answer_whenever_the_process_is_killed(
    process: Process,
) -> None:
    """Kills come at any moment of many calls; the callers of a pool that breaks right then wait for ever."""
    over = threading.Event()

    def ask(number: int) -> str:
        try:
            return "right" if process.call(half, number, limit=LIMIT) == number / 2 else "another's"
        except ProcessDied as error:
            return str(error.exitcode)

    def kill() -> int:
        kills = 0
        while not over.is_set():
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
            found: list[str] = []
            while time.monotonic() < deadline:
                found += [asked.result(LIMIT) for asked in [threads.submit(ask, number) for number in range(40)]]
        finally:
            over.set()
    assert killing.result() > 5
    assert set(found) <= {"right", str(-signal.SIGKILL)}
    assert found.count("right") > len(found) / 2


def test_one_that_asks_and_is_interrupted_leaves_no_answer_to_the_next(process: Process) -> None:
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
    time.sleep(0.5)  # the answer would be there now
    assert process.call(half, 3, limit=LIMIT) == 1.5


def test_stopping_it_ends_the_waiting_of_all_at_once(process: Process) -> None:
    process.prepared()
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(process.call, time.sleep, 1000, limit=LIMIT * 40) for _ in range(3)]
        time.sleep(0.2)
        process.stop()
        ends = [answer.exception(LIMIT) for answer in asked]
    assert sorted(type(end).__name__ for end in ends) == ["ProcessDied", "TemporaryError", "TemporaryError"]
    with pytest.raises(TemporaryError):
        process.call(half, 3, limit=LIMIT)


def test_what_its_preparation_refuses_every_call_is_told() -> None:
    process = IsolatedProcess(refusing)
    for asking in (process.prepared, lambda: process.call(half, 3, limit=LIMIT), process.prepared):
        with pytest.raises(ConfigError, match="no such model"):
            asking()
    process.stop()


def test_one_that_dies_of_its_preparation_is_tried_twice_at_a_call() -> None:
    process = IsolatedProcess(dying)
    with pytest.raises(ProcessDied) as caught:
        process.prepared()
    assert caught.value.exitcode == -signal.SIGSEGV
    with pytest.raises(TemporaryError, match="twice"):
        process.call(half, 3, limit=LIMIT)
    process.stop()
