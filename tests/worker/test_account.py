"""When a child gives up: only failures in a row of the bucket or the machine count."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from transcriber.account import GIVE_UP_AFTER, Account
from transcriber.delivery import Outcome
from transcriber.failures import RecordingFailed, TemporaryError
from transcription_contract.manifest import Recording


def started(account: Account, number: int) -> list[Recording]:
    """Recordings that the child has started."""
    uploaded = datetime(2026, 11, 20, tzinfo=UTC)
    recordings = [Recording(f"input/{index}.wav", "etag", 7, uploaded, False) for index in range(number)]
    for recording in recordings:
        account.started(recording)
    return recordings


def test_a_child_gives_up_after_several_failures_of_the_bucket_in_a_row() -> None:
    account = Account(9)
    for recording in started(account, GIVE_UP_AFTER):
        account.give_up_if_hopeless()
        account.failed(recording, TemporaryError("S3 is down"), "")
    with pytest.raises(TemporaryError, match="5 failures in a row, the last: S3 is down"):
        account.give_up_if_hopeless()


def test_a_failure_of_one_recording_ends_the_row() -> None:
    account = Account(9)
    failures = [TemporaryError("")] * (GIVE_UP_AFTER - 1) + [RecordingFailed("killed"), TemporaryError("")]
    for recording, failure in zip(started(account, len(failures)), failures, strict=True):
        account.failed(recording, failure, "")
    account.give_up_if_hopeless()


def test_failures_of_single_recordings_do_not_stop_the_child() -> None:
    account = Account(20)
    for recording in started(account, 2 * GIVE_UP_AFTER):
        account.failed(recording, RecordingFailed("killed"), "")
    account.give_up_if_hopeless()


def test_failures_reported_before_the_successes_between_them_are_not_in_a_row() -> None:
    account = Account(20)
    recordings = started(account, 2 * GIVE_UP_AFTER)
    for recording in recordings[1::2]:
        account.failed(recording, TemporaryError("S3 is down"), "")
    account.give_up_if_hopeless()
    for recording in recordings[::2]:
        account.ended(recording, Outcome.TRANSCRIBED)
    account.give_up_if_hopeless()


def test_failures_in_a_row_count_in_any_order_of_their_reports() -> None:
    account = Account(20)
    for recording in reversed(started(account, GIVE_UP_AFTER)):
        account.give_up_if_hopeless()
        account.failed(recording, TemporaryError("S3 is down"), "")
    with pytest.raises(TemporaryError, match="5 failures in a row"):
        account.give_up_if_hopeless()
