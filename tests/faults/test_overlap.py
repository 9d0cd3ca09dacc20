"""Two whole runs at once, on the same recordings: each ends transcribed once, and both runs are content."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.faults.injection import FaultyWorkers, WireFault, Worker
from tests.faults.ledger import Ledger
from tests.faults.runs import Run, wait_for_all
from tests.worker.harness import TEXTS, recording
from transcription import bucket, plan_lock, planning, submission
from transcription.errors import PlanLockLost, PlanOvertaken
from transcription_contract import layout

NAMES = list(TEXTS)[:6]
DAY = timedelta(days=1)


@pytest.fixture
def folder(ledger: Ledger, request: pytest.FixtureRequest) -> str:
    """Six recordings in a folder of the test's own."""
    folder = f"{request.node.name}/"
    for name in NAMES:
        ledger.put(folder + name, recording(name), TEXTS[name])
    return folder


@pytest.fixture
def run(aws: Any, deployed: Any, folder: str) -> Callable[..., Run]:
    return lambda name, **more: Run(aws, f"{name}-{folder[:-1]}", prefix=folder, **more)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Plans several runs at the same moment: none writes before each of the others has listed the bucket or waits."""
    monkeypatch.setattr(plan_lock, "_LOOK_SECONDS", 0.05)
    write, take = bucket.Bucket.write_manifests, plan_lock.PlanLock._take

    def plan(*runs: Run) -> list[int]:
        arrived = {run.manifest_prefix: threading.Event() for run in runs}

        def write_last(self: bucket.Bucket, prefix: str, bodies: Iterable[bytes]) -> None:
            arrived[prefix].set()
            assert all(event.wait(60) for event in arrived.values())
            write(self, prefix, bodies)

        def take_or_wait(self: plan_lock.PlanLock) -> bool:
            taken = take(self)
            if not taken:
                arrived[layout.manifest_prefix(self._run_id)].set()
            return taken

        monkeypatch.setattr(bucket.Bucket, "write_manifests", write_last)
        monkeypatch.setattr(plan_lock.PlanLock, "_take", take_or_wait)
        with ThreadPoolExecutor(len(runs)) as pool:
            return list(pool.map(Run.plan, runs))

    return plan


@pytest.fixture
def unaware(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plans several runs as if none knew of the others' manifests."""

    def plan(*runs: Run) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(submission, "claimed_by_others", lambda *_: set())
            assert [run.plan() for run in runs] == [len(NAMES)] * len(runs)

    return plan


@contextmanager
def held(workers: FaultyWorkers, aws: Any, run: Run, step: str) -> Iterator[threading.Event]:
    """The run's worker waits at its first such step until the event is set."""
    event = threading.Event()

    def wait() -> None:
        event.wait(60)

    with workers.of_run(run.manifest_prefix, aws.endpoint) as worker:
        worker.wire.append(WireFault(step, None, wait))
        yield event
        event.set()


def assert_each_is_transcribed_once(ledger: Ledger, folder: str, transcriptions: int = 1) -> None:
    for name in ledger.names(folder):
        at = ledger.look(name)
        assert at.places == ("processed",), f"{name}: {at}"
        assert at.transcriptions <= transcriptions, f"{name}: {at}"
        assert not at.wrong, f"{name}: {at}"


def test_of_runs_that_plan_at_the_same_moment_one_takes_the_recordings(
    run: Callable[..., Run], at_once: Callable[..., list[int]], ledger: Ledger, folder: str
) -> None:
    now = datetime.now(UTC)
    runs = [run("one"), run("two"), run("backfill", backfill=(now - DAY, now + DAY))]
    planned = at_once(*runs)
    assert sorted(planned) == [0, 0, 6], "each recording is in one plan"
    taker = runs[planned.index(6)]
    taker.submit()
    wait_for_all([taker])
    assert taker.verify()["transcribed"] == 6
    assert_each_is_transcribed_once(ledger, folder)


@pytest.mark.parametrize("step", ["plan", "write"])
def test_a_run_that_loses_the_lock_fails_and_its_next_attempt_leaves_the_recordings_to_the_other(
    step: str, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, ledger: Ledger, folder: str
) -> None:
    loser, other = run("loser"), run("other")
    place, name = {"plan": (planning, "manifest_lines"), "write": (bucket.Bucket, "write_manifests")}[step]
    real = getattr(place, name)

    def suspended(*args: Any, **kwargs: Any) -> Any:  # for so long that the other takes the lock over
        monkeypatch.setattr(place, name, real)
        monkeypatch.setattr(plan_lock, "_ABANDONED_SECONDS", -60)
        assert other.plan() == 6
        return real(*args, **kwargs)

    monkeypatch.setattr(place, name, suspended)
    with pytest.raises(PlanLockLost):
        loser.plan()
    written = list(bucket.Bucket(ledger.bucket).objects(loser.manifest_prefix))
    assert bool(written) == (step == "write")
    assert loser.plan() == 0, "the other has them"


def test_two_runs_that_planned_the_same_recordings_both_end_well(
    run: Callable[..., Run], unaware: Callable[..., None], ledger: Ledger, folder: str
) -> None:
    first, second = run("one"), run("two")
    unaware(first, second)
    first.submit()
    second.submit()
    wait_for_all([first, second])
    assert [item.attempts() for item in (first, second)] == [[0], [0]]
    for item in (first, second):
        assert item.verify() == {"transcribed": 6, "rejected": 0, "replaced": 0, "missing": 0}
    # Both may be at the same recording at once: the bucket ends with one transcript, and keeps the other's version.
    assert_each_is_transcribed_once(ledger, folder, transcriptions=2)


def test_the_second_of_two_runs_with_the_same_plan_transcribes_nothing_again(
    run: Callable[..., Run], unaware: Callable[..., None], ledger: Ledger, folder: str
) -> None:
    first, second = run("one"), run("two")
    unaware(first, second)
    first.submit()
    wait_for_all([first])
    second.submit()
    wait_for_all([second])
    assert [item.verify()["transcribed"] for item in (second, first)] == [6, 6]
    assert_each_is_transcribed_once(ledger, folder)


def test_a_run_that_submits_so_late_that_another_has_its_recordings_does_not(
    run: Callable[..., Run],
    workers: FaultyWorkers,
    aws: Any,
    ledger: Ledger,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late, following = run("late"), run("following")
    assert late.plan() == 6
    expire_claims(monkeypatch)
    with held(workers, aws, following, "source GET") as go_on:
        assert following.start() == 6
        with pytest.raises(PlanOvertaken, match="another run has 6 of its 6 recordings"):
            late.submit()
        assert late.plan() == 0
        go_on.set()
        wait_for_all([following])
    assert following.verify()["transcribed"] == 6
    assert_each_is_transcribed_once(ledger, folder)


def test_a_run_that_is_planned_while_the_others_job_lives_leaves_its_recordings_to_it(
    run: Callable[..., Run], workers: FaultyWorkers, aws: Any, ledger: Ledger, folder: str
) -> None:
    first, second = run("one"), run("two")
    with held(workers, aws, first, "source GET") as go_on:
        assert first.start() == 6
        ledger.put(f"{folder}new.wav", recording(), TEXTS["dictate__forhelp.wav"])
        assert second.start() == 1
        wait_for_all([second])
        assert ledger.look(f"{folder}new.wav").places == ("processed",)
        go_on.set()
        wait_for_all([first])
    assert [item.verify()["transcribed"] for item in (first, second)] == [6, 1]
    assert_each_is_transcribed_once(ledger, folder)


def test_what_an_abandoned_run_had_planned_is_taken_by_the_next(
    run: Callable[..., Run], ledger: Ledger, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned, following = run("one"), run("two")
    assert abandoned.plan() == 6
    assert following.plan() == 0, "it may be about to submit its job"
    expire_claims(monkeypatch)
    assert following.start() == 6
    wait_for_all([following])
    assert following.verify()["transcribed"] == 6
    assert_each_is_transcribed_once(ledger, folder)


@pytest.mark.parametrize("first", ["backfill", "nightly"])
def test_a_backfill_beside_a_nightly_run_shares_the_recordings_out(
    first: str, run: Callable[..., Run], workers: FaultyWorkers, aws: Any, ledger: Ledger, folder: str
) -> None:
    now = datetime.now(UTC)
    backfill, nightly = run("backfill", backfill=(now - DAY, now + DAY)), run("nightly")
    one, other = (backfill, nightly) if first == "backfill" else (nightly, backfill)
    with held(workers, aws, one, "source GET") as go_on:
        assert one.start() == 6
        assert other.start() == 0
        go_on.set()
        wait_for_all([one])
    assert one.verify()["transcribed"] == 6
    assert_each_is_transcribed_once(ledger, folder)


def test_a_backfill_that_planned_what_a_nightly_run_just_moves_ends_well(
    run: Callable[..., Run], unaware: Callable[..., None], ledger: Ledger, folder: str
) -> None:
    now = datetime.now(UTC)
    backfill, nightly = run("backfill", backfill=(now - DAY, now + DAY)), run("nightly")
    unaware(backfill, nightly)
    nightly.submit()
    backfill.submit()
    wait_for_all([nightly, backfill])
    assert [item.verify()["missing"] for item in (backfill, nightly)] == [0, 0]
    assert_each_is_transcribed_once(ledger, folder, transcriptions=2)


def test_after_a_partial_failure_only_what_is_left_is_planned_and_paid_for(
    run: Callable[..., Run], workers: FaultyWorkers, aws: Any, ledger: Ledger, folder: str
) -> None:
    partial = run("partial")
    with workers.of_run(partial.manifest_prefix, aws.endpoint) as worker:
        refuse(worker, f"{folder}{NAMES[0][:-4]}", f"{folder}{NAMES[1][:-4]}")
        assert partial.start() == 6
        wait_for_all([partial])
        assert partial.attempts() == [75, 75, 75]
        with pytest.raises(Exception, match=r"(?s)2 of 6 recordings have no transcript.*Clear the run"):
            partial.verify()
        before = partial.job_id
        worker.calm()
        assert partial.start() == 2
        assert partial.job_id != before
        wait_for_all([partial])
    assert partial.verify() == {"transcribed": 2, "rejected": 0, "replaced": 0, "missing": 0}
    assert partial.plan() == 0
    assert_each_is_transcribed_once(ledger, folder)


def expire_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let manifests that are there now claim nothing any more, as if they were put long ago."""
    monkeypatch.setattr(submission, "CLAIM", timedelta(0))
    time.sleep(1.1)  # S3 tells times in whole seconds


def refuse(worker: Worker, *stems: str) -> None:
    """S3 is down for good for these recordings' copies; 501 is repeated by no client."""
    for stem in stems:
        worker.wire.append(WireFault("copy to processed/", stem, lambda: 501, times=1_000_000))
