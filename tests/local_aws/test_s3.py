"""The local S3 keeps to conditions and keys as S3 does, wherever moto alone does not."""

from __future__ import annotations

import time
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


def test_a_copy_of_a_source_that_was_replaced_is_refused(s3: Any) -> None:
    old = s3.put_object(Bucket="keys", Key="talk;1?.wav", Body=b"old")["ETag"]
    source = {"Bucket": "keys", "Key": "talk;1?.wav"}
    s3.copy_object(Bucket="keys", Key="copy", CopySource=source, CopySourceIfMatch=old)
    s3.put_object(Bucket="keys", Key="talk;1?.wav", Body=b"new")
    with pytest.raises(ClientError) as refused:
        s3.copy_object(Bucket="keys", Key="copy", CopySource=source, CopySourceIfMatch=old)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket="keys", Key="copy")["Body"].read() == b"old"


def test_a_deletion_of_an_object_that_was_replaced_is_refused(s3: Any) -> None:
    old = s3.put_object(Bucket="keys", Key="talk", Body=b"old")["ETag"]
    s3.put_object(Bucket="keys", Key="talk", Body=b"new")
    with pytest.raises(ClientError) as refused:
        s3.delete_object(Bucket="keys", Key="talk", IfMatch=old)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412


@pytest.fixture
def slow_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write dwells between its condition and its deed."""
    from moto.s3.models import S3Backend

    for name in ("put_object", "delete_object"):
        real = getattr(S3Backend, name)

        def dwelling(*args: Any, real: Any = real, **kwargs: Any) -> Any:
            time.sleep(0.05)
            return real(*args, **kwargs)

        monkeypatch.setattr(S3Backend, name, dwelling)


def done_at_once(call: Callable[[int], Any]) -> int:
    """How many of eight calls at the same time are done; the others must be refused for their condition."""

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


def test_of_many_that_create_replace_or_delete_an_object_on_a_condition_one_does(s3: Any, slow_writes: None) -> None:
    lock = {"Bucket": "keys", "Key": "lock"}
    assert done_at_once(lambda number: s3.put_object(**lock, Body=f"new {number}", IfNoneMatch="*")) == 1
    old = s3.head_object(**lock)["ETag"]
    assert done_at_once(lambda number: s3.put_object(**lock, Body=f"next {number}", IfMatch=old)) == 1
    last = s3.head_object(**lock)["ETag"]
    assert done_at_once(lambda number: s3.delete_object(**lock, IfMatch=last)) == 1
    assert done_at_once(lambda number: s3.put_object(**lock, Body=b"", IfMatch=last)) == 0
