from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from transcription import plan_lock
from transcription.bucket import Bucket
from transcription.errors import PlanLockLost
from transcription_contract import layout

LONG_AGO = timedelta(hours=1)


@pytest.fixture
def bucket(empty_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    deadline = time.monotonic() + 60

    def sleep(_seconds: float) -> None:
        assert time.monotonic() < deadline, "the lock is never to be had"
        time.sleep(0.05)

    monkeypatch.setattr(plan_lock, "time", SimpleNamespace(sleep=sleep))
    return Bucket(empty_bucket)


@pytest.fixture
def left(put: Callable[..., str]) -> Callable[..., None]:
    """Leaves a lock in the bucket as a killed run would."""

    def left(run_id: str, age: timedelta = timedelta(0)) -> None:
        body = json.dumps({"run_id": run_id, "token": "of a killed attempt", "time": "2026-11-23T01:00:00+00:00"})
        put(layout.PLAN_LOCK, body.encode(), modified=datetime.now(UTC) - age)

    return left


@pytest.fixture
def asks_twice(bucket: Bucket) -> Iterator[None]:
    """botocore sends every PutObject again after S3 has done it, as it does when an answer is lost."""
    events, event = bucket._s3.meta.events, "needs-retry.s3.PutObject"

    def again(attempts: int, **_: Any) -> int | None:
        return 0 if attempts == 1 else None

    events.register(event, again)
    yield
    events.unregister(event, again)


def holder(bucket: Bucket) -> Any:
    return json.loads(bucket._read(layout.PLAN_LOCK))["run_id"]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lock_says_whose_it_is_and_is_gone_afterwards(bucket: Bucket, keys: Any) -> None:
    with bucket.plan_lock("one"):
        assert holder(bucket) == "one"
    assert keys() == []


def test_a_failure_under_the_lock_releases_it(bucket: Bucket, keys: Any) -> None:
    with pytest.raises(ZeroDivisionError), bucket.plan_lock("one"):
        raise ZeroDivisionError
    assert keys() == []


def test_a_run_waits_for_another_ones_lock_and_names_it(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="transcription")
    order = []

    def second() -> None:
        with bucket.plan_lock("two"):
            order.append("two")

    waiting = threading.Thread(target=second)
    with bucket.plan_lock("one"):
        waiting.start()
        until(lambda: "Run 'one' is planning: waiting" in caplog.text)
        order.append("one")
    waiting.join(60)
    assert order == ["one", "two"]
    assert caplog.text.count("is planning: waiting") == 1


def test_of_many_runs_one_at_a_time_has_the_lock(bucket: Bucket) -> None:
    inside, most = [], []

    def plan(run_id: str) -> None:
        with bucket.plan_lock(run_id):
            inside.append(run_id)
            most.append(len(inside))
            time.sleep(0.02)
            inside.remove(run_id)

    threads = [threading.Thread(target=plan, args=(f"run {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 8


def test_a_lock_that_an_earlier_attempt_of_the_run_left_is_taken_over_at_once(
    bucket: Bucket, left: Callable[..., None], keys: Any
) -> None:
    left("one")
    with bucket.plan_lock("one") as lock:
        lock.renew()
    assert keys() == []


def test_a_lock_that_was_not_renewed_for_long_is_taken_over(
    bucket: Bucket, left: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    left("dead", LONG_AGO)
    with bucket.plan_lock("one"):
        assert holder(bucket) == "one"
    assert "Taking over the lock that run 'dead' left 36" in caplog.text


def test_what_somebody_else_put_in_the_locks_place_holds_until_it_is_old(bucket: Bucket, put: Any) -> None:
    put(layout.PLAN_LOCK, b"no JSON")
    assert not bucket.plan_lock("one")._take()
    put(layout.PLAN_LOCK, b"[]", modified=datetime.now(UTC) - LONG_AGO)
    assert bucket.plan_lock("one")._take()


def test_a_lock_is_renewed_while_it_is_held(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_lock, "_RENEW_SECONDS", 0.02)
    with bucket.plan_lock("one") as lock:
        seen = {lock._etag}

        def renewed() -> bool:
            seen.add(bucket._s3.head_object(Bucket=bucket.name, Key=layout.PLAN_LOCK)["ETag"])
            return len(seen) > 3

        until(renewed)


def test_who_lost_the_lock_learns_of_it_and_leaves_the_other_ones_alone(bucket: Bucket, left: Any) -> None:
    with bucket.plan_lock("one") as lock:
        left("two")  # as a run that thought the first one dead
        with pytest.raises(PlanLockLost, match="Nothing is lost"):
            lock.renew()
    assert holder(bucket) == "two"
    assert not issubclass(PlanLockLost, AirflowFailException), "Airflow would not try again"


def test_a_lock_that_somebody_removed_is_lost(bucket: Bucket) -> None:
    with bucket.plan_lock("one") as lock:
        bucket.delete(layout.PLAN_LOCK)
        with pytest.raises(PlanLockLost):
            lock.renew()


def test_a_lock_that_was_got_by_a_call_whose_answer_was_lost_is_held(
    bucket: Bucket, asks_twice: None, keys: Any
) -> None:
    with bucket.plan_lock("one") as lock:
        lock.renew()
        lock.renew()
    assert keys() == []


def test_a_bucket_that_is_not_there_is_an_error_and_no_reason_to_wait(bucket: Bucket) -> None:
    bucket.name = "no-such-bucket-anywhere"
    with pytest.raises(ClientError, match="NoSuchBucket"), bucket.plan_lock("one"):
        pass
