"""A run starts once uploads have come to rest: on a queue with a clock of its own, and on the local AWS."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import boto3
import pytest
from airflow.providers.amazon.aws.hooks.sqs import SqsHook
from botocore.exceptions import ClientError

from local_aws import deployment
from local_aws.containers import PROJECT
from transcription import upload_watch
from transcription.schedule import schedule
from transcription.upload_watch import UploadsTrigger

QUIET = 600.0


class Stopped(BaseException):
    """Nothing comes to the queue any more."""


class Queue:
    """A queue in memory, and the clock. Messages come at the given times, in seconds; waiting moves the clock."""

    def __init__(self, *arrivals: float, end: float = 100_000.0) -> None:
        self.now = 0.0
        self.messages = [[at, at] for at in sorted(arrivals)]  # when it came, and from when on it is visible
        self.fails = 0
        self._end = end

    async def __aenter__(self) -> Queue:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def receive_message(
        self, *, MaxNumberOfMessages: int, WaitTimeSeconds: int, VisibilityTimeout: int, **_: Any
    ) -> Any:
        if self.fails:
            self.fails -= 1
            raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, "ReceiveMessage")
        if self.now > self._end:
            raise Stopped
        assert 0 <= WaitTimeSeconds <= 20
        until = self.now + WaitTimeSeconds
        first = min((visible for _, visible in self.messages), default=until + 1)
        self.now = max(self.now, min(first, until))
        received = [message for message in self.messages if message[1] <= self.now][:MaxNumberOfMessages]
        for message in received:
            message[1] = self.now + VisibilityTimeout
        return {"Messages": [{"ReceiptHandle": message} for message in received]} if received else {}

    async def delete_message_batch(self, *, Entries: Any, **_: Any) -> None:
        assert len({entry["Id"] for entry in Entries}) == len(Entries) <= 10
        for entry in Entries:
            self.messages.remove(entry["ReceiptHandle"])


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The events that a queue leads to: when, and of how many uploads. A limit stops the trigger after that many."""

    def events(queue: Queue, limit: int | None = None) -> list[tuple[float, int]]:
        async def connect(_: object) -> Queue:
            return queue

        monkeypatch.setattr(SqsHook, "get_async_conn", connect)
        monkeypatch.setattr(upload_watch, "monotonic", lambda: queue.now)
        monkeypatch.setattr(upload_watch, "_PAUSE_SECONDS", 0.0)
        found: list[tuple[float, int]] = []

        async def follow() -> None:
            stream = UploadsTrigger(queue_url="https://queue", quiet_seconds=QUIET).run()
            async for event in stream:
                found.append((queue.now, event.payload["uploads"]))
                if len(found) == limit:
                    return

        try:
            asyncio.run(follow())
        except Stopped:
            assert limit is None
        return found

    return events


def test_a_thousand_uploads_are_one_event_after_the_quiet_time(events: Any) -> None:
    queue = Queue(*(second * 0.5 for second in range(1000)))
    [(at, uploads)] = events(queue)
    assert uploads == 1000
    assert 499.5 + QUIET <= at <= 499.5 + QUIET + 2
    assert queue.messages == []


def test_uploads_after_the_quiet_time_are_another_event(events: Any) -> None:
    found = events(Queue(0.0, 100.0, 100.0 + QUIET + 60))
    assert [uploads for _, uploads in found] == [2, 1]


def test_uploads_that_never_rest_are_an_event_after_six_quiet_times(events: Any) -> None:
    found = events(Queue(*(minute * 60.0 for minute in range(1000))))
    assert len(found) > 1000 * 60 / (6 * QUIET + 62)
    assert all(later - earlier <= 6 * QUIET + 62 for (earlier, _), (later, _) in pairwise(found))
    assert sum(uploads for _, uploads in found) == 1000


def test_without_uploads_there_is_no_event(events: Any) -> None:
    assert events(Queue()) == []


def test_a_triggerer_that_dies_before_the_event_loses_no_upload(events: Any) -> None:
    queue = Queue(0.0, 1.0, 2.0, end=50.0)
    assert events(queue) == []
    assert queue.messages, "the newest upload is still in the queue"
    queue._end = 100_000.0
    [(at, _)] = events(queue)
    assert at <= 2.0 + 3 * QUIET
    assert queue.messages == []


def test_a_triggerer_that_dies_at_the_event_repeats_it(events: Any) -> None:
    queue = Queue(0.0)
    assert len(events(queue, limit=1)) == 1
    assert len(events(queue)) == 1


def test_a_queue_that_cannot_be_read_for_a_while_loses_nothing(events: Any) -> None:
    queue = Queue(5.0)
    queue.fails = 50
    assert [uploads for _, uploads in events(queue)] == [1]


@pytest.fixture
def watching(aws: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stack with `start_on_upload`, in a region of its own, as a task of its environment sees it."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps the rights with which it first asked
    region = "us-west-2"
    stack = deployment.deploy(aws, PROJECT / "build" / "on_upload", region=region)
    for name, value in (aws.environment_of(stack.airflow_role) | {"AWS_DEFAULT_REGION": region}).items():
        monkeypatch.setenv(name, value)
    for option, value in stack.airflow_options.items():
        monkeypatch.setenv(f"AIRFLOW__{option.replace('.', '__').upper()}", str(value))
    return stack


def test_the_schedule_has_the_time_and_the_queue_of_uploads(watching: Any) -> None:
    found: Any = schedule()
    [uploads] = found.asset_condition.objects
    [watcher] = uploads.watchers
    queue_url = watching.airflow_options["transcription.upload_queue_url"]
    assert watcher.trigger.serialize() == (
        "transcription.upload_watch.UploadsTrigger",
        {"queue_url": queue_url, "quiet_seconds": 6.0},
    )
    assert found.timetable.expression == "0 1 * * *"


def test_an_upload_and_nothing_else_reaches_airflow_with_its_own_rights(aws: Any, watching: Any) -> None:
    s3 = aws.client("s3", "us-west-2")
    for key in ("input/calls/a.wav", "output/calls/a", "processed/calls/a.wav", "inputs/b.wav"):
        s3.put_object(Bucket=watching.outputs["BucketName"], Key=key, Body=b"x")
    queue_url = watching.airflow_options["transcription.upload_queue_url"]

    async def first() -> Any:
        return await anext(UploadsTrigger(queue_url=queue_url, quiet_seconds=0.5).run())

    assert asyncio.run(first()).payload == {"uploads": 1}


def test_airflow_may_not_write_to_the_queue(watching: Any) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.client("sqs").send_message(
            QueueUrl=watching.airflow_options["transcription.upload_queue_url"], MessageBody="x"
        )
