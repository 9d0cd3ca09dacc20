from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from transcription.bucket import Bucket
from transcription.planning import StoredObject, Unplanned
from transcription.selection import Interval, Selection

DAY = Interval(start=datetime(2026, 11, 20, 1, tzinfo=UTC), end=datetime(2026, 11, 21, 1, tzinfo=UTC))
SECOND = timedelta(seconds=1)


@pytest.fixture
def bucket(empty_bucket: str) -> Bucket:
    return Bucket(empty_bucket)


def taken(selection: Selection, bucket: Bucket, **arguments: Any) -> list[str]:
    return [item.key for item in selection.objects(bucket, **arguments) if isinstance(item, StoredObject)]


def test_a_run_takes_every_recording_under_input_and_names_what_it_leaves(put: Any, bucket: Bucket) -> None:
    for key in ("input/", "input/sub/", "input/a.wav", "input/sub/b c.MP3", "input/notes.txt", "processed/old.wav"):
        put(key, b"")
    items = list(Selection().objects(bucket))
    assert [item.key for item in items if isinstance(item, StoredObject)] == ["input/a.wav", "input/sub/b c.MP3"]
    assert [item.key for item in items if isinstance(item, Unplanned)] == ["input/notes.txt"]


def test_a_run_takes_more_recordings_than_one_page_of_a_listing_holds(put: Any, bucket: Bucket) -> None:
    names = [f"input/{number:04}.wav" for number in range(1005)]
    for name in names:
        put(name)
    assert taken(Selection(), bucket) == names


def test_a_prefix_limits_the_run_to_a_folder(put: Any, bucket: Bucket) -> None:
    for key in ("input/a.wav", "input/calls/b.wav", "input/calls2/c.wav"):
        put(key)
    assert taken(Selection(prefix="calls/"), bucket) == ["input/calls/b.wav"]


def test_a_recording_that_another_run_has_in_hand_is_left_to_it(put: Any, bucket: Bucket) -> None:
    put("input/a.wav")
    put("input/b.wav")
    items = list(Selection().objects(bucket, claimed={"input/a.wav"}))
    assert items[0] == Unplanned("input/a.wav", "another run is at it")
    assert items[1].key == "input/b.wav"


def test_a_backfill_takes_what_was_uploaded_in_its_interval_and_still_waits(put: Any, bucket: Bucket) -> None:
    put("input/before.wav", modified=DAY.start - SECOND)
    put("input/first.wav", modified=DAY.start)
    put("input/last.wav", modified=DAY.end - SECOND)
    put("input/after.wav", modified=DAY.end)
    assert taken(Selection(interval=DAY), bucket) == ["input/first.wav", "input/last.wav"]
    assert len(taken(Selection(), bucket)) == 4


def test_a_backfill_takes_what_was_processed_since_by_its_upload_time(put: Any, bucket: Bucket) -> None:
    inside, outside = (moment.isoformat() for moment in (DAY.start, DAY.end))
    put("processed/in.wav", modified=DAY.end + timedelta(days=3), uploaded=inside)
    put("processed/out.wav", modified=DAY.end + timedelta(days=3))
    put("processed/kept.wav", modified=DAY.start + SECOND)  # without metadata: by the time it was moved
    bucket_client = bucket._s3
    bucket_client.copy_object(
        Bucket=bucket.name,
        Key="processed/late.wav",
        CopySource={"Bucket": bucket.name, "Key": "processed/in.wav"},
        Metadata={"uploaded": outside},
        MetadataDirective="REPLACE",
    )
    assert taken(Selection(interval=DAY), bucket) == ["processed/in.wav", "processed/kept.wav"]
    assert taken(Selection(), bucket) == []


def test_a_new_upload_goes_before_the_processed_recording_of_the_same_name(put: Any, bucket: Bucket) -> None:
    put("input/a.wav", modified=DAY.start)
    put("processed/a.wav", modified=DAY.start)
    assert taken(Selection(interval=DAY), bucket) == ["input/a.wav"]


def test_a_processed_recording_that_another_run_has_in_hand_is_left_to_it(put: Any, bucket: Bucket) -> None:
    put("processed/a.wav", modified=DAY.start)
    assert taken(Selection(interval=DAY), bucket, claimed={"processed/a.wav"}) == []
