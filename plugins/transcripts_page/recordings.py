"""One recording that a report names: its objects in the bucket, as far as they still belong to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from botocore.exceptions import ClientError

from transcription_contract import layout, results
from transcription_contract.results import Owner, ReportEntry, recording_id
from transcripts_page import s3_objects

AUDIO_SECONDS = 3600
"""How long an address of audio works: a player asks for parts of it while somebody listens."""

DOWNLOAD_SECONDS = 60
"""How long an address of a download works, which the browser opens at once."""

VERSIONS = 20
"""Most earlier versions of a transcript that the page names."""


@dataclass(frozen=True)
class Version:
    """A version of a transcript in the bucket."""

    key: str
    version: str
    """Its version id."""
    written: str
    """ISO 8601 in UTC."""
    engine: str
    model: str
    replaces: str
    """Version id of the transcript before; empty if there is none."""

    @classmethod
    def of(cls, key: str, head: Mapping[str, Any]) -> Version:
        """The version that a response of S3 describes."""
        metadata = head["Metadata"]
        return cls(
            key=key,
            version=head.get("VersionId", ""),
            written=head["LastModified"].isoformat(),
            engine=metadata.get(results.ENGINE, ""),
            model=metadata.get(results.MODEL, ""),
            replaces=metadata.get(results.REPLACES, ""),
        )


class RecordingObjects:
    """The objects of a recording. Every method may raise botocore's ClientError for what S3 refuses.

    Args:
        s3: A boto3 client of S3.
        bucket: Name of the audio bucket.
        entry: The recording in a report. Only keys that follow from it are read.
    """

    def __init__(self, s3: Any, bucket: str, entry: ReportEntry) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._entry = entry

    def audio_key(self) -> str | None:
        """Key of the audio of exactly this upload; None if it was deleted, or another upload has its place."""
        name = self._entry.name
        for key in (layout.processed_key(name), layout.failed_key(name), layout.INPUT + name):
            head = self._head(key)
            if head and self._entry.source_etag in (Owner.of(head["Metadata"]).etag, head["ETag"].strip('"')):
                return key
        return None

    def transcript(self) -> Version | None:
        """The newest transcript of exactly this upload; None if there is none any more."""
        if not self._entry.transcript_key:
            return None
        head = self._head(self._entry.transcript_key)
        return Version.of(self._entry.transcript_key, head) if head and self._is_own(head) else None

    def earlier_versions(self) -> Iterator[Version]:
        """What the transcript replaced, the newest first: each version says which one it replaced."""
        key = self._entry.transcript_key
        newest = self.transcript()
        before = newest.replaces if newest else self._entry.replaces
        for _ in range(VERSIONS):
            head = self._head(key, before) if key and before else None
            if head is None or head["Metadata"].get(results.RECORDING) != recording_id(self._entry.name):
                return
            version = Version.of(key, head)
            yield version
            before = version.replaces

    def document(self) -> dict[str, Any] | None:
        """The transcript's JSON; None if there is none of this upload."""
        body = self._own_body(layout.format_key(self._entry.transcript_key, "json"))
        return json.loads(body) if body else None

    def text(self) -> str | None:
        """The plain transcript; None if there is none of this upload any more."""
        body = self._own_body(self._entry.transcript_key)
        return body.decode() if body is not None else None

    def formats(self) -> list[str]:
        """The forms in which the bucket has the transcript of this upload, of `layout.EXTRA_FORMATS`."""
        key = self._entry.transcript_key
        return [
            form
            for form in layout.EXTRA_FORMATS
            if key and (head := self._head(layout.format_key(key, form))) and self._is_own(head)
        ]

    def address(self, key: str, *, seconds: int, file_name: str = "", version: str = "") -> str:
        """As the function `address`, for an object of this recording."""
        return address(self._s3, self._bucket, key, seconds=seconds, file_name=file_name, version=version)

    def _own_body(self, key: str) -> bytes | None:
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if s3_objects.is_absent(error):
                return None
            raise
        body: bytes = answer["Body"].read()
        return body if self._is_own(answer) else None

    def _is_own(self, head: Mapping[str, Any]) -> bool:
        metadata = head["Metadata"]
        return (
            metadata.get(results.RECORDING) == recording_id(self._entry.name)
            and Owner.of(metadata).etag == self._entry.source_etag
        )

    def _head(self, key: str, version: str = "") -> dict[str, Any] | None:
        return s3_objects.head(self._s3, self._bucket, key, version)


def address(s3: Any, bucket: str, key: str, *, seconds: int, file_name: str = "", version: str = "") -> str:
    """An address under which a browser gets an object for some time without further rights.

    Args:
        s3: A boto3 client of S3.
        bucket: The object's.
        key: The object's.
        seconds: How long the address works.
        file_name: If given, the browser saves the object under this name.
        version: If given, an earlier version of the object.
    """
    wanted = {"Bucket": bucket, "Key": key}
    if version:
        wanted["VersionId"] = version
    if file_name:
        wanted["ResponseContentDisposition"] = attachment(file_name)
    return str(s3.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds))


def attachment(file_name: str) -> str:
    """The header Content-Disposition with which a browser saves a file under any name (RFC 6266)."""
    last = file_name.rpartition("/")[2]
    return f"attachment; filename*=UTF-8''{quote(last, safe='')}"
