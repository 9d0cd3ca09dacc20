"""Put a rejected recording back into `input/`, so that a run takes it once more. Nothing is overwritten or deleted.

The worker deletes what is in `failed/` when the recording is transcribed, or replaces it when it is rejected again.
"""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import Any

from botocore.exceptions import ClientError

from transcription_contract import layout
from transcription_contract.results import Owner, ReportEntry
from transcripts_page import s3_objects

MAX_COPY_BYTES = 5 * 1000**3
"""The most that S3 copies at once: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html"""


class PutBack(StrEnum):
    """What became of an attempt to put a recording back."""

    DONE = "done"
    """It waits in `input/`."""
    WAITS = "waits"
    """An upload of this name waits there already: this one if S3 refused it to the worker, or another one."""
    GONE = "gone"
    """The rejected upload is no longer in the bucket."""
    TOO_LARGE = "too-large"
    """S3 cannot copy it at once: copy it with the AWS command line."""


def put_back(s3: Any, bucket: str, entry: ReportEntry) -> PutBack:
    """Copy the rejected upload that a report names from `failed/` to `input/`, unless an upload waits there.

    Args:
        s3: A boto3 client of S3.
        bucket: Name of the audio bucket.
        entry: The recording in the report.

    Raises:
        botocore.exceptions.ClientError: S3 refuses it.
    """
    failed, waiting = layout.failed_key(entry.name), layout.INPUT + entry.name
    if s3_objects.head(s3, bucket, waiting):
        return PutBack.WAITS
    found = s3_objects.head(s3, bucket, failed)
    if found is None or Owner.of(found["Metadata"]).etag != entry.source_etag:
        return PutBack.GONE
    if found["ContentLength"] > MAX_COPY_BYTES:
        return PutBack.TOO_LARGE
    try:
        s3.copy_object(
            Bucket=bucket,
            Key=waiting,
            CopySource={"Bucket": bucket, "Key": failed},
            CopySourceIfMatch=found["ETag"],
            IfNoneMatch="*",
        )
    except ClientError as error:
        if s3_objects.status(error) not in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
            raise
        return PutBack.WAITS if s3_objects.head(s3, bucket, waiting) else PutBack.GONE
    return PutBack.DONE
