"""The worker's S3 calls, each with the conditions that keep recordings safe."""

from __future__ import annotations

import errno
import io
import os
import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

import boto3
from boto3.compat import filter_python_deprecation_warnings
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from .failures import Changed, ConfigError, Gone, Refused, Replaced, TemporaryError

CONNECTIONS = 32
BLOCK = 1 << 18
READ_ATTEMPTS = 6  # for a truncated body; botocore itself retries only before the first byte
WHOLE_COPY_BYTES = 5 * 1000**3  # limit of CopyObject
PART_BYTES = 512 << 20  # size of a part of a larger copy
MAX_PARTS = 10_000  # S3's limit
PARTS_AT_ONCE = 8
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
USER_METADATA_BYTES = 2048  # S3's limit
# A copy with new metadata must repeat these headers, or it loses them.
KEPT_HEADERS = (
    "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "StorageClass",
)  # fmt: skip
GONE_CODES = ("NoSuchKey", "NoSuchVersion", "404")
REPLACED_CODES = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
REFUSED_STATUSES = (400, 401, 403, 404, 405)
# Errors that a new attempt can fix. NoSuchUpload follows a lost response to the completion of an upload.
EXPIRED_CODES = ("ExpiredToken", "RequestTimeTooSkewed", "RequestTimeout", "SlowDown", "NoSuchUpload")
# Denials that concern every call and every object.
ACCOUNT_CODES = (
    "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthorizationHeaderMalformed",
    "AccountProblem", "AllAccessDisabled", "NotSignedUp",
)  # fmt: skip


@dataclass(frozen=True)
class ObjectFacts:
    """The facts about one version of an object."""

    etag: str  # without quotes
    size: int  # bytes
    metadata: dict[str, str]
    headers: dict[str, Any]  # KEPT_HEADERS, as arguments of a copy
    version: str | None  # version id, or None in a bucket without versioning


class Bucket:
    """One bucket, usable from any number of threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._open_copies: list[dict[str, str]] = []  # unfinished multipart uploads, as arguments of calls
        filter_python_deprecation_warnings()  # DeepSpeech's wheels end at Python 3.9
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

    def read(self, key: str, etag: str) -> bytes:
        """Read this version of a small object.

        Raises:
            Changed: it is no longer there.
        """
        memory = io.BytesIO()
        try:
            self._download(self.name, key, etag, memory)
        except (Gone, Replaced) as error:
            raise Changed(key) from error
        return memory.getvalue()

    def facts(self, key: str) -> ObjectFacts:
        """The object's facts. Raises Gone if the object does not exist."""
        with _meaning_of_errors(f"looking at {key!r}"):
            return _facts(self._client.head_object(Bucket=self.name, Key=key))

    def find(self, key: str) -> ObjectFacts | None:
        """The object's facts, or None if the object does not exist."""
        try:
            return self.facts(key)
        except Gone:
            return None

    def probe(self, key: str) -> None:
        """Begin to read an object, and read its tags. Raises Refused if S3 denies one of these calls."""
        with _meaning_of_errors(f"reading {key!r}"):
            self._client.get_object(Bucket=self.name, Key=key)["Body"].close()
            self._client.get_object_tagging(Bucket=self.name, Key=key)

    def download_newest(self, key: str, target: BinaryIO) -> None:
        """Read the current version of an object. Raises Gone if the object does not exist."""
        self._download(self.name, key, None, target)

    def download(self, key: str, etag: str, size: int, target: BinaryIO) -> ObjectFacts:
        """Read this version of an object. A truncated read continues at the same position.

        Raises:
            Gone, Replaced: there is no object, or it is another one by now.
        """
        return self._download(self.name, key, etag, target, size)

    def put(
        self, key: str, body: bytes, content_type: str, metadata: Mapping[str, str], seen: ObjectFacts | None
    ) -> str:
        """Write an object and return its ETag, if the key has not changed since it was read.

        Raises:
            Changed: it is not. Perhaps the write succeeded, its answer was lost, and the SDK repeated it.
        """
        condition = {"IfMatch": _quoted(seen.etag)} if seen else {"IfNoneMatch": "*"}
        described = {"ContentType": content_type, "Metadata": dict(metadata)}
        try:
            with _meaning_of_errors(f"writing {key!r}"):
                answer = self._client.put_object(Bucket=self.name, Key=key, Body=body, **described, **condition)
        except (Gone, Replaced) as error:
            raise Changed(key) from error
        etag: str = answer["ETag"]
        return etag.strip('"')

    def copy(self, key: str, facts: ObjectFacts, target: str, added: Mapping[str, str]) -> None:
        """Copy exactly this version, with its tags, its own metadata and the added metadata.

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
        """An object's tags as the argument of a multipart upload, because copies of parts have no tags."""
        tags = self._client.get_object_tagging(Bucket=self.name, Key=key)["TagSet"]
        pairs = urlencode({tag["Key"]: tag["Value"] for tag in tags}, quote_via=quote)
        return {"Tagging": pairs} if pairs else {}

    def _copy_in_parts(self, version: dict[str, Any], size: int, target: str, described: dict[str, Any]) -> None:
        """Copy part by part. Every part requires the version, so no object has parts of two versions."""
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
        """Abort unfinished copies before this process ends; S3 would keep their parts for days."""
        for copy in list(self._open_copies):
            self._abort(copy)

    def _abort(self, copy: Mapping[str, str]) -> None:
        with suppress(ClientError, BotoCoreError):  # the bucket's lifecycle rule deletes the rest
            self._client.abort_multipart_upload(**copy)

    def delete(self, key: str, etag: str) -> None:
        """Delete this version of an object, if it still exists.

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
        """Download s3://bucket/key from any bucket that the job may read.

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
            with scratch_space(), path.open("wb") as file:
                self._download(bucket, key, facts.etag, file)
        except Gone as error:
            raise ConfigError(f"There is no object {uri}") from error
        except Replaced as error:
            raise TemporaryError(f"{uri} was replaced while it was read") from error

    def _download(
        self, bucket: str, key: str, etag: str | None, target: BinaryIO, size: int | None = None
    ) -> ObjectFacts:
        """Read this version of an object, or the current version if etag is None."""
        start = target.tell()
        for attempt in range(1, READ_ATTEMPTS + 1):
            have = target.tell() - start
            rest = {"Range": f"bytes={have}-"} if have else {}
            version = {"IfMatch": _quoted(etag)} if etag else {}
            with _meaning_of_errors(f"reading {key!r}"):
                answer = self._client.get_object(Bucket=bucket, Key=key, **version, **rest)
                etag = answer["ETag"].strip('"')
                # The planned size decided whether the audio goes to memory or to disk.
                if size not in (None, answer["ContentLength"] + have):
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
    """An ETag with quotes, as a header's value (RFC 9110, 8.8.3)."""
    return f'"{etag}"'


def _ranges(size: int) -> Iterator[str]:
    """The byte ranges of an object's parts, as headers' values."""
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
    """The added metadata, and as many of the object's as S3's limit allows. Added entries have priority."""
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
def scratch_folder() -> Iterator[Path]:
    """A new folder in TMPDIR, deleted at the end.

    Raises:
        ConfigError: TMPDIR cannot be written.
        TemporaryError: the disk fails.
    """
    place = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    try:
        folder = tempfile.TemporaryDirectory(prefix="transcriber-", dir=place)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise TemporaryError(_disk_reason(error)) from error
        raise ConfigError(
            f"The scratch folder {place} cannot be written ({error.strerror}). Mount a volume there that the user "
            f"{os.geteuid()} may write, or set TMPDIR to another folder"
        ) from error
    with folder as name:
        yield Path(name)


@contextmanager
def scratch_space() -> Iterator[None]:
    """Turn a failure to write a local file, or to close it, into a TemporaryError."""
    try:
        yield
    except OSError as error:
        raise TemporaryError(_disk_reason(error)) from error


@contextmanager
def _meaning_of_errors(what: str) -> Iterator[None]:
    """Translate botocore's exceptions, raised after its retries, to those of failures.py."""
    try:
        yield
    except ClientError as error:
        code = error.response["Error"]["Code"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if code in REPLACED_CODES:
            raise Replaced(what) from error
        if code in GONE_CODES:
            raise Gone(what) from error
        if code in ACCOUNT_CODES:
            raise ConfigError(f"S3 refuses {what}: {error}") from error
        if status in REFUSED_STATUSES and code not in EXPIRED_CODES:
            raise Refused(what, code, error.response["Error"].get("Message", "")) from error
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
