"""Addresses to which a browser uploads a recording, straight to S3."""

from __future__ import annotations

from typing import Any

from transcription_contract import layout

UPLOAD_SECONDS = 300
"""An upload must start in this time; it may then take as long as it needs."""

MAX_BYTES = 5 * 1024**3
"""The most that one request may upload: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""


class UploadRefused(ValueError):
    """The file cannot be uploaded under this name. The message says why and what to do."""


def address(s3: Any, bucket: str, name: str, size: int, *, replace: bool) -> dict[str, Any]:
    """Where and how the browser puts a recording: `url` and the request's `headers`.

    Args:
        s3: A boto3 client of S3.
        bucket: Name of the audio bucket.
        name: The recording's name, see `layout.recording_name`.
        size: Of the file in bytes. S3 accepts no other size at this address.
        replace: Whether the upload may replace one of this name that waits.

    Raises:
        UploadRefused: the name or the size is not possible.
    """
    _check(name, size)
    wanted = {"Bucket": bucket, "Key": layout.INPUT + name, "ContentLength": size}
    headers = {}
    if not replace:
        wanted["IfNoneMatch"] = headers["If-None-Match"] = "*"
    url = s3.generate_presigned_url("put_object", Params=wanted, ExpiresIn=UPLOAD_SECONDS)
    return {"url": url, "headers": headers}


def _check(name: str, size: int) -> None:
    if not layout.is_audio(name):
        raise UploadRefused(
            f"{name!r} does not end in an audio or video extension such as .wav or .mp3. Rename the file."
        )
    if name.startswith("/") or "//" in name:
        raise UploadRefused(f"{name!r} has an empty folder name. Write folders as calls/2026.")
    excess = len(layout.error_key(name).encode()) - layout.MAX_KEY_BYTES  # the longest of its keys
    if excess > 0:
        raise UploadRefused(f"The name is {excess} bytes too long for S3. Shorten it, or choose a shorter folder.")
    if not 0 < size <= MAX_BYTES:
        raise UploadRefused(
            f"{name!r} has {size:,} bytes. A page can upload 1 byte to 5 GiB; "
            "upload larger files with the AWS command line: aws s3 cp."
        )
