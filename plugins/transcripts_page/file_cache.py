"""Objects of the bucket as local files, one for each version, up to a number of bytes on disk."""

from __future__ import annotations

import os
import tempfile
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError


class FileCache:
    """Files of a folder that several processes may use at the same time: a file appears whole, under its ETag.

    Args:
        s3: A boto3 client of S3.
        bucket: Name of the bucket.
        folder: Where the files go. It is made if it does not exist.
        cap_bytes: The files that were not used for the longest time are deleted when all take more.
    """

    def __init__(self, s3: Any, bucket: str, folder: Path, cap_bytes: int) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._folder = folder
        self._cap_bytes = cap_bytes
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str, etag: str) -> Path | None:
        """The file of an object's version, downloaded if it is not there; None if the object has another ETag by now.

        Whoever opens the file keeps it open: it may be deleted at any time.
        """
        file = self._file(key, etag)
        try:
            os.utime(file)  # the time of its last use
        except FileNotFoundError:
            return file if self._download(key, etag, file) else None
        return file

    def drop(self, key: str, etag: str) -> None:
        """Delete the file of an object's version, if it is there: another version has taken its place."""
        self._file(key, etag).unlink(missing_ok=True)

    def _file(self, key: str, etag: str) -> Path:
        return self._folder / f"{sha256(key.encode()).hexdigest()[:24]}-{sha256(etag.encode()).hexdigest()[:16]}"

    def is_there(self, key: str) -> bool:
        """Whether the bucket has an object of this key now."""
        try:
            self._s3.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.NOT_FOUND:
                return False
            raise
        return True

    def _download(self, key: str, etag: str, file: Path) -> bool:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key, IfMatch=f'"{etag}"')
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (
                HTTPStatus.PRECONDITION_FAILED,
                HTTPStatus.NOT_FOUND,
            ):
                return False
            raise
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix="part-", delete=False) as part:
            try:
                for chunk in answer["Body"].iter_chunks(1 << 20):
                    part.write(chunk)
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise
        Path(part.name).replace(file)
        return True

    def trim(self) -> None:
        """Delete the files that were not used for the longest time, until all take no more than `cap_bytes`."""
        files = []
        for file in self._folder.iterdir():
            try:
                stat = file.stat()
            except FileNotFoundError:  # another process deleted it
                continue
            files.append((stat.st_mtime, stat.st_size, file))
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self._cap_bytes:
                return
            file.unlink(missing_ok=True)
            total -= size
