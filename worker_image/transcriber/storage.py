"""The bucket: the few S3 calls that the worker makes, each with the conditions that keep recordings safe."""

from __future__ import annotations

import errno
import io
import random
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from .errors import ConfigError, Gone, Replaced, TemporaryError

CONNECTIONS = 32
BLOCK = 1 << 18
READ_ATTEMPTS = 6  # of a body that breaks off; botocore itself retries only until the first byte
WHOLE_COPY_BYTES = 5 * 1000**3  # CopyObject takes no more than 5 GB
PART_BYTES = 512 << 20  # of a larger copy
MAX_PARTS = 10_000  # S3's limit
PARTS_AT_ONCE = 8
USER_METADATA_BYTES = 2048  # S3's limit
# What a copy with new metadata would lose otherwise.
KEPT_HEADERS = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "StorageClass",
)  # fmt: skip
GONE_CODES = ("NoSuchKey", "NoSuchVersion", "404")
REPLACED_CODES = ("PreconditionFailed", "412")
PERMANENT_STATUSES = (400, 401, 403, 404, 405)
# But for these, which a new attempt cures. An upload is gone, too, if the answer to its completion was lost.
EXPIRED_CODES = ("ExpiredToken", "RequestTimeTooSkewed", "RequestTimeout", "SlowDown", "NoSuchUpload")


@dataclass(frozen=True)
class ObjectFacts:
    """What S3 says of one version of an object."""

    etag: str  # without quotes
    size: int  # bytes
    metadata: dict[str, str]
    headers: dict[str, Any]  # KEPT_HEADERS as arguments of a copy
    version: str | None  # by which it can be read after it was overwritten; None: the bucket keeps no versions


class Bucket:
    """One bucket, usable from any number of threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._open_copies: list[dict[str, str]] = []  # multipart uploads, as arguments of their calls
        try:
            self._client = boto3.client(
                "s3",
                config=Config(
                    retries={"mode": "standard", "max_attempts": 8},
                    connect_timeout=10,
                    read_timeout=60,
                    max_pool_connections=CONNECTIONS,
                    tcp_keepalive=True,
                ),
            )
        except (BotoCoreError, ValueError) as error:
            raise ConfigError(f"The AWS settings cannot be used: {error}") from error

    def read(self, key: str) -> bytes:
        """A whole small object. Raises Gone if there is none."""
        memory = io.BytesIO()
        self._download(self.name, key, None, memory)
        return memory.getvalue()

    def facts(self, key: str) -> ObjectFacts:
        """Raises Gone if there is no such object."""
        with _meaning_of_errors(f"looking at {key!r}"):
            return _facts(self._client.head_object(Bucket=self.name, Key=key))

    def download(self, key: str, etag: str, size: int, target: BinaryIO) -> ObjectFacts:
        """Read this version of an object, of so many bytes; a read that breaks off goes on where it stopped.

        Raises:
            Gone, Replaced: there is no object, or it is another one by now.
        """
        return self._download(self.name, key, etag, target, size)

    def put(self, key: str, body: bytes, content_type: str, metadata: Mapping[str, str]) -> None:
        with _meaning_of_errors(f"writing {key!r}"):
            self._client.put_object(
                Bucket=self.name, Key=key, Body=body, ContentType=content_type, Metadata=dict(metadata)
            )

    def copy(self, key: str, facts: ObjectFacts, target: str, added: Mapping[str, str]) -> None:
        """Copy exactly this version, with its tags, its own metadata and what is added.

        Raises:
            Gone, Replaced: there is no object, or it is another one by now; then there is no copy.
        """
        version = {"CopySource": {"Bucket": self.name, "Key": key}, "CopySourceIfMatch": _quoted(facts.etag)}
        described = {**facts.headers, "Metadata": _merged(facts.metadata, added)}
        with _meaning_of_errors(f"copying {key!r}"):
            if facts.size <= WHOLE_COPY_BYTES:
                self._client.copy_object(
                    Bucket=self.name, Key=target, MetadataDirective="REPLACE", **version, **described
                )
            else:
                described.update(self._tagging(key))
                self._copy_in_parts(version, facts.size, target, described)

    def _tagging(self, key: str) -> dict[str, str]:
        """An object's tags as the argument of an upload: no part carries them."""
        tags = self._client.get_object_tagging(Bucket=self.name, Key=key)["TagSet"]
        pairs = urlencode({tag["Key"]: tag["Value"] for tag in tags}, quote_via=quote)
        return {"Tagging": pairs} if pairs else {}

    def _copy_in_parts(self, version: dict[str, Any], size: int, target: str, described: dict[str, Any]) -> None:
        """Every part asks for the version, so the parts of two never make one object."""
        place = {"Bucket": self.name, "Key": target}
        upload_id = self._client.create_multipart_upload(**place, **described)["UploadId"]
        copy = {**place, "UploadId": upload_id}
        self._open_copies.append(copy)

        def copy_part(numbered: tuple[int, str]) -> dict[str, Any]:
            number, part = numbered
            answer = self._client.upload_part_copy(**copy, **version, PartNumber=number, CopySourceRange=part)
            return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

        try:
            with ThreadPoolExecutor(PARTS_AT_ONCE, "copy") as threads:
                parts = list(threads.map(copy_part, enumerate(_ranges(size), start=1)))
            self._client.complete_multipart_upload(**copy, MultipartUpload={"Parts": parts}, MpuObjectSize=size)
        except BaseException:
            self._abort(copy)
            raise
        finally:
            self._open_copies.remove(copy)

    def abort_copies(self) -> None:
        """Abort copies that are being made, since this process ends; S3 would keep their parts for days."""
        for copy in list(self._open_copies):
            self._abort(copy)

    def _abort(self, copy: Mapping[str, str]) -> None:
        with suppress(ClientError, BotoCoreError):  # the bucket's lifecycle rule removes what is left
            self._client.abort_multipart_upload(**copy)

    def delete(self, key: str, etag: str) -> None:
        """Delete this version of an object, if it is still there.

        Raises:
            Replaced: another one is there by now.
        """
        with _meaning_of_errors(f"deleting {key!r}"):
            try:
                self._client.delete_object(Bucket=self.name, Key=key, IfMatch=_quoted(etag))
            except ClientError as error:
                if error.response["Error"]["Code"] not in GONE_CODES:
                    raise

    def fetch_object(self, uri: str, path: Path) -> None:
        """Download s3://bucket/key, of any bucket that the job may read.

        Raises:
            ConfigError: there is no such object.
        """
        place = urlsplit(uri, allow_fragments=False)
        bucket, key = place.netloc, uri[len(f"s3://{place.netloc}/") :]
        try:
            if not bucket or not key:
                raise Gone
            with _meaning_of_errors(f"reading {uri}"):
                facts = _facts(self._client.head_object(Bucket=bucket, Key=key))
            with path.open("wb") as file:
                self._download(bucket, key, facts.etag, file)
        except Gone as error:
            raise ConfigError(f"There is no object {uri}") from error
        except Replaced as error:
            raise TemporaryError(f"{uri} was replaced while it was read") from error

    def _download(
        self, bucket: str, key: str, etag: str | None, target: BinaryIO, size: int | None = None
    ) -> ObjectFacts:
        """Read one version of an object: the one that is there, if etag is None."""
        start = target.tell()
        for attempt in range(1, READ_ATTEMPTS + 1):
            have = target.tell() - start
            rest = {"Range": f"bytes={have}-"} if have else {}
            version = {"IfMatch": _quoted(etag)} if etag else {}
            with _meaning_of_errors(f"reading {key!r}"):
                answer = self._client.get_object(Bucket=bucket, Key=key, **version, **rest)
                etag = answer["ETag"].strip('"')
                if size not in (None, answer["ContentLength"] + have):  # room was made for another size
                    raise Replaced(key)
                try:
                    for block in answer["Body"].iter_chunks(BLOCK):
                        target.write(block)
                    return _facts(answer, size=target.tell() - start)
                except BotoCoreError:
                    if attempt == READ_ATTEMPTS:
                        raise
            time.sleep(random.uniform(0, min(20, 0.2 * 2**attempt)))  # noqa: S311
        raise AssertionError("not reached")


def _quoted(etag: str) -> str:
    """An ETag as a header's value: with its quotes (RFC 9110, 8.8.3)."""
    return f'"{etag}"'


def _ranges(size: int) -> Iterator[str]:
    """The parts of an object of so many bytes, as headers' values."""
    part = max(PART_BYTES, -(-size // MAX_PARTS))
    for start in range(0, size, part):
        yield f"bytes={start}-{min(start + part, size) - 1}"


def _facts(answer: Mapping[str, Any], size: int | None = None) -> ObjectFacts:
    return ObjectFacts(
        etag=answer["ETag"].strip('"'),
        size=answer["ContentLength"] if size is None else size,
        metadata=answer["Metadata"],
        headers={name: answer[name] for name in KEPT_HEADERS if answer.get(name)},
        version=None if answer.get("VersionId") == "null" else answer.get("VersionId"),
    )


def _merged(own: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """The object's own metadata as far as S3's limit leaves room for what is added."""
    merged = dict(added)
    room = USER_METADATA_BYTES - sum(map(_size, added.items()))
    for entry in own.items():
        if entry[0] not in merged and _size(entry) <= room:
            merged[entry[0]] = entry[1]
            room -= _size(entry)
    return merged


def _size(entry: tuple[str, str]) -> int:
    return len(entry[0].encode()) + len(entry[1].encode())


@contextmanager
def _meaning_of_errors(what: str) -> Iterator[None]:
    """Turn what botocore raises after its own retries into what it means for the recording or the job."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in REPLACED_CODES:
            raise Replaced(what) from error
        if code in GONE_CODES:
            raise Gone(what) from error
        if status in PERMANENT_STATUSES and code not in EXPIRED_CODES:
            raise ConfigError(f"S3 refuses {what}: {error}") from error
        raise TemporaryError(f"S3 fails at {what}: {error}") from error
    except NoCredentialsError as error:
        raise ConfigError(f"{what} needs AWS credentials, and there are none") from error
    except BotoCoreError as error:
        raise TemporaryError(f"S3 fails at {what}: {error}") from error
    except OSError as error:
        raise TemporaryError(_disk_reason(error)) from error


def _disk_reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"The scratch space is full ({error.strerror}). Give the containers more (scratch_gib)"
    return f"The machine fails: {error}"
