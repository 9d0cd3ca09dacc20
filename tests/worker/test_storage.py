"""What the worker asks of S3 beyond what its runs show."""

from __future__ import annotations

import io

import pytest

from tests.worker.harness import Bucket
from transcriber import storage
from transcriber.errors import ConfigError, Gone, Replaced


def test_added_metadata_find_room_even_if_the_users_fill_the_limit(bucket: Bucket) -> None:
    own = {"long": "x" * 1900, "short": "y"}
    line = bucket.put("call.wav", Metadata=own)
    s3 = storage.Bucket(bucket.name)
    added = {"source-etag": line["source_etag"], "uploaded": "2026-11-23T00:00:00+00:00", "more": "z" * 100}
    s3.copy(line["source_key"], s3.facts(line["source_key"]), "processed/call.wav", added)
    assert bucket.facts("processed/call.wav")["Metadata"] == {**added, "short": "y"}


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


def test_a_bucket_that_does_not_exist_is_no_case_for_a_retry() -> None:
    with pytest.raises(ConfigError, match="NoSuchBucket"):
        storage.Bucket("no-such-bucket-anywhere").read("child_job_input/run/0")
