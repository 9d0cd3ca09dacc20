"""What S3 says of an object, also if it has none."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError


def head(s3: Any, bucket: str, key: str, version: str = "") -> dict[str, Any] | None:
    """An object's facts and metadata, or None if there is no such object or version.

    Raises:
        botocore.exceptions.ClientError: S3 refuses it for another reason.
    """
    try:
        return s3.head_object(Bucket=bucket, Key=key, **({"VersionId": version} if version else {}))
    except ClientError as error:
        if is_absent(error):
            return None
        raise


def is_absent(error: ClientError) -> bool:
    """Whether the reason is that there is no such object or version."""
    # 400: S3 does not know the version id; 405: the version is a delete marker.
    return status(error) in (HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST, HTTPStatus.METHOD_NOT_ALLOWED)


def status(error: ClientError) -> int:
    """The status of S3's response."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
