"""The audio bucket for the tasks: listings, manifests and the worker's results."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import batched
from typing import IO, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from transcription import claims, searchable
from transcription.accounting import Evidence, StoredTranscript
from transcription.claims import Claims
from transcription.errors import ManifestUnreadable
from transcription.plan_lock import PlanLock
from transcription.planning import StoredObject
from transcription.search_index import Indexed
from transcription.selection import Selection
from transcription_contract import layout, manifest, results
from transcription_contract.manifest import ManifestError, Recording
from transcription_contract.results import ErrorDocument, Owner, ReportEntry

log = logging.getLogger(__name__)

THREADS = 32
_ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")  # storage classes
_DELETE_BATCH = 1000  # S3's limit for one DeleteObjects call
_IN_FLIGHT = 4 * THREADS
_MEMORY_BYTES = 1 << 20  # a larger manifest is read from a file

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

    def listing(self, prefix: str) -> Iterator[StoredObject]:
        """Every object under the prefix, page after page, in the order of the keys' UTF-8 bytes; folder markers too."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.name, Prefix=prefix, OptionalObjectAttributes=["RestoreStatus"]
        )
        for page in pages:
            for item in page.get("Contents", ()):
                # Convert to UTC, because each of botocore's times has its own time zone object of 400 bytes.
                uploaded = item["LastModified"].astimezone(UTC)
                yield StoredObject(item["Key"], item["ETag"].strip('"'), item["Size"], uploaded, _is_archived(item))

    def selected(self, selection: Selection) -> tuple[Iterator[StoredObject], Iterator[StoredObject]]:
        """The candidates of a selection: objects of `input/`, and those of `processed/` with their upload times."""
        waiting = self.listing(layout.INPUT + selection.prefix)
        if not selection.again:
            return waiting, iter(())
        moved = filter(selection.may_take_processed, self.listing(layout.PROCESSED + selection.prefix))
        return waiting, self._with_upload_time(moved)

    def _with_upload_time(self, processed: Iterable[StoredObject]) -> Iterator[StoredObject]:
        """Recordings of `processed/` with the times of the users' uploads.

        The worker keeps it in the metadata of the copy. Without it the time of the move counts.
        """
        for recording, head in self._in_parallel(lambda recording: self._head(recording.key), processed):
            uploaded = Owner.of(head["Metadata"]).uploaded if head else None
            yield recording._replace(uploaded=uploaded or recording.uploaded)

    def write_manifests(self, prefix: str, bodies: Iterable[bytes]) -> None:
        """Write a run's manifests as a stream, and delete those of the run's earlier plans."""
        self.delete(prefix)

        def put(numbered: tuple[int, bytes]) -> None:
            index, body = numbered
            self._put_manifest(layout.manifest_key(prefix, index), body)

        for _ in self._in_parallel(put, enumerate(bodies)):
            pass

    def renew_manifests(self, prefix: str) -> None:
        """Write a run's manifests again unchanged, to renew their claims."""
        keys = (item.key for item in self.listing(prefix))
        for _ in self._in_parallel(lambda key: self._put_manifest(key, self._read(key)), keys):
            pass

    def _put_manifest(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=self.name, Key=key, Body=body, ContentType="application/jsonl")

    def planned_recordings(self, prefix: str) -> Iterator[Recording]:
        """Every planned recording of a run, see `shares`."""
        return (recording for _, recording in self.shares(prefix))

    def shares(self, prefix: str) -> Iterator[tuple[int, Recording]]:
        """Every planned recording of a run with the index of the child that has it, manifest by manifest.

        Raises:
            ManifestUnreadable: a manifest is malformed.
        """
        for item in self.listing(prefix):
            child = layout.child_of_manifest(item.key)
            yield from ((child, recording) for recording in self._manifest(item.key))

    def _manifest(self, key: str) -> Iterator[Recording]:
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as file:
            self._s3.download_fileobj(self.name, key, file)
            file.seek(0)
            try:
                _, recordings = manifest.read(file)
                yield from recordings
            except ManifestError as error:
                raise ManifestUnreadable(
                    f"The manifest {key!r} cannot be read: {error}. Clear `plan` of its run and what follows, which "
                    "writes it anew; no recording is lost."
                ) from error

    def claims_of_others(self, own_prefix: str, live_runs: Set[str]) -> Claims:
        """Recordings in the manifests of other runs.

        Manifests of a run without a live job are abandoned and claim nothing, unless they are so fresh that the run may
        be about to submit it.

        Args:
            own_prefix: The own run's manifest prefix.
            live_runs: Folders of the runs that have a live Batch job.
        """
        fresh_since = datetime.now(UTC) - claims.DURATION
        ends: dict[str, datetime] = {}

        def keys() -> Iterator[str]:
            for item in self.listing(layout.MANIFESTS):
                run = layout.run_folder_of_manifest(item.key)
                if item.key == layout.PLAN_LOCK or item.key.startswith(own_prefix):
                    continue
                if run in live_runs:
                    yield item.key
                elif item.uploaded >= fresh_since:
                    ends[run] = max(ends.get(run, item.uploaded), item.uploaded + claims.DURATION)
                    yield item.key

        planned = (
            (name, layout.run_folder_of_manifest(key))
            for key, names in self._in_parallel(self._claimed_names, keys())
            for name in names
        )
        return claims.claims_of(planned, ends)

    def _claimed_names(self, manifest_key: str) -> list[str]:
        try:
            return [recording.name for recording in self._manifest(manifest_key)]
        except ClientError as error:
            if not _is_absent(error):
                raise
            return []  # the other run has just ended
        except ManifestUnreadable as error:  # no worker can read it either, so it is no claim
            log.warning("%s", error)
            return []

    def evidence(
        self, shares: Iterable[tuple[int, Recording]], waiting: Mapping[str, StoredObject], failed: Set[str]
    ) -> Iterator[tuple[tuple[int, Recording], Evidence]]:
        """What the bucket holds of each planned recording.

        Args:
            shares: The planned ones, as `shares`.
            waiting: What is now in `input/`, by key.
            failed: Keys that are now in `failed/`.
        """
        return self._in_parallel(lambda share: self._evidence(share[1], waiting, failed), shares)

    def _evidence(self, recording: Recording, waiting: Mapping[str, StoredObject], failed: Set[str]) -> Evidence:
        processed = self._head(recording.processed_key)
        source = waiting.get(recording.source_key)
        if recording.in_place and processed:
            source = StoredObject(
                recording.source_key, processed["ETag"].strip('"'), processed["ContentLength"], recording.uploaded
            )
        moved_to_failed = self._head(recording.failed_key) if recording.failed_key in failed else None
        return Evidence(
            source=source,
            transcripts=tuple(self._transcripts(recording)),
            processed=Owner.of(processed["Metadata"]) if processed else None,
            failed=Owner.of(moved_to_failed["Metadata"]) if moved_to_failed else None,
            error=self._error_document(recording.error_key) if recording.error_key in failed else None,
        )

    def _transcripts(self, recording: Recording) -> Iterator[StoredTranscript]:
        """The recording's transcripts. Most recordings have one, at the first key."""
        own = results.recording_id(recording.name)
        for key in recording.transcript_keys:
            head = self._head(key)
            if head and head["ContentLength"] and head["Metadata"].get(results.RECORDING) == own:
                written = head["LastModified"].astimezone(UTC)
                yield StoredTranscript(key, head["Metadata"], head.get("VersionId", ""), written)
                if Owner.of(head["Metadata"]).etag == recording.source_etag:
                    return

    def _error_document(self, key: str) -> ErrorDocument | None:
        try:
            return ErrorDocument.read(self._read(key))
        except ClientError as error:
            if _is_absent(error):
                return None
            raise

    @contextmanager
    def writing(self, key: str, content_type: str) -> Iterator[IO[bytes]]:
        """A file whose content becomes an object if the block ends without an exception."""
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            self.upload(file, key, content_type)

    def upload(self, file: IO[bytes], key: str, content_type: str) -> None:
        """Write an object that has the rest of a file."""
        self._s3.upload_fileobj(file, self.name, key, ExtraArgs={"ContentType": content_type})

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key."""
        return self._head(key) is not None

    def indexed(self, entries: Iterable[ReportEntry]) -> Iterator[Indexed]:
        """A report's entries with the texts of their transcripts, in order.

        Words have their places in the audio if the transcript's JSON is of the same version of the recording and the
        same settings, so that its words are the same.
        """
        return (recording for _, recording in self._in_parallel(self._indexed, entries))

    def _indexed(self, entry: ReportEntry) -> Indexed:
        if not entry.transcript_version:  # there is no transcript, or an earlier pipeline did not say which version
            return Indexed(entry)
        document = self._transcript_json(entry)
        if document is None:
            body = self._version(entry.transcript_key, entry.transcript_version)
            plain = None if body is None else body.decode(errors="replace").strip()
            return Indexed(entry, None if plain is None else searchable.searchable(plain))
        text = searchable.searchable(document["text"])
        words, speakers = searchable.words_of(document), searchable.has_speakers(document)
        return Indexed(entry, text, searchable.places(text, words, speakers=speakers))

    def _transcript_json(self, entry: ReportEntry) -> dict[str, Any] | None:
        """The JSON of exactly the transcript that the entry is about; None if there is none."""
        body = self.read(layout.format_key(entry.transcript_key, "json"))
        document: dict[str, Any] | None = json.loads(body) if body else None
        if document is None or document["source_etag"] != entry.source_etag:
            return None
        return document if document["settings"]["fingerprint"] == entry.settings else None

    def _version(self, key: str, version_id: str) -> bytes | None:
        """A version of an object; None if it is gone."""
        try:
            body: bytes = self._s3.get_object(Bucket=self.name, Key=key, VersionId=version_id)["Body"].read()
        except ClientError as error:
            if _is_absent(error):
                return None
            raise
        return body

    def lines(self, key: str) -> Iterator[bytes]:
        """The lines of an object, which need not fit in memory."""
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as file:
            self._s3.download_fileobj(self.name, key, file)
            file.seek(0)
            yield from file

    def read(self, key: str) -> bytes | None:
        """The content of a small object, or None if it does not exist."""
        try:
            return self._read(key)
        except ClientError as error:
            if _is_absent(error):
                return None
            raise

    def _read(self, key: str) -> bytes:
        body: bytes = self._s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def delete(self, prefix: str) -> None:
        """Delete everything under the prefix."""
        for items in batched(self.listing(prefix), _DELETE_BATCH):
            keys = [{"Key": item.key} for item in items]
            answer = self._s3.delete_objects(Bucket=self.name, Delete={"Objects": keys, "Quiet": True})
            for error in answer.get("Errors", ()):
                raise RuntimeError(f"S3 could not delete {error['Key']!r}: {error.get('Message')}")

    def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return self._s3.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if _is_absent(error):
                return None
            raise

    def _in_parallel(self, call: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Yield each item with the call's result in order. A limited number of calls run in parallel."""
        with ThreadPoolExecutor(THREADS) as pool:
            for some in batched(items, _IN_FLIGHT):
                yield from zip(some, pool.map(call, some), strict=True)


def _is_archived(item: Mapping[str, Any]) -> bool:
    """Whether S3 refuses to read a listed object: it is archived, and there is no restored copy.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreStatus.html
    """
    return item.get("StorageClass") in _ARCHIVES and "RestoreExpiryDate" not in item.get("RestoreStatus", {})


def _is_absent(error: ClientError) -> bool:
    return error.response["ResponseMetadata"]["HTTPStatusCode"] == HTTPStatus.NOT_FOUND
