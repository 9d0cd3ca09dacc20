"""Every recording that was ever put, and where it is now: told by the bucket alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError


@dataclass(frozen=True)
class Upload:
    """One version of a recording, as its owner put it."""

    body: bytes
    etag: str
    text: str | None  # what is said in it; None: it cannot be transcribed


@dataclass(frozen=True)
class Whereabouts:
    """What the bucket holds of one name."""

    places: tuple[str, ...]  # of the last version put: input, processed, failed
    transcriptions: int  # of one version, the most
    wrong: str = ""  # what is wrong with its transcript
    removed: bool = False  # by its owner

    @property
    def lost(self) -> bool:
        return not self.places and not self.removed

    @property
    def doubled(self) -> bool:
        return len(self.places) > 1 or self.transcriptions > 1


class Ledger:
    """What was put into a bucket, and what its owner removed from it."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self.s3 = s3
        self.bucket = bucket
        self.uploads: dict[str, list[Upload]] = defaultdict(list)
        self.removed: set[str] = set()

    def put(self, name: str, body: bytes, text: str | None) -> None:
        """Put a recording to input/<name>, in place of the one that is there."""
        upload = Upload(body, "", text)
        etag = self.s3.put_object(Bucket=self.bucket, Key=f"input/{name}", Body=body)["ETag"].strip('"')
        self.uploads[name].append(Upload(upload.body, etag, upload.text))
        self.removed.discard(name)

    def remove(self, name: str) -> None:
        """Delete a recording as its owner may."""
        self.removed.add(name)
        self.s3.delete_object(Bucket=self.bucket, Key=f"input/{name}")

    def names(self, folder: str) -> list[str]:
        return [name for name in self.uploads if name.startswith(folder)]

    def waiting(self, folder: str) -> list[str]:
        """Names that are in input/ now."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"input/{folder}")
        return [item["Key"].removeprefix("input/") for page in pages for item in page.get("Contents", ())]

    def look(self, name: str) -> Whereabouts:
        """Where a recording is, and whether its transcript is one, and its own."""
        last = self.uploads[name][-1]
        by_etag = {upload.etag: upload for upload in self.uploads[name]}
        made = self._transcriptions(name)
        places = []
        if self._etag(f"input/{name}") == last.etag:
            places.append("input")
        if self._holds(f"processed/{name}", last) and self._transcript(name)[1] == last.etag:
            places.append("processed")
        if self._holds(f"failed/{name}", last) and self._reason(name).get("source_etag") == last.etag:
            places.append("failed")
        text, etag = self._transcript(name)
        wrong = ""
        if etag is not None and etag not in by_etag:
            wrong = "of a recording that was never put"
        elif etag is not None and (not text or text != by_etag[etag].text):
            wrong = f"{text!r} instead of {by_etag[etag].text!r}"
        return Whereabouts(tuple(places), max(map(len, made.values()), default=0), wrong, name in self.removed)

    def _transcript(self, name: str) -> tuple[str, str | None]:
        """Text and source's ETag; the ETag is None if there is no transcript."""
        found = self._get(transcript_key(name))
        if found is None:
            return "", None
        return found["Body"].read().decode().strip(), found["Metadata"].get("source-etag", "")

    def _transcriptions(self, name: str) -> dict[str, set[str]]:
        """By source ETag, the transcriptions that were ever put, told apart by their computing time."""
        made: dict[str, set[str]] = defaultdict(set)
        key = transcript_key(name)
        for version in self.s3.list_object_versions(Bucket=self.bucket, Prefix=key).get("Versions", ()):
            if version["Key"] == key:
                facts = self.s3.head_object(Bucket=self.bucket, Key=key, VersionId=version["VersionId"])["Metadata"]
                made[facts.get("source-etag", "")].add(facts.get("compute-seconds", ""))
        return made

    def _holds(self, key: str, upload: Upload) -> bool:
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
        found = self._found(self.s3.head_object, key)
        return found["ETag"].strip('"') if found else None

    def _get(self, key: str) -> Any:
        return self._found(self.s3.get_object, key)

    def _found(self, ask: Callable[..., Any], key: str) -> Any:
        try:
            return ask(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise


def transcript_key(name: str) -> str:
    """Of a name whose stem no other name of its run has."""
    return "output/" + name.rpartition(".")[0]
