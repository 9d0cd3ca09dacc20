"""All uploaded recordings, and their state in the bucket. The ledger reads nothing but the bucket."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError


@dataclass(frozen=True)
class Upload:
    """One uploaded version of a recording."""

    body: bytes
    etag: str
    text: str | None  # the correct transcript; None if the recording cannot be transcribed


@dataclass(frozen=True)
class RecordingState:
    """What the bucket contains for one recording's name."""

    folders: tuple[str, ...]  # folders with the last uploaded version: input, processed, failed
    transcriptions: int  # maximum number of transcriptions of one version
    wrong: str = ""  # the problem with the transcript
    deleted: bool = False  # the owner deleted the recording

    @property
    def lost(self) -> bool:
        return not self.folders and not self.deleted

    @property
    def duplicated(self) -> bool:
        return len(self.folders) > 1 or self.transcriptions > 1


class Ledger:
    """The recordings that the owner uploaded to a bucket or deleted from it."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.uploads: dict[str, list[Upload]] = defaultdict(list)
        self.deleted: set[str] = set()

    def put(self, name: str, body: bytes, text: str | None) -> None:
        """Upload a recording to input/<name>. Replace an existing one."""
        upload = Upload(body, "", text)
        etag = self.s3.put_object(Bucket=self.bucket, Key=f"input/{name}", Body=body)["ETag"].strip('"')
        self.uploads[name].append(Upload(upload.body, etag, upload.text))
        self.deleted.discard(name)

    def delete(self, name: str) -> None:
        """Delete a recording from input/, as its owner."""
        self.deleted.add(name)
        self.s3.delete_object(Bucket=self.bucket, Key=f"input/{name}")

    def names(self, folder: str) -> list[str]:
        return [name for name in self.uploads if name.startswith(folder)]

    def waiting(self, folder: str) -> list[str]:
        """Names of the recordings that are currently in input/."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"input/{folder}")
        return [item["Key"].removeprefix("input/") for page in pages for item in page.get("Contents", ())]

    def state(self, name: str) -> RecordingState:
        """Find a recording's folders and check its transcript."""
        last = self.uploads[name][-1]
        by_etag = {upload.etag: upload for upload in self.uploads[name]}
        transcriptions = self._transcriptions(name)
        folders = []
        if self._etag(f"input/{name}") == last.etag:
            folders.append("input")
        if self._contains(f"processed/{name}", last) and self._transcript(name)[1] == last.etag:
            folders.append("processed")
        if self._contains(f"failed/{name}", last) and self._reason(name).get("source_etag") == last.etag:
            folders.append("failed")
        text, etag = self._transcript(name)
        wrong = ""
        if etag is not None and etag not in by_etag:
            wrong = "its source is a recording that was never uploaded"
        elif etag is not None and (not text or text != by_etag[etag].text):
            wrong = f"{text!r} instead of {by_etag[etag].text!r}"
        return RecordingState(
            tuple(folders), max(map(len, transcriptions.values()), default=0), wrong, name in self.deleted
        )

    def _transcript(self, name: str) -> tuple[str, str | None]:
        """The transcript's text and its source's ETag. The ETag is None if there is no transcript."""
        found = self._get(transcript_key(name))
        if found is None:
            return "", None
        return found["Body"].read().decode().strip(), found["Metadata"].get("source-etag", "")

    def _transcriptions(self, name: str) -> dict[str, set[str]]:
        """All transcriptions so far, by source ETag. Their computing times distinguish them."""
        transcriptions: dict[str, set[str]] = defaultdict(set)
        key = transcript_key(name)
        for version in self.s3.list_object_versions(Bucket=self.bucket, Prefix=key).get("Versions", ()):
            if version["Key"] == key:
                metadata = self.s3.head_object(Bucket=self.bucket, Key=key, VersionId=version["VersionId"])["Metadata"]
                transcriptions[metadata.get("source-etag", "")].add(metadata.get("compute-seconds", ""))
        return transcriptions

    def _contains(self, key: str, upload: Upload) -> bool:
        found = self._get(key)
        return (
            found is not None
            and found["Metadata"].get("source-etag") == upload.etag
            and found["Body"].read() == upload.body
        )

    def _reason(self, name: str) -> dict[str, Any]:
        found = self._get(f"failed/{name}.error.json")
        document = json.loads(found["Body"].read()) if found else {}
        return document if str(document.get("reason", "")).endswith(".") else {}

    def reason_code(self, name: str) -> str:
        return str(self._reason(name).get("code", ""))

    def _etag(self, key: str) -> str | None:
        found = self._if_exists(self.s3.head_object, key)
        return found["ETag"].strip('"') if found else None

    def _get(self, key: str) -> Any:
        return self._if_exists(self.s3.get_object, key)

    def _if_exists(self, operation: Callable[..., Any], key: str) -> Any:
        try:
            return operation(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise


def transcript_key(name: str) -> str:
    """The transcript's key, for a name whose stem is unique in its run."""
    return "output/" + name.rpartition(".")[0]
