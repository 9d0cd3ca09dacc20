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
        assert time.monotonic() < deadline, "the run did not get the lock in 60 s"
        time.sleep(0.05)

    monkeypatch.setattr(plan_lock, "time", SimpleNamespace(sleep=sleep))
    return Bucket(empty_bucket)


@pytest.fixture
def leave_lock(put: Callable[..., str]) -> Callable[..., None]:
    """Creates the lock of a killed run."""

    def leave_lock(run_id: str, age: timedelta = timedelta(0)) -> None:
        body = json.dumps({"run_id": run_id, "token": "of a killed attempt", "time": "2026-11-23T01:00:00+00:00"})
        put(layout.PLAN_LOCK, body.encode(), modified=datetime.now(UTC) - age)

    return leave_lock


@pytest.fixture
def repeated_writes(bucket: Bucket) -> Iterator[None]:
    """Makes botocore send every PutObject twice, as after a lost response."""
    events, event = bucket._s3.meta.events, "needs-retry.s3.PutObject"

    def again(attempts: int, **_: Any) -> int | None:
        return 0 if attempts == 1 else None

    events.register(event, again)
    yield
    events.unregister(event, again)


def holder(bucket: Bucket) -> Any:
    return json.loads(bucket._read(layout.PLAN_LOCK))["run_id"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_lock_names_its_run_and_is_deleted_at_the_end(bucket: Bucket, keys: Any) -> None:
    with bucket.plan_lock("one"):
        assert holder(bucket) == "one"
    assert keys() == []


def test_a_failure_under_the_lock_releases_it(bucket: Bucket, keys: Any) -> None:
    with pytest.raises(ZeroDivisionError), bucket.plan_lock("one"):
        raise ZeroDivisionError
    assert keys() == []


def test_a_run_waits_for_the_lock_of_another_run_and_logs_that_runs_id(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="transcription")
    order = []

    def second() -> None:
        with bucket.plan_lock("two"):
            order.append("two")

    waiting = threading.Thread(target=second)
    with bucket.plan_lock("one"):
        waiting.start()
        wait_for(lambda: "Run 'one' is planning: waiting" in caplog.text)
        order.append("one")
    waiting.join(60)
    assert order == ["one", "two"]
    assert caplog.text.count("is planning: waiting") == 1


def test_only_one_run_at_a_time_has_the_lock(bucket: Bucket) -> None:
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


def test_the_lock_of_an_earlier_attempt_of_the_run_is_taken_over_at_once(
    bucket: Bucket, leave_lock: Callable[..., None], keys: Any
) -> None:
    leave_lock("one")
    with bucket.plan_lock("one") as lock:
        lock.renew()
    assert keys() == []


def test_an_abandoned_lock_is_taken_over(
    bucket: Bucket, leave_lock: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    leave_lock("dead", LONG_AGO)
    with bucket.plan_lock("one"):
        assert holder(bucket) == "one"
    assert "Taking over the lock that run 'dead' left 36" in caplog.text


def test_a_lock_that_missed_a_few_renewals_is_not_taken_over(bucket: Bucket, leave_lock: Callable[..., None]) -> None:
    leave_lock("slow", timedelta(seconds=4 * plan_lock._RENEW_SECONDS))
    assert not bucket.plan_lock("one")._take()
    assert holder(bucket) == "slow"


def test_of_two_runs_that_see_an_abandoned_lock_one_takes_it_over(
    bucket: Bucket, leave_lock: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_lock("dead", LONG_AGO)
    first, second = bucket.plan_lock("one"), bucket.plan_lock("two")
    look, looks = plan_lock.PlanLock._look, []

    def look_and_lose_the_race(self: plan_lock.PlanLock) -> Any:
        seen = look(self)
        looks.append(self)
        if looks == [second, second]:  # the second look, directly before the takeover
            assert first._take()
        return seen

    monkeypatch.setattr(plan_lock.PlanLock, "_look", look_and_lose_the_race)
    assert not second._take()
    assert holder(bucket) == "one"


def test_an_invalid_object_at_the_locks_key_counts_as_a_lock_until_it_is_old(bucket: Bucket, put: Any) -> None:
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

        wait_for(renewed)


def test_a_run_that_lost_the_lock_fails_and_does_not_delete_the_new_lock(bucket: Bucket, leave_lock: Any) -> None:
    with bucket.plan_lock("one") as lock:
        leave_lock("two")  # the lock of a run that took over
        with pytest.raises(PlanLockLost, match="Nothing is lost"):
            lock.renew()
    assert holder(bucket) == "two"
    assert not issubclass(PlanLockLost, AirflowFailException), "Airflow would not retry the task"


def test_a_deleted_lock_is_lost(bucket: Bucket) -> None:
    with bucket.plan_lock("one") as lock:
        bucket.delete(layout.PLAN_LOCK)
        with pytest.raises(PlanLockLost):
            lock.renew()


def test_a_run_has_the_lock_even_if_the_response_to_its_write_was_lost(
    bucket: Bucket, repeated_writes: None, keys: Any
) -> None:
    with bucket.plan_lock("one") as lock:
        lock.renew()
        lock.renew()
    assert keys() == []


def test_a_missing_bucket_is_an_error_and_does_not_cause_a_wait(bucket: Bucket) -> None:
    bucket.name = "no-such-bucket-anywhere"
    with pytest.raises(ClientError, match="NoSuchBucket"), bucket.plan_lock("one"):
        pass
