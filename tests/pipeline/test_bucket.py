from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from transcription import planning
from transcription.bucket import Bucket
from transcription_contract import layout, manifest
from transcription_contract.manifest import Header, Recording

RUN, OTHER = "child_job_input/run-1/", "child_job_input/other-2/"
NOW = datetime.now(UTC)


@pytest.fixture
def bucket(empty_bucket: str) -> Bucket:
    return Bucket(empty_bucket)


def planned(bucket: Bucket, prefix: str = "input/") -> list[Recording]:
    return planning.manifest_lines(bucket.objects(prefix))[0]


def test_a_listing_has_every_key_once_in_key_order_whatever_its_name(put: Any, bucket: Bucket) -> None:
    names = [
        "",
        "a/",
        "a",
        "a b",
        "a-b.wav",
        "a/b",
        "a/b/c.wav",
        "a.wav",
        "A.wav",
        "%2F",
        "%2F/x.wav",
        "a+b",
        "ä/é.wav",
    ]
    names += ["b/\n.wav", "日本/話.wav", "😀.wav", "\uffee.wav", "a//b", "..", "z" * 1018]
    for name in reversed(names):
        put(f"input/{name}")
    put("inputs")
    put("input")
    assert [item.key for item in bucket.objects("input/")] == sorted(
        (f"input/{name}" for name in names), key=str.encode
    )
    assert [item.name for item in bucket.objects("input/a/")] == ["a/", "a//b", "a/b", "a/b/c.wav"]


def test_a_runs_manifests_come_back_line_by_line(put: Any, bucket: Bucket, keys: Any) -> None:
    for name in ("input/a b.wav", "input/c\n'$(id)'.wav", "input/ü.wav"):
        put(name)
    lines = planned(bucket)
    bucket.write_manifests(RUN, [manifest.to_bytes(Header(), lines[:1]), manifest.to_bytes(Header(), lines[1:])])
    assert keys("child_job_input/") == [f"{RUN}0", f"{RUN}1"]
    assert list(bucket.manifests(RUN)) == lines


def test_a_new_plan_of_a_run_leaves_none_of_its_earlier_manifests(bucket: Bucket, keys: Any) -> None:
    bucket.write_manifests(OTHER, [b""])
    bucket.write_manifests(RUN, [b""] * 12)
    bucket.write_manifests(RUN, [b""])
    assert keys("child_job_input/") == [f"{OTHER}0", f"{RUN}0"]


def test_more_than_a_thousand_keys_are_deleted(bucket: Bucket, keys: Any) -> None:
    bucket.write_manifests(RUN, [b""] * 1001)
    bucket.delete(RUN)
    assert keys() == []


@pytest.mark.parametrize(
    ("live", "fresh_since", "claims"),
    [
        ({"other-2"}, NOW + timedelta(hours=1), True),
        (set(), NOW - timedelta(hours=1), True),  # about to submit
        (set(), NOW + timedelta(hours=1), False),  # abandoned
        ({"run-1"}, NOW + timedelta(hours=1), False),
    ],
)
def test_only_a_live_or_fresh_run_claims_what_it_planned(
    put: Any, bucket: Bucket, caplog: Any, live: set[str], fresh_since: datetime, claims: bool
) -> None:
    put("input/a.wav")
    body = manifest.to_bytes(Header(), planned(bucket))
    bucket.write_manifests(RUN, [body])
    bucket.write_manifests(OTHER, [body])
    put(layout.PLAN_LOCK, b'{"run_id": "other"}')
    assert bucket.claimed_by_others(RUN, live, fresh_since) == ({"input/a.wav"} if claims else set())
    assert "cannot be read" not in caplog.text, "the lock is no manifest"


def test_each_planned_file_is_judged_by_what_lies_in_the_bucket(put: Any, bucket: Bucket, s3: Any) -> None:
    tags = {name: put(f"input/{name}.wav", name.encode()) for name in ("done", "bad", "new", "left", "gone", "empty")}
    lines = planned(bucket)
    for name in ("done", "empty"):
        put(f"processed/{name}.wav", **{"source-etag": tags[name]})
    put("output/done", b"text", **{"source-etag": tags["done"], "audio-seconds": "2"})
    put("output/empty", b"", **{"source-etag": tags["empty"]})
    put("failed/bad.wav", **{"source-etag": tags["bad"]})
    put("failed/bad.wav.error.json", b'{"source_etag": "%s", "reason": "It is empty."}' % tags["bad"].encode())
    put("input/new.wav", b"other content")
    for name in ("done", "bad", "gone", "empty"):
        s3.delete_object(Bucket=bucket.name, Key=f"input/{name}.wav")
    waiting = {item.key: item.etag for item in bucket.objects("input/")}
    states = {result.line.source_key: result.state for result in bucket.outcomes(lines, waiting, RUN)}
    assert states == {
        "input/done.wav": "transcribed",
        "input/bad.wav": "rejected",
        "input/new.wav": "replaced",
        "input/left.wav": "missing",
        "input/gone.wav": "missing",
        "input/empty.wav": "missing",  # an empty transcript is none
    }
