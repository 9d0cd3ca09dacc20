"""The local S3 keeps to conditions and keys as S3 does, wherever moto alone does not."""

from __future__ import annotations

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
