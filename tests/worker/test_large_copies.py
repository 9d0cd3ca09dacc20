"""An object that is too large for one CopyObject call is copied in parts, all of the same version."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker.harness import SHORT, SOURCES, TEXTS, Bucket, ended, recording
from tests.worker.proxy import Call, Proxy, proxied
from tests.worker.sounds import RATE, speech, wav
from transcriber import storage
from transcriber.failures import Replaced, TemporaryError

PART = 5 << 20  # S3's minimum, except for the last part
CONTENT = np.random.default_rng(5).bytes(2 * PART + 1000)
ADDED = {"source-etag": "abc"}
TAGS = [{"Key": "project", "Value": "a = b + c"}, {"Key": "kept: for", "Value": "10 @ years"}]


@pytest.fixture
def fault(endpoint: str) -> Iterator[tuple[Proxy, str]]:
    with proxied(endpoint) as running:
        yield running


@pytest.fixture
def large(bucket: Bucket, fault: Any, monkeypatch: pytest.MonkeyPatch) -> storage.Bucket:
    """The worker's class for the bucket. It copies objects from 5 MiB in parts."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", fault[1])
    monkeypatch.setattr(storage, "WHOLE_COPY_BYTES", PART)
    monkeypatch.setattr(storage, "PART_BYTES", PART)
    return storage.Bucket(bucket.name)


def open_uploads(bucket: Bucket) -> list[Any]:
    found: list[Any] = bucket.s3.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
    return found


def parts(proxy: Proxy) -> int:
    return proxy.steps().count("copy")


def test_content_metadata_and_tags_are_kept(bucket: Bucket, large: storage.Bucket, fault: Any) -> None:
    bucket.put("talk.mp3", CONTENT, ContentType="audio/mpeg", Metadata={"speaker": "anna"}, CacheControl="no-store")
    bucket.s3.put_object_tagging(Bucket=bucket.name, Key="input/talk.mp3", Tagging={"TagSet": TAGS})
    large.copy("input/talk.mp3", large.facts("input/talk.mp3"), "processed/talk.mp3", ADDED)
    assert parts(fault[0]) == 3
    assert bucket.read("processed/talk.mp3") == CONTENT
    facts = bucket.facts("processed/talk.mp3")
    assert (facts["ContentType"], facts["CacheControl"]) == ("audio/mpeg", "no-store")
    assert facts["Metadata"] == {"speaker": "anna", "source-etag": "abc"}
    assert bucket.s3.get_object_tagging(Bucket=bucket.name, Key="processed/talk.mp3")["TagSet"] == TAGS
    assert open_uploads(bucket) == []


def test_the_parts_cover_the_largest_object_within_s3s_limits() -> None:
    for size in (storage.WHOLE_COPY_BYTES + 1, 50 * 1000**4):
        spans = [tuple(map(int, span.removeprefix("bytes=").split("-"))) for span in storage._ranges(size)]
        assert [start for start, _ in spans] == [0, *(end + 1 for _, end in spans[:-1])]
        assert spans[-1][1] == size - 1
        assert len(spans) <= 10_000
        assert max(end + 1 - start for start, end in spans) <= 5 << 30


def test_a_source_replaced_between_two_parts_is_not_copied(
    bucket: Bucket, large: storage.Bucket, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "PARTS_AT_ONCE", 1)
    proxy, _ = fault
    bucket.put("talk.wav", CONTENT)

    def replace(call: Call) -> None:
        if call.step == "copy" and parts(proxy) == 1:
            bucket.put("talk.wav", bytes(len(CONTENT)))

    proxy.after = replace
    with pytest.raises(Replaced):
        large.copy("input/talk.wav", large.facts("input/talk.wav"), "processed/talk.wav", ADDED)
    assert parts(proxy) > 1
    assert bucket.listing() == ["input/talk.wav"]
    assert open_uploads(bucket) == []


@pytest.mark.parametrize("step", ["copy", "post processed"])
def test_a_copy_that_fails_is_aborted(step: str, bucket: Bucket, large: storage.Bucket, fault: Any) -> None:
    proxy, _ = fault
    bucket.put("talk.wav", CONTENT)

    def fail(call: Call) -> int | None:  # a part, or the completion
        return 501 if call.step == step and "copy" in proxy.steps()[:-1] else None

    proxy.before = fail
    with pytest.raises(TemporaryError):
        large.copy("input/talk.wav", large.facts("input/talk.wav"), "processed/talk.wav", ADDED)
    assert bucket.listing() == ["input/talk.wav"]
    assert open_uploads(bucket) == []


# Python runs this before the worker, which then copies objects from 5 MiB in parts.
HOOK = f"""
from transcriber import pipeline, storage
storage.WHOLE_COPY_BYTES = storage.PART_BYTES = {PART}
pipeline.GRACE_SECONDS = 1
"""


@pytest.fixture
def call(bucket: Bucket, fault: Any, tmp_path: Path) -> dict[str, str]:
    """A planned recording of three parts, and the settings of the worker."""
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    bucket.plan(bucket.put("call.wav", wav(np.concatenate([speech(SHORT), np.zeros(340 * RATE, np.int16)]))))
    return {"AWS_ENDPOINT_URL": fault[1], "PYTHONPATH": f"{tmp_path}:{SOURCES}"}


def test_a_large_recording_replaced_between_two_parts_stays_for_the_next_run(
    bucket: Bucket, fault: Any, call: dict[str, str]
) -> None:
    proxy, _ = fault
    replacements = [recording("vm-leavemsg.wav")]

    def replace(seen: Call) -> None:
        if seen.step == "copy" and replacements:
            bucket.put("call.wav", replacements.pop())

    proxy.before = replace
    run = bucket.run(**call)
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "replaced"}), run
    assert bucket.listing() == ["input/call.wav", "output/call"]
    assert bucket.read("input/call.wav") == recording("vm-leavemsg.wav")
    assert open_uploads(bucket) == []
    proxy.before = lambda seen: None
    bucket.plan(bucket.put("call.wav", recording("vm-leavemsg.wav")))
    assert bucket.run(**call).code == 0
    assert bucket.text("output/call") == TEXTS["vm-leavemsg.wav"]
    assert bucket.read("processed/call.wav") == recording("vm-leavemsg.wav")


@pytest.mark.parametrize(("signum", "code", "left"), [(signal.SIGTERM, 75, 0), (signal.SIGKILL, -signal.SIGKILL, 1)])
def test_the_next_worker_completes_a_copy_that_a_signal_interrupted(
    signum: signal.Signals, code: int, left: int, bucket: Bucket, fault: Any, call: dict[str, str]
) -> None:
    proxy, _ = fault
    whole = bucket.read("input/call.wav")
    with bucket.worker(**call) as worker:

        def stop(seen: Call) -> int | None:
            if seen.step != "copy":
                return None
            worker.send_signal(signum)
            return 503  # at every attempt, until the grace period has ended

        proxy.before = stop
        assert ended(worker).code == code
    assert bucket.listing() == ["input/call.wav", "output/call"]
    assert len(open_uploads(bucket)) == left, "the bucket's lifecycle rule deletes the upload of a killed worker"
    made = bucket.facts("output/call")["LastModified"]
    proxy.before = lambda seen: None
    assert bucket.run(**call).code == 0
    assert bucket.listing() == ["output/call", "processed/call.wav"]
    assert bucket.facts("output/call")["LastModified"] == made, "the recording was transcribed twice"
    assert bucket.read("processed/call.wav") == whole
