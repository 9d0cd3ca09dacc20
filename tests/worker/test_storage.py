"""Details of the worker's S3 calls."""

from __future__ import annotations

import io

import pytest

from tests.worker.harness import Bucket
from transcriber import storage
from transcriber.failures import Changed, ConfigError, Gone, Replaced


def test_added_metadata_replace_some_of_the_users_if_both_exceed_the_limit(bucket: Bucket) -> None:
    own = {"long": "x" * 1900, "short": "y"}
    line = bucket.put("call.wav", Metadata=own)
    s3 = storage.Bucket(bucket.name)
    added = {"source-etag": line["source_etag"], "uploaded": "2026-11-23T00:00:00+00:00", "more": "z" * 100}
    s3.copy(line["source_key"], s3.facts(line["source_key"]), "processed/call.wav", added)
    assert bucket.facts("processed/call.wav")["Metadata"] == {**added, "short": "y"}


def test_the_users_metadata_never_replace_added_metadata(bucket: Bucket) -> None:
    line = bucket.put("call.wav", Metadata={"source-etag": "theirs", "uploaded": "theirs", "speaker": "anna"})
    s3 = storage.Bucket(bucket.name)
    added = {"source-etag": line["source_etag"], "uploaded": "2026-11-23T00:00:00+00:00"}
    s3.copy(line["source_key"], s3.facts(line["source_key"]), "processed/call.wav", added)
    assert bucket.facts("processed/call.wav")["Metadata"] == {**added, "speaker": "anna"}


def test_a_copy_keeps_the_storage_class(bucket: Bucket) -> None:
    bucket.plan(
        bucket.put("call.wav", StorageClass="STANDARD_IA"), bucket.put("bad.wav", b"x", StorageClass="ONEZONE_IA")
    )
    assert bucket.run().code == 0
    assert bucket.facts("processed/call.wav")["StorageClass"] == "STANDARD_IA"
    assert bucket.facts("failed/bad.wav")["StorageClass"] == "ONEZONE_IA"


def test_a_write_fails_if_the_key_has_changed(bucket: Bucket) -> None:
    s3 = storage.Bucket(bucket.name)
    first = s3.put("output/a", b"1", "text/plain", {}, None)
    with pytest.raises(Changed):
        s3.put("output/a", b"2", "text/plain", {}, None)
    seen = s3.facts("output/a")
    assert seen.etag == first
    s3.put("output/a", b"2", "text/plain", {}, seen)
    with pytest.raises(Changed):
        s3.put("output/a", b"3", "text/plain", {}, seen)
    s3.delete("output/a", s3.facts("output/a").etag)
    with pytest.raises(Changed):
        s3.put("output/a", b"3", "text/plain", {}, seen)
    assert bucket.listing() == []


def test_only_the_version_that_was_planned_is_read_or_deleted(bucket: Bucket) -> None:
    line = bucket.put("call.wav")
    s3 = storage.Bucket(bucket.name)
    with pytest.raises(Replaced):
        s3.download(line["source_key"], "0" * 32, line["source_size"], io.BytesIO())
    with pytest.raises(Replaced):
        s3.download(line["source_key"], line["source_etag"], line["source_size"] - 1, io.BytesIO())
    with pytest.raises(Replaced):
        s3.delete(line["source_key"], "0" * 32)
    assert bucket.listing() == [line["source_key"]]
    s3.delete(line["source_key"], line["source_etag"])
    s3.delete(line["source_key"], line["source_etag"])
    assert bucket.listing() == []
    with pytest.raises(Gone):
        s3.download(line["source_key"], line["source_etag"], line["source_size"], io.BytesIO())


def test_a_missing_bucket_causes_no_retry() -> None:
    with pytest.raises(ConfigError, match="NoSuchBucket"):
        storage.Bucket("no-such-bucket-anywhere").download_newest("child_job_input/run/0", io.BytesIO())
