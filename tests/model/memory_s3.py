"""A small S3 in memory. It has the boto3 methods that the pipeline calls, with S3's conditions, errors and versions.

An unknown argument or another bucket raises an error. Each method first calls the process's gate. There a test can
pause or kill the process, or repeat the call. https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

START = datetime(2026, 11, 20, 1, tzinfo=UTC)
PAGE_KEYS = 3  # keys per page of a listing; few, so that other processes can act between two pages
HEADERS = frozenset(
    {"CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType", "StorageClass"}
)

Gate = Callable[[str, str], bool]
"""Called before each call with its operation and key. True repeats the call, as after a lost response."""


class NoSuchKey(ClientError):  # type: ignore[misc]
    """The class `client.exceptions.NoSuchKey`."""


@dataclass
class Clock:
    """A clock that only the tests advance."""

    now: datetime = START

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object."""

    key: str
    number: int
    """Its position in the order of all writes."""
    body: bytes
    etag: str
    """Without quotes."""
    metadata: Mapping[str, str]
    headers: Mapping[str, str]
    modified: datetime
    writer: str
    """The name of the process that wrote it, or `user`."""
    deleted: bool = False
    """Whether it is a delete marker."""

    @property
    def version_id(self) -> str:
        return f"v{self.number}"


@dataclass
class Store:
    """The content of a bucket with versioning. All clients share it."""

    clock: Clock
    name: str = "audio"
    current: dict[str, Version] = field(default_factory=dict)
    history: dict[str, list[Version]] = field(default_factory=dict)
    """All versions of each key in order, including delete markers."""
    denied: set[str] = field(default_factory=set)
    """Keys whose content S3 does not return, as if archived."""
    number: int = 0
    _keys: list[str] = field(default_factory=list)

    def put(
        self, key: str, body: bytes, *, writer: str, metadata: Mapping[str, str], headers: Mapping[str, str]
    ) -> Version:
        """Write a version unconditionally."""
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return self._add(key, body, etag, metadata, headers, writer)

    def delete(self, key: str, *, writer: str) -> None:
        """Delete an object: add a delete marker, if the object exists."""
        if key in self.current:
            del self.current[key]
            self._keys.remove(key)
            self._append(Version(key, self._next(), b"", "", {}, {}, self._current_second(), writer, deleted=True))

    def keys(self, prefix: str, after: str, limit: int) -> list[str]:
        """The next keys of a listing."""
        first = bisect.bisect_left(self._keys, prefix) if after < prefix else bisect.bisect_right(self._keys, after)
        found = []
        for key in self._keys[first : first + limit]:
            if not key.startswith(prefix):
                break
            found.append(key)
        return found

    def versions(self, key: str) -> list[Version]:
        return self.history.get(key, [])

    def _add(
        self, key: str, body: bytes, etag: str, metadata: Mapping[str, str], headers: Mapping[str, str], writer: str
    ) -> Version:
        version = Version(key, self._next(), body, etag, dict(metadata), dict(headers), self._current_second(), writer)
        if key not in self.current:
            bisect.insort(self._keys, key)
        self.current[key] = version
        return self._append(version)

    def _append(self, version: Version) -> Version:
        self.history.setdefault(version.key, []).append(version)
        return version

    def _next(self) -> int:
        self.number += 1
        return self.number

    def _current_second(self) -> datetime:
        """The current time in whole seconds, like S3's times."""
        return self.clock.now.replace(microsecond=0)


class Body:
    """The body of a response."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, amount: int | None = None) -> bytes:
        amount = len(self._content) if amount is None else amount
        block, self._content = self._content[:amount], self._content[amount:]
        return block

    def iter_chunks(self, chunk_size: int = 1024) -> Iterator[bytes]:
        while block := self.read(chunk_size):
            yield block

    def iter_lines(self, chunk_size: int = 1024, keepends: bool = False) -> Iterator[bytes]:
        del chunk_size
        yield from self.read().splitlines(keepends)

    def close(self) -> None:
        """Do nothing; there is no connection."""

    def __iter__(self) -> Iterator[bytes]:
        return self.iter_chunks()


class S3Client:
    """The return value of `boto3.client("s3")` for one process.

    Args:
        store: The bucket.
        writer: The process's name, for the versions that it writes.
        gate: Called before each call.
    """

    exceptions = SimpleNamespace(NoSuchKey=NoSuchKey, ClientError=ClientError)

    def __init__(self, store: Store, writer: str = "test", gate: Gate = lambda operation, key: False) -> None:
        self._store = store
        self._writer = writer
        self._gate = gate

    def put_object(self, **arguments: Any) -> dict[str, Any]:
        request = _checked_arguments(
            "PutObject", arguments, {"Bucket", "Key", "Body"}, {"Metadata", "IfMatch", "IfNoneMatch", *HEADERS}
        )
        body = request.get("Body", b"")
        body = body.read() if hasattr(body, "read") else bytes(body)

        def put() -> dict[str, Any]:
            self._check_destination("PutObject", request)
            return self._write_response(self._put(request, body, request.get("Metadata", {})))

        return self._call("PutObject", request, put)

    def upload_fileobj(
        self,
        Fileobj: Any,
        Bucket: str,
        Key: str,
        ExtraArgs: Mapping[str, Any] | None = None,
    ) -> None:
        self.put_object(Bucket=Bucket, Key=Key, Body=Fileobj.read(), **(ExtraArgs or {}))

    def download_fileobj(self, Bucket: str, Key: str, Fileobj: Any) -> None:
        Fileobj.write(self.get_object(Bucket=Bucket, Key=Key)["Body"].read())

    def get_object(self, **arguments: Any) -> dict[str, Any]:
        request = _checked_arguments("GetObject", arguments, {"Bucket", "Key"}, {"IfMatch", "Range", "VersionId"})

        def get() -> dict[str, Any]:
            found = self._found("GetObject", request, "NoSuchKey")
            if request["Key"] in self._store.denied:
                raise _error("GetObject", "InvalidObjectState", 403, "The object is archived.")
            if "IfMatch" in request and request["IfMatch"].strip('"') != found.etag:
                raise _error("GetObject", "PreconditionFailed", 412)
            content = _range(found.body, request.get("Range"))
            return {**self._object_response(found, len(content)), "Body": Body(content)}

        return self._call("GetObject", request, get)

    def head_object(self, **arguments: Any) -> dict[str, Any]:
        request = _checked_arguments("HeadObject", arguments, {"Bucket", "Key"}, {"VersionId"})

        def head() -> dict[str, Any]:
            found = self._found("HeadObject", request, "404")
            return self._object_response(found, len(found.body))

        return self._call("HeadObject", request, head)

    def copy_object(self, **arguments: Any) -> dict[str, Any]:
        allowed = {"CopySourceIfMatch", "MetadataDirective", "Metadata", "IfMatch", "IfNoneMatch", *HEADERS}
        request = _checked_arguments("CopyObject", arguments, {"Bucket", "Key", "CopySource"}, allowed)
        copy_source = request["CopySource"]

        def copy() -> dict[str, Any]:
            source = self._found("CopyObject", copy_source, "NoSuchKey")
            if copy_source["Key"] in self._store.denied:
                raise _error("CopyObject", "InvalidObjectState", 403, "The object is archived.")
            if "CopySourceIfMatch" in request and request["CopySourceIfMatch"].strip('"') != source.etag:
                raise _error("CopyObject", "PreconditionFailed", 412)
            self._check_destination("CopyObject", request)
            if request.get("MetadataDirective", "COPY") == "REPLACE":
                version = self._put(request, source.body, request.get("Metadata", {}))
            else:
                version = self._store.put(
                    request["Key"], source.body, writer=self._writer, metadata=source.metadata, headers=source.headers
                )
            return {**self._write_response(version), "CopyObjectResult": {"ETag": f'"{version.etag}"'}}

        return self._call("CopyObject", request, copy)

    def delete_object(self, **arguments: Any) -> dict[str, Any]:
        request = _checked_arguments("DeleteObject", arguments, {"Bucket", "Key"}, {"IfMatch"})

        def delete() -> dict[str, Any]:
            existing = self._store.current.get(request["Key"])
            if existing and "IfMatch" in request and request["IfMatch"].strip('"') != existing.etag:
                raise _error("DeleteObject", "PreconditionFailed", 412)
            self._store.delete(request["Key"], writer=self._writer)
            return self._response(204)

        return self._call("DeleteObject", request, delete)

    def delete_objects(self, **arguments: Any) -> dict[str, Any]:
        request = _checked_arguments("DeleteObjects", arguments, {"Bucket", "Delete"}, set())

        def delete() -> dict[str, Any]:
            for item in request["Delete"]["Objects"]:
                existing = self._store.current.get(item["Key"])
                if set(item) - {"Key", "ETag"}:
                    raise TypeError(f"DeleteObjects: {item}")
                if existing and item.get("ETag", existing.etag).strip('"') == existing.etag:
                    self._store.delete(item["Key"], writer=self._writer)
            return self._response(200)

        return self._call("DeleteObjects", request, delete, request["Delete"]["Objects"][0]["Key"])

    def get_object_tagging(self, **arguments: Any) -> dict[str, Any]:
        request = _checked_arguments("GetObjectTagging", arguments, {"Bucket", "Key"}, set())

        def tags() -> dict[str, Any]:
            self._found("GetObjectTagging", request, "NoSuchKey")
            return {**self._response(200), "TagSet": []}

        return self._call("GetObjectTagging", request, tags)

    def list_objects_v2(self, **arguments: Any) -> dict[str, Any]:
        optional = {"Prefix", "StartAfter", "ContinuationToken", "MaxKeys", "OptionalObjectAttributes"}
        request = _checked_arguments("ListObjectsV2", arguments, {"Bucket"}, optional)
        prefix = request.get("Prefix", "")
        after = request.get("ContinuationToken") or request.get("StartAfter", "")
        limit = min(request.get("MaxKeys", PAGE_KEYS), PAGE_KEYS)

        def page() -> dict[str, Any]:
            keys = self._store.keys(prefix, after, limit + 1)
            response: dict[str, Any] = {**self._response(200), "IsTruncated": len(keys) > limit}
            keys = keys[:limit]
            if keys:
                response["Contents"] = [_listed(self._store.current[key]) for key in keys]
            if response["IsTruncated"]:
                response["NextContinuationToken"] = keys[-1]
            return response

        return self._call("ListObjectsV2", request, page, prefix)

    def get_paginator(self, operation: str) -> Any:
        if operation != "list_objects_v2":
            raise TypeError(f"no paginator of {operation}")
        return SimpleNamespace(paginate=self._pages)

    def _pages(self, **request: Any) -> Iterator[dict[str, Any]]:
        while True:
            page = self.list_objects_v2(**request)
            yield page
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def _call(
        self, operation: str, request: Mapping[str, Any], execute: Callable[[], dict[str, Any]], key: str | None = None
    ) -> dict[str, Any]:
        if request["Bucket"] != self._store.name:
            raise _error(operation, "AccessDenied", 403)
        if self._gate(operation, request["Key"] if key is None else key):
            execute()
        return execute()

    def _check_destination(self, operation: str, request: Mapping[str, Any]) -> None:
        existing = self._store.current.get(request["Key"])
        if "IfNoneMatch" in request:
            if request["IfNoneMatch"] != "*":
                raise TypeError(f"{operation} supports IfNoneMatch only with *")
            if existing:
                raise _error(operation, "PreconditionFailed", 412)
        if "IfMatch" in request:
            if not existing:
                raise _error(operation, "NoSuchKey", 404)
            if request["IfMatch"].strip('"') != existing.etag:
                raise _error(operation, "PreconditionFailed", 412)

    def _put(self, request: Mapping[str, Any], body: bytes, metadata: Mapping[str, str]) -> Version:
        _check_metadata(metadata)
        headers = {name: request[name] for name in HEADERS if name in request}
        return self._store.put(request["Key"], body, writer=self._writer, metadata=metadata, headers=headers)

    def _found(self, operation: str, request: Mapping[str, Any], code: str) -> Version:
        if "VersionId" in request:
            for version in self._store.versions(request["Key"]):
                if version.version_id == request["VersionId"] and not version.deleted:
                    return version
            raise _error(operation, "NoSuchVersion" if code != "404" else code, 404)
        found = self._store.current.get(request["Key"])
        if found is None:
            raise _error(operation, code, 404)
        return found

    def _object_response(self, found: Version, length: int) -> dict[str, Any]:
        return {
            **self._response(200),
            **found.headers,
            "ETag": f'"{found.etag}"',
            "ContentLength": length,
            "LastModified": found.modified,
            "Metadata": dict(found.metadata),
            "VersionId": found.version_id,
        }

    def _write_response(self, version: Version) -> dict[str, Any]:
        return {**self._response(200), "ETag": f'"{version.etag}"', "VersionId": version.version_id}

    def _response(self, status: int) -> dict[str, Any]:
        date = format_datetime(self._store.clock.now.replace(microsecond=0), usegmt=True)
        return {"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": {"date": date}}}


def _checked_arguments(
    operation: str, arguments: Mapping[str, Any], required: set[str], allowed: Iterable[str]
) -> dict[str, Any]:
    unknown, missing = set(arguments) - required - set(allowed), required - set(arguments)
    if unknown or missing:
        raise TypeError(f"{operation}: unknown arguments {sorted(unknown)}, missing arguments {sorted(missing)}")
    return dict(arguments)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    for name, value in metadata.items():
        if not (name.isascii() and value.isascii()):
            raise TypeError(f"metadata must be ASCII: {name}={value}")
    if sum(len(name) + len(value) for name, value in metadata.items()) > 2048:
        raise _error("PutObject", "MetadataTooLarge", 400)


def _range(body: bytes, request: str | None) -> bytes:
    if request is None:
        return body
    start, _, end = request.removeprefix("bytes=").partition("-")
    if not start:
        return body[-int(end) :]
    if int(start) >= len(body):
        raise _error("GetObject", "InvalidRange", 416)
    return body[int(start) : int(end) + 1 if end else None]


def _listed(version: Version) -> dict[str, Any]:
    return {
        "Key": version.key,
        "ETag": f'"{version.etag}"',
        "Size": len(version.body),
        "LastModified": version.modified,
        "StorageClass": version.headers.get("StorageClass", "STANDARD"),
    }


def _error(operation: str, code: str, status: int, message: str = "") -> ClientError:
    kind = NoSuchKey if code == "NoSuchKey" else ClientError
    return kind(
        {"Error": {"Code": code, "Message": message or code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )
