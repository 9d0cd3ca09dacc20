"""Watches uploads, so that a run starts when they have come to rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from time import monotonic
from typing import Any

from airflow.providers.amazon.aws.hooks.sqs import SqsHook
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError

_MOST_QUIET_TIMES = 6
_LONG_POLL_SECONDS = 20
"""The longest that SQS waits for a message: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html"""
_BATCH = 10
"""Most messages of one request."""
_VISIBILITY_MARGIN_SECONDS = 120
_PAUSE_SECONDS = 30.0  # after a request that failed


class UploadsTrigger(BaseEventTrigger):
    """Waits until uploads have come to rest, again and again, so that a thousand uploads start one run.

    Each upload is a message of the queue. The newest messages stay there until the event is sent: if the triggerer
    dies first, SQS gives them to the next one. An event too many does no harm, because the run finds nothing and is
    skipped.

    Args:
        queue_url: URL of the SQS queue that gets an event for each new object of `input/`.
        quiet_seconds: For how long nothing must have been uploaded. If uploads never rest, an event comes all the
            same, six quiet times after the first one.
    """

    def __init__(self, *, queue_url: str, quiet_seconds: float) -> None:
        super().__init__()
        self.queue_url = queue_url
        self.quiet_seconds = quiet_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"queue_url": self.queue_url, "quiet_seconds": self.quiet_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event, the number of uploads, each time that uploads have come to rest."""
        async with await SqsHook(aws_conn_id=None).get_async_conn() as client:
            rest = _Rest(self.quiet_seconds)
            newest: Sequence[Any] = ()
            while True:
                try:
                    received = await self._receive(client, rest.seconds_left(monotonic()))
                    if received:
                        await self._delete(client, newest)
                        newest = received
                        rest.uploaded(len(received), monotonic())
                    if rest.uploads and rest.seconds_left(monotonic()) <= 0:
                        yield TriggerEvent({"uploads": rest.uploads})
                        told, newest, rest = newest, (), _Rest(self.quiet_seconds)
                        await self._delete(client, told)
                except (ClientError, BotoCoreError) as error:
                    self.log.warning("The queue of uploads cannot be read: %s", error)
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _receive(self, client: Any, seconds_left: float) -> Sequence[Any]:
        """The messages that come within the time, or within the longest that SQS waits."""
        answer = await client.receive_message(
            QueueUrl=self.queue_url,
            MaxNumberOfMessages=_BATCH,
            WaitTimeSeconds=max(0, min(_LONG_POLL_SECONDS, int(seconds_left + 1))),
            VisibilityTimeout=int(self.quiet_seconds) + _VISIBILITY_MARGIN_SECONDS,
        )
        return answer.get("Messages", ())

    async def _delete(self, client: Any, messages: Sequence[Any]) -> None:
        if messages:
            entries = [
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ]
            await client.delete_message_batch(QueueUrl=self.queue_url, Entries=entries)


class _Rest:
    """Whether uploads have come to rest."""

    def __init__(self, quiet_seconds: float) -> None:
        self.uploads = 0
        self._quiet_seconds = quiet_seconds
        self._first = self._last = 0.0

    def uploaded(self, count: int, now: float) -> None:
        if not self.uploads:
            self._first = now
        self.uploads += count
        self._last = now

    def seconds_left(self, now: float) -> float:
        """Seconds until an event is due if nothing comes. Without an upload none is due: the longest wait."""
        if not self.uploads:
            return float(_LONG_POLL_SECONDS)
        rested = self._last + self._quiet_seconds
        latest = self._first + _MOST_QUIET_TIMES * self._quiet_seconds
        return min(rested, latest) - now
