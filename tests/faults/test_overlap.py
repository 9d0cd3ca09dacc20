"""Overlapping runs on the same recordings: the worker transcribes each recording once, and both runs succeed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.faults.injection import FaultyWorkers, WireFault, Worker
from tests.faults.ledger import Ledger
from tests.faults.runs import Run, wait_for_all
from tests.worker.harness import TEXTS, recording
from transcription import bucket, claims, plan_lock, planning
from transcription.claims import NO_CLAIMS
from transcription.errors import PlanLockLost
from transcription_contract import layout

NAMES = list(TEXTS)[:6]
DAY = timedelta(days=1)


@pytest.fixture
def folder(ledger: Ledger, request: pytest.FixtureRequest) -> str:
    """Six recordings in a folder for this test only."""
    folder = f"{request.node.name}/"
    for name in NAMES:
        ledger.put(folder + name, recording(name), TEXTS[name])
    return folder


@pytest.fixture
def run(aws: Any, deployed: Any, folder: str) -> Callable[..., Run]:
    return lambda name, **options: Run(aws, f"{name}-{folder[:-1]}", prefix=folder, **options)


@pytest.fixture
def plan_concurrently(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Plans several runs at the same time. A run writes only after every other run has listed the bucket or waits."""
    monkeypatch.setattr(plan_lock, "_LOOK_SECONDS", 0.05)
    write, take = bucket.Bucket.write_manifests, plan_lock.PlanLock._take

    def plan(*runs: Run) -> list[int]:
        ready = {run.manifest_prefix: threading.Event() for run in runs}

        def write_last(self: bucket.Bucket, prefix: str, bodies: Iterable[bytes]) -> None:
            ready[prefix].set()
            assert all(event.wait(60) for event in ready.values())
            write(self, prefix, bodies)

        def take_and_report(self: plan_lock.PlanLock) -> bool:
            taken = take(self)
            if not taken:
                ready[layout.manifest_prefix(self._run_id)].set()
            return taken

        monkeypatch.setattr(bucket.Bucket, "write_manifests", write_last)
        monkeypatch.setattr(plan_lock.PlanLock, "_take", take_and_report)
        with ThreadPoolExecutor(len(runs)) as pool:
            return list(pool.map(Run.plan, runs))

    return plan


@pytest.fixture
def plan_without_claims(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plans several runs that ignore each other's manifests."""

    def plan(*runs: Run) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(bucket.Bucket, "claims_of_others", lambda *_: NO_CLAIMS)
            assert [run.plan() for run in runs] == [len(NAMES)] * len(runs)

    return plan


@contextmanager
def paused_at(workers: FaultyWorkers, aws: Any, run: Run, step: str) -> Iterator[threading.Event]:
    """Pause the run's worker at its first call of this step until the test sets the event."""
    event = threading.Event()

    def wait() -> None:
        event.wait(60)

    with workers.for_run(run.manifest_prefix, aws.endpoint) as worker:
        worker.wire.append(WireFault(step, None, wait))
        yield event
        event.set()


def assert_each_is_transcribed_once(ledger: Ledger, folder: str, transcriptions: int = 1) -> None:
    for name in ledger.names(folder):
        state = ledger.state(name)
        assert state.folders == ("processed",), f"{name}: {state}"
        assert state.transcriptions <= transcriptions, f"{name}: {state}"
        assert not state.wrong, f"{name}: {state}"


def test_of_runs_that_plan_at_the_same_time_only_one_plans_the_recordings(
    run: Callable[..., Run], plan_concurrently: Callable[..., list[int]], ledger: Ledger, folder: str
) -> None:
    now = datetime.now(UTC)
    runs = [run("one"), run("two"), run("backfill", backfill=(now - DAY, now + DAY))]
    planned = plan_concurrently(*runs)
    assert sorted(planned) == [0, 0, 6], "each recording is in one plan"
    planner = runs[planned.index(6)]
    planner.submit()
    wait_for_all([planner])
    assert planner.verify()["transcribed"] == 6
    assert_each_is_transcribed_once(ledger, folder)


@pytest.mark.parametrize("step", ["plan", "write"])
def test_a_run_that_loses_the_lock_fails_and_its_next_attempt_plans_no_recordings_of_the_other_run(
    step: str, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, ledger: Ledger, folder: str
) -> None:
    loser, other = run("loser"), run("other")
    owner, name = {"plan": (planning, "shares"), "write": (bucket.Bucket, "write_manifests")}[step]
    real = getattr(owner, name)

    def suspended(*args: Any, **kwargs: Any) -> Any:  # for so long that the other run takes over the lock
        monkeypatch.setattr(owner, name, real)
        monkeypatch.setattr(plan_lock, "_ABANDONED_SECONDS", -60)
        assert other.plan() == 6
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, suspended)
    with pytest.raises(PlanLockLost):
        loser.plan()
    written = list(bucket.Bucket(ledger.bucket).listing(loser.manifest_prefix))
    assert bool(written) == (step == "write")
    assert loser.plan() == 0, "the other run has planned the recordings"


def test_two_runs_that_planned_the_same_recordings_both_succeed(
    run: Callable[..., Run], plan_without_claims: Callable[..., None], ledger: Ledger, folder: str
) -> None:
    first, second = run("one"), run("two")
    plan_without_claims(first, second)
    first.submit()
    second.submit()
    wait_for_all([first, second])
    assert [item.attempts() for item in (first, second)] == [[0], [0]]
    for item in (first, second):
        assert item.verify() == {"transcribed": 6, "rejected": 0, "replaced": 0, "missing": 0}
    # Both runs may transcribe a recording at the same time. Then the bucket has one transcript and an older version.
    assert_each_is_transcribed_once(ledger, folder, transcriptions=2)


def test_the_second_of_two_runs_with_the_same_plan_transcribes_nothing_again(
    run: Callable[..., Run], plan_without_claims: Callable[..., None], ledger: Ledger, folder: str
) -> None:
    first, second = run("one"), run("two")
    plan_without_claims(first, second)
    first.submit()
    wait_for_all([first])
    second.submit()
    wait_for_all([second])
    assert [item.verify()["transcribed"] for item in (second, first)] == [6, 6]
    assert_each_is_transcribed_once(ledger, folder)


def test_a_late_run_submits_no_job_if_another_run_has_taken_its_recordings(
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
    with paused_at(workers, aws, following, "source GET") as resume:
        assert following.start() == 6
        with pytest.raises(AirflowFailException, match="has 6 of its 6 recordings"):
            late.submit()
        assert late.plan() == 0
        resume.set()
        wait_for_all([following])
    assert following.verify()["transcribed"] == 6
    assert_each_is_transcribed_once(ledger, folder)


def test_a_run_does_not_plan_the_recordings_of_another_runs_active_job(
    run: Callable[..., Run], workers: FaultyWorkers, aws: Any, ledger: Ledger, folder: str
) -> None:
    first, second = run("one"), run("two")
    with paused_at(workers, aws, first, "source GET") as resume:
        assert first.start() == 6
        ledger.put(f"{folder}new.wav", recording(), TEXTS["dictate__forhelp.wav"])
        assert second.start() == 1
        wait_for_all([second])
        assert ledger.state(f"{folder}new.wav").folders == ("processed",)
        resume.set()
        wait_for_all([first])
    assert [item.verify()["transcribed"] for item in (first, second)] == [6, 1]
    assert_each_is_transcribed_once(ledger, folder)


def test_the_next_run_plans_the_recordings_of_an_abandoned_run(
    run: Callable[..., Run], ledger: Ledger, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned, following = run("one"), run("two")
    assert abandoned.plan() == 6
    assert following.plan() == 0, "the first run may still submit its job"
    expire_claims(monkeypatch)
    assert following.start() == 6
    wait_for_all([following])
    assert following.verify()["transcribed"] == 6
    assert_each_is_transcribed_once(ledger, folder)


@pytest.mark.parametrize("first", ["backfill", "nightly"])
def test_a_backfill_and_a_nightly_run_at_the_same_time_plan_each_recording_once(
    first: str, run: Callable[..., Run], workers: FaultyWorkers, aws: Any, ledger: Ledger, folder: str
) -> None:
    now = datetime.now(UTC)
    backfill, nightly = run("backfill", backfill=(now - DAY, now + DAY)), run("nightly")
    one, other = (backfill, nightly) if first == "backfill" else (nightly, backfill)
    with paused_at(workers, aws, one, "source GET") as resume:
        assert one.start() == 6
        assert other.start() == 0
        resume.set()
        wait_for_all([one])
    assert one.verify()["transcribed"] == 6
    assert_each_is_transcribed_once(ledger, folder)


def test_a_backfill_succeeds_if_a_nightly_run_moves_its_recordings(
    run: Callable[..., Run], plan_without_claims: Callable[..., None], ledger: Ledger, folder: str
) -> None:
    now = datetime.now(UTC)
    backfill, nightly = run("backfill", backfill=(now - DAY, now + DAY)), run("nightly")
    plan_without_claims(backfill, nightly)
    nightly.submit()
    backfill.submit()
    wait_for_all([nightly, backfill])
    assert [item.verify()["missing"] for item in (backfill, nightly)] == [0, 0]
    assert_each_is_transcribed_once(ledger, folder, transcriptions=2)


def test_after_a_partial_failure_only_the_recordings_left_are_planned_again(
    run: Callable[..., Run], workers: FaultyWorkers, aws: Any, ledger: Ledger, folder: str
) -> None:
    partial = run("partial")
    with workers.for_run(partial.manifest_prefix, aws.endpoint) as worker:
        fail_copies(worker, f"{folder}{NAMES[0][:-4]}", f"{folder}{NAMES[1][:-4]}")
        assert partial.start() == 6
        wait_for_all([partial])
        assert partial.attempts() == [75, 75, 75]
        with pytest.raises(Exception, match=r"(?s)2 of 6 recordings have no transcript.*Clear the run"):
            partial.verify()
        before = partial.job_id
        worker.remove_faults()
        assert partial.start() == 2
        assert partial.job_id != before
        wait_for_all([partial])
    assert partial.verify() == {"transcribed": 2, "rejected": 0, "replaced": 0, "missing": 0}
    assert partial.plan() == 0
    assert_each_is_transcribed_once(ledger, folder)


def expire_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the existing manifests expire, as if they were old."""
    monkeypatch.setattr(claims, "DURATION", timedelta(0))
    time.sleep(1.1)  # S3's times have a resolution of one second


def fail_copies(worker: Worker, *stems: str) -> None:
    """Make every copy of these recordings fail. S3 answers 501, which no client retries."""
    for stem in stems:
        worker.wire.append(WireFault("copy to processed/", stem, lambda: 501, times=1_000_000))
