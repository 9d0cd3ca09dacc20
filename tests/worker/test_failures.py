"""An unreadable recording does not affect the others. A transcription deletes the recording's old error document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.worker.harness import Bucket, recording
from tests.worker.proxy import Call, Proxy, proxied

OLD = "2026-01-01T00:00:00+00:00"
FUTURE = "2036-01-01T00:00:00+00:00"
OTHER = "vm-leavemsg.wav"


@pytest.fixture
def fault(endpoint: str) -> Iterator[tuple[Proxy, str]]:
    with proxied(endpoint) as running:
        yield running


def failed(bucket: Bucket, name: str, etag: str, uploaded: str) -> None:
    """Create a rejected version and its error document."""
    metadata = {"source-etag": etag, "uploaded": uploaded}
    for key in (f"failed/{name}", f"failed/{name}.error.json"):
        bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=b"{}", Metadata=metadata)


def test_unreadable_recordings_stay_with_a_reason_and_the_others_are_transcribed(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    archived = [bucket.put(f"archived-{n}.wav", StorageClass="GLACIER") for n in range(5)]
    foreign = [bucket.put(f"foreign-{n}.wav") for n in range(5)]
    good = [bucket.put(f"good-{n}.wav") for n in range(3)]
    proxy.before = lambda call: (
        (403, "KMS.DisabledException") if call.step == "get input" and "foreign" in call.key else None
    )
    bucket.plan(*archived, *foreign, *good)
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 0, run
    for line in (*archived, *foreign):
        assert run.outcomes()[line["source_key"]] == "unreadable"
        name = line["source_key"].removeprefix("input/")
        assert line["source_key"] in bucket.listing(), "the audio must stay in input/"
        assert f"failed/{name}" not in bucket.listing()
        assert bucket.reason(name)["code"] == "unreadable"
        metadata = bucket.facts(f"failed/{name}.error.json")["Metadata"]
        assert metadata["recording"] == name
        assert (metadata["source-etag"], metadata["uploaded"]) == (line["source_etag"], line["uploaded"])
        assert {"run", "settings"} <= metadata.keys()
    assert "InvalidObjectState" in bucket.reason("archived-0.wav")["reason"]
    assert "Restore it" in bucket.reason("archived-0.wav")["reason"]
    assert "KMS key" in bucket.reason("foreign-0.wav")["reason"]
    assert [run.outcomes()[line["source_key"]] for line in good] == ["transcribed"] * 3


def test_a_recording_whose_head_request_s3_denies_is_unreadable(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    refused = ("head input", "get input")
    proxy.before = lambda call: (403, "AccessDenied") if call.step in refused and "call" in call.key else None
    bucket.plan(bucket.put("call.wav"), bucket.put("good.wav"))
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "unreadable", "input/good.wav": "transcribed"})
    assert "AccessDenied" in bucket.reason("call.wav")["reason"]
    assert "policies" in bucket.reason("call.wav")["reason"]


def test_a_recording_archived_after_its_transcription_is_unreadable(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    line = bucket.put("call.wav")

    def archive(call: Call) -> None:
        if call.step == "copy":
            bucket.put("call.wav", StorageClass="GLACIER")

    proxy.before = archive
    bucket.plan(line)
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "unreadable"})
    assert bucket.reason("call.wav")["code"] == "unreadable"


def test_a_denied_write_of_a_copy_is_a_failure_of_the_bucket(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    proxy.before = lambda call: (403, "AccessDenied") if call.step == "copy" else None
    bucket.plan(bucket.put("call.wav"))
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert (run.code, run.outcomes()) == (78, {"input/call.wav": "failed"})
    assert not [key for key in bucket.listing() if key.startswith("failed/")]


def test_an_unreadable_recording_that_was_replaced_gets_no_document(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav", StorageClass="GLACIER"))

    def replace(call: Call) -> None:
        if call.step == "head input":
            bucket.put("call.wav", recording(OTHER))

    proxy.before = replace
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "replaced"})
    assert bucket.listing() == ["input/call.wav"]


def deleted(bucket: Bucket) -> dict[str, Any]:
    """A planned recording that was deleted."""
    line = bucket.put("call.wav")
    bucket.s3.delete_object(Bucket=bucket.name, Key="input/call.wav")
    bucket.plan(line)
    return line


def test_a_vanished_recording_gets_a_document(bucket: Bucket) -> None:
    line = deleted(bucket)
    run = bucket.run()
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "vanished"})
    assert bucket.reason("call.wav")["code"] == "vanished"
    assert bucket.facts("failed/call.wav.error.json")["Metadata"]["source-etag"] == line["source_etag"]


def test_a_vanished_recording_that_was_rejected_is_rejected(bucket: Bucket) -> None:
    line = deleted(bucket)
    failed(bucket, "call.wav", line["source_etag"], line["uploaded"])
    assert bucket.run().outcomes() == {"input/call.wav": "rejected"}


@pytest.mark.parametrize("newer", ["processed/call.wav", "output/call", "output/call.wav"])
def test_a_vanished_recording_with_a_newer_version_is_replaced(newer: str, bucket: Bucket) -> None:
    deleted(bucket)
    bucket.put_output(newer, "call.wav", "newer", FUTURE)
    assert bucket.run().outcomes() == {"input/call.wav": "replaced"}
    assert bucket.listing() == [newer]


def test_a_vanished_recording_is_not_replaced_by_a_namesake(bucket: Bucket) -> None:
    deleted(bucket)
    bucket.put_output("output/call", "call.mp3", "other", FUTURE)
    assert bucket.run().outcomes() == {"input/call.wav": "vanished"}


def test_a_vanished_recording_whose_content_was_processed_is_transcribed(bucket: Bucket) -> None:
    """The same content, uploaded twice: the second upload has a later time and the same ETag."""
    first = bucket.put("call.wav")
    bucket.plan({**first, "uploaded": FUTURE})
    assert bucket.run().code == 0
    bucket.plan(first)
    assert bucket.run().outcomes() == {"input/call.wav": "transcribed"}


def test_an_error_document_of_a_newer_upload_stays(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav", b"no sound at all"))
    failed(bucket, "call.wav", "newer", FUTURE)
    run = bucket.run()
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "replaced"})
    assert bucket.read("failed/call.wav.error.json") == b"{}"


@pytest.mark.parametrize("folder", ["input/", "processed/"])
def test_the_error_document_of_an_older_upload_is_deleted_after_the_transcription(folder: str, bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav", folder=folder))
    failed(bucket, "call.wav", "older", OLD)
    assert bucket.run().code == 0
    assert bucket.listing() == ["output/call", "processed/call.wav"]


def test_the_error_document_of_the_same_version_is_deleted_after_its_transcription(bucket: Bucket) -> None:
    line = bucket.put("call.wav")
    bucket.plan(line)
    failed(bucket, "call.wav", line["source_etag"], line["uploaded"])
    assert bucket.run().code == 0
    assert bucket.listing() == ["output/call", "processed/call.wav"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"source-etag": "newer", "uploaded": FUTURE},
        {"source-etag": "other"},
        {},
        {"source-etag": "other", "uploaded": "yesterday"},
    ],
)
def test_the_error_document_of_a_newer_or_unknown_upload_stays(metadata: dict[str, str], bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav"))
    for key in ("failed/call.wav", "failed/call.wav.error.json"):
        bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=b"{}", Metadata=metadata)
    assert bucket.run().code == 0
    assert {"failed/call.wav", "failed/call.wav.error.json"} < {*bucket.listing()}


def test_the_error_document_is_one_flat_object(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav", b"no sound at all"))
    assert bucket.run().code == 0
    document = json.loads(bucket.read("failed/call.wav.error.json"))
    assert (document["schema"], document["code"], document["model"]["name"]) == (2, "not-audio", "asterisk-en")


# Which failures stop the child.


def test_a_bucket_that_refuses_all_writes_stops_the_child_after_five_failures(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    proxy.before = lambda call: (403, "AccessDenied") if call.step == "put output" else None
    bucket.plan(*(bucket.put(f"{number:02}.wav") for number in range(60)))
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 78, run
    assert "Giving up after" in run.reason()
    assert "AccessDenied" in run.reason()
    assert len(run.outcomes()) < 60


def test_failures_that_are_not_in_a_row_do_not_stop_the_child(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    proxy.before = lambda call: 501 if call.step == "put output" and "bad" in call.key else None
    names = [name for n in range(10) for name in (f"bad-{n}.wav", f"good-{n}.wav", f"fine-{n}.wav")]
    bucket.plan(*(bucket.put(name) for name in names))
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 75
    assert len(run.outcomes()) == 30


def test_mixed_failures_end_with_the_code_for_a_retry(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault

    def fail(call: Call) -> Any:
        if call.step == "put output":
            return {"output/down": 501, "output/denied": (403, "AccessDenied")}.get(call.key)
        return None

    proxy.before = fail
    bucket.plan(*(bucket.put(f"{name}.wav") for name in ("down", "denied", "good")))
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 75
    assert [*run.outcomes().values()].count("failed") == 2


@pytest.mark.parametrize("code", ["ExpiredToken", "RequestTimeTooSkewed"])
def test_expired_credentials_and_a_wrong_clock_cause_a_retry(code: str, bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav"), bucket.put("good.wav"))
    status = 400 if code == "ExpiredToken" else 403
    proxy.before = lambda call: (
        (status, code) if call.step in ("get input", "put output") and "call" in call.key else None
    )
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 75, run
    assert run.outcomes() == {"input/call.wav": "failed", "input/good.wav": "transcribed"}
    assert "input/call.wav" in bucket.listing()
    assert not [key for key in bucket.listing() if key.startswith("failed/")]
