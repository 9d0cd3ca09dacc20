from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.plans import planned
from transcription import accounting
from transcription.bucket import Bucket
from transcription.claims import DURATION
from transcription.selection import Interval, Selection
from transcription_contract import layout, manifest
from transcription_contract.manifest import Header
from transcription_contract.results import ErrorDocument

RUN, OTHER = "child_job_input/run-1/", "child_job_input/other-2/"


@pytest.fixture
def bucket(empty_bucket: str) -> Bucket:
    return Bucket(empty_bucket)


def test_a_listing_has_every_key_once_in_key_order(put: Any, bucket: Bucket) -> None:
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
    assert [item.key for item in bucket.listing("input/")] == sorted(
        (f"input/{name}" for name in names), key=str.encode
    )
    assert [item.name for item in bucket.listing("input/a/")] == ["a/", "a//b", "a/b", "a/b/c.wav"]


def test_a_runs_manifests_are_read_line_by_line(put: Any, bucket: Bucket, keys: Any) -> None:
    for name in ("input/a b.wav", "input/c\n'$(id)'.wav", "input/ü.wav"):
        put(name)
    lines = planned(bucket.listing("input/"))
    bucket.write_manifests(RUN, [manifest.to_bytes(Header(), lines[:1]), manifest.to_bytes(Header(), lines[1:])])
    assert keys("child_job_input/") == [f"{RUN}0", f"{RUN}1"]
    assert list(bucket.planned_recordings(RUN)) == lines


def test_a_new_plan_of_a_run_deletes_the_earlier_manifests(bucket: Bucket, keys: Any) -> None:
    bucket.write_manifests(OTHER, [b""])
    bucket.write_manifests(RUN, [b""] * 12)
    bucket.write_manifests(RUN, [b""])
    assert keys("child_job_input/") == [f"{OTHER}0", f"{RUN}0"]


def test_more_than_a_thousand_keys_are_deleted(bucket: Bucket, keys: Any) -> None:
    bucket.write_manifests(RUN, [b""] * 1001)
    bucket.delete(RUN)
    assert keys() == []


@pytest.mark.parametrize(
    ("live", "minutes_ago", "claims"),
    [
        ({"other-2"}, 60, True),
        (set(), 9, True),  # the run may be about to submit its job
        (set(), 11, False),  # abandoned
        ({"run-1"}, 60, False),
    ],
)
def test_only_a_run_with_an_active_job_or_recent_manifests_claims_its_recordings(
    put: Any, bucket: Bucket, caplog: Any, live: set[str], minutes_ago: int, claims: bool
) -> None:
    put("input/sub/a.wav")
    body = manifest.to_bytes(Header(), planned(bucket.listing("input/")))
    put(f"{RUN}0", body)
    written = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes_ago)
    put(f"{OTHER}0", body, modified=written)
    put(layout.PLAN_LOCK, b'{"run_id": "other"}')
    found = bucket.claims_of_others(RUN, live)
    assert found.runs == ({"sub/a.wav": "other-2"} if claims else {})
    assert found.ends == ({"other-2": written + DURATION} if claims and not live else {})
    assert found.stems == ({"output/sub/a"} if claims else set())
    assert "cannot be read" not in caplog.text, "the lock must not be read as a manifest"


def test_a_malformed_manifest_of_another_run_claims_nothing(put: Any, bucket: Bucket, caplog: Any) -> None:
    put(f"{OTHER}0", b"{}")
    assert bucket.claims_of_others(RUN, {"other-2"}).runs == {}
    assert "no recording is lost" in caplog.text


def test_the_outcome_of_each_planned_recording_depends_on_the_bucket(put: Any, bucket: Bucket, s3: Any) -> None:
    names = ("done", "done.whole", "bad", "new", "left", "gone", "empty", "archived", "strangers", "twin")
    tags = {name: put(f"input/{name}.wav", name.encode()) for name in names}
    recordings = planned(bucket.listing("input/"))
    uploaded = {item.name.removesuffix(".wav"): item.uploaded.isoformat() for item in recordings}

    def owner(name: str) -> dict[str, str]:
        return {"recording": f"{name}.wav", "source-etag": tags[name], "uploaded": uploaded[name]}

    for name in ("done", "done.whole", "empty", "strangers", "twin"):
        put(f"processed/{name}.wav", **owner(name))
    put("output/done", b"text", **owner("done"), **{"audio-seconds": "2"})
    put("output/done.whole", b"text", **owner("done"))  # another recording has the shorter key
    put("output/done.whole.wav", b"text", **owner("done.whole"))
    put("output/empty", b"", **owner("empty"))
    put("output/strangers", b"a person's own text")
    put("output/twin", b"text", **{**owner("twin"), "recording": "twin.mp3"})  # the same content under another name
    put("failed/bad.wav", **owner("bad"))
    for name, code in (("bad", "no-speech"), ("archived", "unreadable")):
        document = ErrorDocument(code, "Because.", "", f"input/{name}.wav", tags[name], uploaded[name], RUN)
        put(f"failed/{name}.wav.error.json", document.to_bytes())
    put("input/new.wav", b"other content")
    for name in ("done", "done.whole", "bad", "gone", "empty", "strangers", "twin"):
        s3.delete_object(Bucket=bucket.name, Key=f"input/{name}.wav")

    waiting = {item.key: item for item in bucket.listing("input/")}
    failed = {item.key for item in bucket.listing("failed/")}
    outcomes = [
        accounting.outcome(item, found, RUN)
        for (_, item), found in bucket.evidence(((0, item) for item in recordings), waiting, failed)
    ]
    assert {item.recording.name.removesuffix(".wav"): item.state for item in outcomes} == {
        "done": "transcribed",
        "done.whole": "transcribed",
        "bad": "rejected",
        "archived": "rejected",
        "new": "replaced",
        "left": "missing",
        "gone": "missing",
        "empty": "missing",  # an empty transcript does not count
        "strangers": "missing",  # nor does a user's own file
        "twin": "missing",  # nor does another recording's transcript
    }
    assert [item.transcript.key for item in outcomes if item.transcript] == ["output/done", "output/done.whole.wav"]


def test_a_backfill_chooses_from_what_was_processed_since_by_its_upload_time(put: Any, bucket: Bucket) -> None:
    start, end = datetime(2026, 11, 20, 1, tzinfo=UTC), datetime(2026, 11, 21, 1, tzinfo=UTC)
    later = end + timedelta(days=3)
    put("processed/in.wav", modified=later, uploaded=start.isoformat())
    put("processed/out.wav", modified=later, uploaded=end.isoformat())
    put("processed/edited.wav", modified=start, uploaded="some time")  # then the time of the move counts
    put("processed/before.wav", modified=start - timedelta(seconds=1))
    put("processed/notes.txt", modified=start)
    selection = Selection(interval=Interval(start=start, end=end), again=True)
    chosen = [item.key for item in selection.choose(*bucket.selected(selection))]
    assert chosen == ["processed/edited.wav", "processed/in.wav"]
    assert list(Selection().choose(*bucket.selected(Selection()))) == []
