"""The audio bucket as the Airflow side sees it: listings, manifests and what the worker left there."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from itertools import batched
from typing import IO, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from transcription.accounting import Evidence, Outcome, is_transcribed, outcome
from transcription.errors import ManifestUnreadable
from transcription.plan_lock import PlanLock
from transcription.planning import StoredObject
from transcription_contract import layout, manifest, results
from transcription_contract.manifest import ManifestError, Recording

log = logging.getLogger(__name__)

THREADS = 32
_DELETE_BATCH = 1000  # S3's limit for one DeleteObjects call
_IN_FLIGHT = 4 * THREADS

Item = TypeVar("Item")
Result = TypeVar("Result")


class Bucket:
    """The audio bucket. Every method may raise botocore's ClientError for what S3 refuses."""

    def __init__(self, name: str) -> None:
        self.name = name
        config = Config(retries={"mode": "standard", "max_attempts": 8}, max_pool_connections=THREADS)
        self._s3 = boto3.client("s3", config=config)

    def plan_lock(self, run_id: str) -> PlanLock:
        """The lock under which one run at a time plans, to be held by a `with` statement."""
        return PlanLock(self._s3, self.name, run_id)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Every object under the prefix, page after page, in key order; folder markers too."""
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix):
            for item in page.get("Contents", ()):
                # As UTC proper: botocore's moments have a time zone object each, of 400 bytes.
                uploaded = item["LastModified"].astimezone(UTC)
                yield StoredObject(item["Key"], item["ETag"].strip('"'), item["Size"], uploaded)

    def with_upload_time(self, processed: Iterable[StoredObject]) -> Iterator[StoredObject]:
        """Recordings of `processed/` with the time at which the user uploaded them.

        The worker keeps it in the metadata of the copy; one without counts from when it was moved.
        """
        for recording, head in self._in_parallel(lambda recording: self._head(recording.key), processed):
            uploaded = (head or {}).get("Metadata", {}).get(results.UPLOADED)
            yield StoredObject(
                recording.key,
                recording.etag,
                recording.size,
                datetime.fromisoformat(uploaded) if uploaded else recording.uploaded,
            )

    def write_manifests(self, prefix: str, bodies: Iterable[bytes]) -> None:
        """Put a run's manifests as they are made, and delete those that an earlier plan of the run left."""
        self.delete(prefix)

        def put(numbered: tuple[int, bytes]) -> None:
            index, body = numbered
            self._put_manifest(layout.manifest_key(prefix, index), body)

        for _ in self._in_parallel(put, enumerate(bodies)):
            pass

    def renew_manifests(self, prefix: str) -> None:
        """Put a run's manifests again as they are, so that they are as fresh as a plan made now."""
        keys = (item.key for item in self.objects(prefix))
        for _ in self._in_parallel(lambda key: self._put_manifest(key, self._read(key)), keys):
            pass

    def _put_manifest(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=self.name, Key=key, Body=body, ContentType="application/jsonl")

    def manifests(self, prefix: str) -> Iterator[Recording]:
        """Every planned file of a run, manifest by manifest."""
        for item in self.objects(prefix):
            yield from self._manifest(item.key)

    def _manifest(self, key: str) -> Iterator[Recording]:
        try:
            _, recordings = manifest.read(self._read(key))
            yield from recordings
        except ManifestError as error:
            raise ManifestUnreadable(
                f"The manifest {key!r} cannot be read: {error}. Clear `plan` of its run and what follows, which writes "
                "it anew; no recording is lost."
            ) from error

    def _read(self, key: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def claimed_by_others(self, own_prefix: str, live_runs: Set[str], fresh_since: datetime) -> set[str]:
        """Source keys that other runs have in their manifests.

        Manifests of a run without a live job are abandoned and claim nothing, unless they are so
        fresh that the run may be about to submit it.

        Args:
            own_prefix: The own run's manifest prefix.
            live_runs: Folders of the runs that have a live Batch job.
            fresh_since: Manifests put later claim in any case.
        """
        claims = (
            item.key
            for item in self.objects(layout.MANIFESTS)
            if (item.uploaded >= fresh_since or layout.run_folder_of_manifest(item.key) in live_runs)
            and item.key != layout.PLAN_LOCK
            and not item.key.startswith(own_prefix)
        )
        claimed: set[str] = set()
        for _, source_keys in self._in_parallel(self._claimed, claims):
            claimed.update(source_keys)
        return claimed

    def _claimed(self, manifest_key: str) -> list[str]:
        """Source keys in another run's manifest."""
        try:
            return [line.source_key for line in self._manifest(manifest_key)]
        except self._s3.exceptions.NoSuchKey:  # that run has just ended
            return []
        except ManifestUnreadable as error:  # no worker can read it either, so it is no claim
            log.warning("%s", error)
            return []

    def outcomes(
        self, lines: Iterable[Recording], waiting: Mapping[str, str], manifest_prefix: str
    ) -> Iterator[Outcome]:
        """What became of each planned file.

        Args:
            lines: The planned files.
            waiting: ETags of what is now in `input/`, by key.
            manifest_prefix: The run's.
        """

        def judge(line: Recording) -> Outcome:
            found = self._evidence(line, waiting)
            if not is_transcribed(line, found, manifest_prefix):
                found = self._evidence_of_failure(line, found)
            return outcome(line, found, manifest_prefix)

        return (result for _, result in self._in_parallel(judge, lines))

    def _evidence(self, line: Recording, waiting: Mapping[str, str]) -> Evidence:
        transcript = self._head(line.transcript_key)
        processed = self._head(line.processed_key)
        if line.in_place:
            waiting_etag = processed["ETag"].strip('"') if processed else None
        else:
            waiting_etag = waiting.get(line.source_key)
        return Evidence(
            waiting_etag=waiting_etag,
            transcript=transcript["Metadata"] if transcript and transcript["ContentLength"] else {},
            processed=processed["Metadata"] if processed else {},
        )

    def _evidence_of_failure(self, line: Recording, found: Evidence) -> Evidence:
        failed = self._head(line.failed_key)
        return replace(found, error=self._json(line.error_key), failed=failed["Metadata"] if failed else {})

    def put_json(self, key: str, file: IO[bytes]) -> None:
        """Upload a JSON document from an open file."""
        self._s3.upload_fileobj(file, self.name, key, ExtraArgs={"ContentType": "application/json"})

    def delete(self, prefix: str) -> None:
        """Delete everything under the prefix."""
        for items in batched(self.objects(prefix), _DELETE_BATCH):
            keys = [{"Key": item.key} for item in items]
            answer = self._s3.delete_objects(Bucket=self.name, Delete={"Objects": keys, "Quiet": True})
            for error in answer.get("Errors", ()):
                raise RuntimeError(f"S3 could not delete {error['Key']!r}: {error.get('Message')}")

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return self._s3.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise

    def _json(self, key: str) -> dict[str, Any]:
        try:
            return json.loads(self._read(key))
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return {}
            raise

    def _in_parallel(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Each item with the call's result, in order, a bounded number of calls ahead."""
        with ThreadPoolExecutor(THREADS) as pool:
            for some in batched(items, _IN_FLIGHT):
                yield from zip(some, pool.map(call, some), strict=True)
