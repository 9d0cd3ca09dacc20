"""The lock for planning. Runs plan one after the other, so that no two plan the same recordings.

It is an object of the bucket, which says whose it is. S3 itself decides who gets it, keeps it and removes it: each of
these is a write on the condition that the object is absent, or still the one that was seen.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from transcription.errors import PlanLockLost
from transcription_contract import layout

log = logging.getLogger(__name__)

_RENEW_SECONDS = 30.0  # time between two renewals
_ABANDONED_SECONDS = 300.0  # a lock that was not renewed for longer is abandoned
_LOOK_SECONDS = 2.0  # time between two looks at another run's lock

_REFUSED = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The lock object in the bucket."""

    etag: str
    run_id: str
    token: str
    age: float
    """Seconds since the last write, by S3's clock."""


class PlanLock:
    """Holds the lock within a `with` block. A thread renews it.

    A run that finds the lock taken waits for it. It takes over an abandoned lock, and at once a lock that an earlier
    attempt of the same run left behind. So a run can lose the lock to another run that considers it dead: see `renew`.

    Args:
        client: A boto3 client of S3.
        bucket: Name of the audio bucket.
        run_id: The run that takes the lock.
    """

    def __init__(self, client: Any, bucket: str, run_id: str) -> None:
        self._s3 = client
        self._object = {"Bucket": bucket, "Key": layout.PLAN_LOCK}
        self._run_id = run_id
        self._token = secrets.token_hex(16)
        self._etag = ""
        self._awaited = ""
        self._renewing = threading.Lock()
        self._released = threading.Event()
        self._renewer = threading.Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        while not self._take():
            time.sleep(_LOOK_SECONDS)
        self._renewer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._renewer.join()
        try:
            self._s3.delete_object(**self._object, IfMatch=self._etag)
        except (ClientError, BotoCoreError) as failure:  # the plan is valid nevertheless
            if not _is_refusal(failure):
                log.warning(
                    "The lock %s could not be removed (%s); other runs wait until it is %.0f s old.",
                    layout.PLAN_LOCK,
                    failure,
                    _ABANDONED_SECONDS,
                )

    def renew(self) -> None:
        """Put the lock anew, so that it is known to be held from now on for `_ABANDONED_SECONDS`.

        Raises:
            PlanLockLost: it is another's, or gone.
        """
        with self._renewing:
            if not self._put(IfMatch=self._etag):
                raise PlanLockLost(
                    f"The lock {layout.PLAN_LOCK} is no longer this attempt's: it was not renewed for "
                    f"{_ABANDONED_SECONDS:.0f} s and another run took it over, or a newer attempt of the same run did, "
                    "or somebody removed it. Nothing is lost; Airflow tries again."
                )

    def _keep(self) -> None:
        """Renew the lock until it is released or lost. The holder notices the loss at its next `renew`."""
        while not self._released.wait(_RENEW_SECONDS):
            try:
                self.renew()
            except PlanLockLost:
                return
            except (ClientError, BotoCoreError) as failure:
                log.warning("The lock %s could not be renewed: %s", layout.PLAN_LOCK, failure)

    def _take(self) -> bool:
        """Try once to get the lock."""
        if self._put(IfNoneMatch="*"):
            return True
        seen = self._look()
        if seen is None:  # another run has just released it
            return False
        if seen.run_id == self._run_id or seen.age > _ABANDONED_SECONDS:
            log.warning("Taking over the lock that run %r left %.0f s ago.", seen.run_id, seen.age)
            return self._put(IfMatch=seen.etag)
        if seen.token != self._awaited:
            log.info("Run %r is planning: waiting until it has, so that no recording is planned twice.", seen.run_id)
            self._awaited = seen.token
        return False

    def _put(self, **condition: str) -> bool:
        """Write the lock on this condition. Return False if another run has it."""
        # The time changes the ETag at every renewal, so a run that read the earlier object cannot take over the lock.
        body = json.dumps({"run_id": self._run_id, "token": self._token, "time": datetime.now(UTC).isoformat()})
        try:
            self._etag = self._s3.put_object(
                **self._object, Body=body.encode(), ContentType="application/json", **condition
            )["ETag"]
        except ClientError as error:
            if not _is_refusal(error):
                raise
            # botocore may have sent the request twice, because the response to the first one was lost.
            seen = self._look()
            if seen is None or seen.token != self._token:
                return False
            self._etag = seen.etag
        return True

    def _look(self) -> _Seen | None:
        try:
            answer = self._s3.get_object(**self._object)
        except self._s3.exceptions.NoSuchKey:
            return None
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        try:
            said = json.loads(answer["Body"].read())
            run_id, token = str(said["run_id"]), str(said["token"])
        except (ValueError, KeyError, TypeError):  # not written by a pipeline; it counts as a lock until it is old
            run_id, token = "of unknown name", answer["ETag"]
        return _Seen(answer["ETag"], run_id, token, (now - answer["LastModified"]).total_seconds())


def _is_refusal(error: Exception) -> bool:
    """Whether a write failed because of its condition."""
    return isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] in _REFUSED
