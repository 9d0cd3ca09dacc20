"""The local S3 handles conditions and keys like S3 where moto does not."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError


@pytest.fixture(scope="module")
def s3(aws: Any) -> Any:
    client = aws.client("s3")
    client.create_bucket(Bucket="keys")
    return client


@pytest.mark.parametrize("key", ["a\nb", "a b+c%2F&?#;.wav", "../up", "ü/é/\U0001f600", "quote\"'$(id)`", "x" * 1024])
def test_any_key_can_be_put_copied_listed_and_deleted(s3: Any, key: str) -> None:
    s3.put_object(Bucket="keys", Key=key, Body=b"content")
    s3.copy_object(Bucket="keys", Key="copy", CopySource={"Bucket": "keys", "Key": key})
    assert s3.get_object(Bucket="keys", Key="copy")["Body"].read() == b"content"
    assert sorted(item["Key"] for item in s3.list_objects_v2(Bucket="keys")["Contents"]) == sorted([key, "copy"])
    s3.delete_object(Bucket="keys", Key=key)
    s3.delete_object(Bucket="keys", Key="copy")
    assert "Contents" not in s3.list_objects_v2(Bucket="keys")


def test_a_conditional_copy_fails_if_the_source_was_replaced(s3: Any) -> None:
    old = s3.put_object(Bucket="keys", Key="talk;1?.wav", Body=b"old")["ETag"]
    source = {"Bucket": "keys", "Key": "talk;1?.wav"}
    s3.copy_object(Bucket="keys", Key="copy", CopySource=source, CopySourceIfMatch=old)
    s3.put_object(Bucket="keys", Key="talk;1?.wav", Body=b"new")
    with pytest.raises(ClientError) as refused:
        s3.copy_object(Bucket="keys", Key="copy", CopySource=source, CopySourceIfMatch=old)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket="keys", Key="copy")["Body"].read() == b"old"


def test_a_copy_can_require_that_its_target_does_not_exist(s3: Any) -> None:
    s3.put_object(Bucket="keys", Key="talk", Body=b"talk")
    copy = {"Bucket": "keys", "Key": "absent", "CopySource": {"Bucket": "keys", "Key": "talk"}, "IfNoneMatch": "*"}
    s3.copy_object(**copy)
    s3.put_object(Bucket="keys", Key="absent", Body=b"another")
    with pytest.raises(ClientError) as refused:
        s3.copy_object(**copy)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket="keys", Key="absent")["Body"].read() == b"another"


@pytest.mark.parametrize(("origin", "allowed"), [("http://127.0.0.1:8080", True), ("https://example.com", False)])
def test_a_page_may_upload_and_read_the_status_only_if_the_buckets_cors_rule_allows_it(
    s3: Any, origin: str, allowed: bool
) -> None:
    s3.create_bucket(Bucket="cors")
    rule = {"AllowedMethods": ["PUT"], "AllowedOrigins": ["http://127.0.0.1:*"], "AllowedHeaders": ["if-none-match"]}
    s3.put_bucket_cors(Bucket="cors", CORSConfiguration={"CORSRules": [rule]})
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "cors", "Key": "a", "IfNoneMatch": "*"})
    statuses = []
    for _ in range(2):  # the second one is refused, because the object exists
        headers = {"Origin": origin, "If-None-Match": "*"}
        request = urllib.request.Request(url, b"content", headers, method="PUT")
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        statuses.append(answer.status)
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert statuses == [200, 412]
    s3.delete_object(Bucket="cors", Key="a")
    s3.delete_bucket(Bucket="cors")


def test_a_conditional_deletion_fails_if_the_object_was_replaced(s3: Any) -> None:
    old = s3.put_object(Bucket="keys", Key="talk", Body=b"old")["ETag"]
    s3.put_object(Bucket="keys", Key="talk", Body=b"new")
    with pytest.raises(ClientError) as refused:
        s3.delete_object(Bucket="keys", Key="talk", IfMatch=old)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


@pytest.mark.parametrize("storage", ["GLACIER", "DEEP_ARCHIVE"])
def test_an_archived_object_can_be_read_and_copied_only_after_it_is_restored(s3: Any, storage: str) -> None:
    archived = {"Bucket": "keys", "Key": f"archive/{storage} ü.wav"}
    s3.put_object(**archived, Body=b"content", StorageClass=storage)
    for call in (
        lambda: s3.get_object(**archived),
        lambda: s3.copy_object(Bucket="keys", Key="y", CopySource=archived),
    ):
        with pytest.raises(ClientError, match=r"InvalidObjectState|ObjectNotInActiveTier") as refused:
            call()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert s3.head_object(**archived)["StorageClass"] == storage

    def listed() -> Any:
        [item] = s3.list_objects_v2(Bucket="keys", Prefix=archived["Key"], OptionalObjectAttributes=["RestoreStatus"])[
            "Contents"
        ]
        assert item["StorageClass"] == storage
        return item.get("RestoreStatus")

    assert listed() is None
    s3.restore_object(**archived, RestoreRequest={"Days": 1})
    assert listed()["RestoreExpiryDate"]
    assert s3.get_object(**archived)["Body"].read() == b"content"
    s3.copy_object(Bucket="keys", Key="archive/copy", CopySource=archived)


@pytest.fixture
def slow_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every write wait between the check of its condition and the write."""
    from moto.s3.models import S3Backend

    for name in ("put_object", "delete_object"):
        real = getattr(S3Backend, name)

        def delayed(*args: Any, real: Any = real, **kwargs: Any) -> Any:
            time.sleep(0.05)
            return real(*args, **kwargs)

        monkeypatch.setattr(S3Backend, name, delayed)


def successes_of_eight(call: Callable[[int], Any]) -> int:
    """Make eight calls at the same time. Return how many succeed. The others must fail because of their condition."""

    def attempt(number: int) -> bool:
        try:
            call(number)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (404, 412):
                raise
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(attempt, range(8)))


def test_of_many_conditional_writes_at_the_same_time_only_one_succeeds(s3: Any, slow_writes: None) -> None:
    lock = {"Bucket": "keys", "Key": "lock"}
    assert successes_of_eight(lambda number: s3.put_object(**lock, Body=f"new {number}", IfNoneMatch="*")) == 1
    old = s3.head_object(**lock)["ETag"]
    assert successes_of_eight(lambda number: s3.put_object(**lock, Body=f"next {number}", IfMatch=old)) == 1
    last = s3.head_object(**lock)["ETag"]
    assert successes_of_eight(lambda number: s3.delete_object(**lock, IfMatch=last)) == 1
    assert successes_of_eight(lambda number: s3.put_object(**lock, Body=b"", IfMatch=last)) == 0
