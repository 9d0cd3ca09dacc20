"""The runs in the bucket, from a listing that is renewed by time and never by a request.

Totals, indexes and corrections are fetched once for each version of the object and kept on this machine.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transcription import report
from transcription_contract import layout
from transcripts_page.corrections import Corrections, Stored
from transcripts_page.file_cache import FileCache
from transcripts_page.newest import Index, Newest
from transcripts_page.run_index import RunIndex, UnknownIndexError

log = logging.getLogger(__name__)

REFRESH_SECONDS = 20.0
CAP_BYTES = 2 << 30
THREADS = 16


@dataclass(frozen=True)
class RunRecord:
    """A run that was accounted for."""

    run_id: str
    folder: str
    """As `layout.run_folder`."""
    plans: tuple[str, ...]
    """Ids of its plans, the oldest first. A run that was cleared has several."""
    totals: dict[str, Any]
    """`files` by state, `audio_hours`, `compute_seconds`: of each recording its newest plan's."""
    estimated_usd: float
    finished: str
    """When it was last accounted for, ISO 8601 in UTC."""
    has_index: bool
    """Whether all its plans can be searched; not so for runs of earlier versions of this pipeline."""


@dataclass(frozen=True)
class _Listing:
    """The objects of the bucket that the page reads; their ETags by key."""

    totals: dict[str, str] = field(default_factory=dict)
    modified: dict[str, str] = field(default_factory=dict)
    """When the totals were written, ISO 8601."""
    indexes: dict[str, str] = field(default_factory=dict)
    corrections: dict[str, str] = field(default_factory=dict)
    """By the recording's name."""


class Catalogue:
    """Runs, indexes and corrections of a bucket. Its methods may be called by several threads.

    Args:
        s3: A boto3 client of S3.
        bucket: Name of the audio bucket.
        folder: For files on this machine. Several processes may share it.
        refresh_seconds: The bucket is listed again when the listing is older.
        cap_bytes: Most bytes of the indexes on this machine.
    """

    def __init__(
        self,
        s3: Any,
        bucket: str,
        folder: Path,
        *,
        refresh_seconds: float = REFRESH_SECONDS,
        cap_bytes: int = CAP_BYTES,
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._refresh_seconds = refresh_seconds
        self._files = FileCache(s3, bucket, folder / "files", cap_bytes)
        self._newest = Newest(folder)
        self._listing: _Listing | None = None
        self._listed = 0.0
        self._listing_now = threading.Lock()
        self._taking_in = threading.Lock()
        self._taken_in: _Listing | None = None
        self._records: dict[str, tuple[str, RunRecord | None]] = {}
        self.corrections = Corrections(s3, bucket)

    def runs(self) -> list[RunRecord]:
        """All runs that were accounted for, the newest first."""
        listing = self._current()
        unread = {key: etag for key, etag in listing.totals.items() if self._records.get(key, ("",))[0] != etag}
        for key, record in self._in_parallel(lambda key, etag: self._record(listing, key, etag), unread):
            self._records[key] = (unread[key], record)
        found = (self._records[key][1] for key in listing.totals)
        return sorted((record for record in found if record), key=lambda record: record.finished, reverse=True)

    def run(self, run_id: str) -> RunRecord | None:
        """The run of this id, or None if it was not accounted for."""
        return next((record for record in self.runs() if record.run_id == run_id), None)

    @contextmanager
    def index(self, run_id: str, plan_id: str) -> Iterator[RunIndex | None]:
        """The search index of a plan, or None if there is none. It is closed after the block."""
        key = layout.search_index_key(run_id, plan_id)
        if key not in self._current().indexes:
            self.look_for(run_id)
        etag = self._current().indexes.get(key)
        with self._opened(key, etag) as index:
            yield index

    @contextmanager
    def opened(self, index: Index) -> Iterator[RunIndex | None]:
        """An index that `newest` knows, or None if it is gone from the bucket. It is closed after the block."""
        with self._opened(index.key, index.etag) as opened:
            yield opened

    def newest(self) -> Newest:
        """The newest transcript of each recording, after all indexes and corrections of the listing were taken in."""
        listing = self._current()
        with self._taking_in:
            if self._taken_in is not listing:
                self._take_in_indexes(listing)
                self._take_in_corrections(listing)
                self._taken_in = listing
        return self._newest

    def saved(self, stored: Stored) -> None:
        """Let the search know a correction at once, before the next listing has it."""
        self._newest.put_correction(stored.correction, stored.etag)

    def look_for(self, run_id: str) -> None:
        """List the bucket again if it has totals or indexes of a run that the listing lacks: the run has just ended."""
        listing = self._current()
        known = {**listing.totals, **listing.indexes}
        for item in self._objects(layout.run_prefix(run_id)):
            key = item["Key"]
            is_read = layout.is_totals(key) or layout.is_search_index(key)
            if is_read and known.get(key) != item["ETag"].strip('"'):
                self.refresh()
                return

    def refresh(self) -> None:
        """List the bucket now."""
        with self._listing_now:
            self._listing, self._listed = self._list(), time.monotonic()

    def _current(self) -> _Listing:
        """The listing. An old one is renewed in the background, so that nobody waits but the first."""
        if self._listing is None:
            with self._listing_now:
                if self._listing is None:
                    self._listing, self._listed = self._list(), time.monotonic()
        elif time.monotonic() - self._listed > self._refresh_seconds:
            self._listed = time.monotonic()
            threading.Thread(target=self._renew, daemon=True).start()
        return self._listing

    def _renew(self) -> None:
        try:
            self.refresh()
        except Exception as error:  # the page goes on with the old listing
            log.warning("The bucket %s cannot be listed: %s", self._bucket, error)

    def _list(self) -> _Listing:
        found = _Listing()
        for item in self._objects(layout.RUNS):
            key, etag = item["Key"], item["ETag"].strip('"')
            if layout.is_totals(key):
                found.totals[key] = etag
                found.modified[key] = item["LastModified"].isoformat()
            elif layout.is_search_index(key):
                found.indexes[key] = etag
        for item in self._objects(layout.CORRECTIONS):
            found.corrections[layout.corrected_name(item["Key"])] = item["ETag"].strip('"')
        return found

    def _objects(self, prefix: str) -> Iterator[dict[str, Any]]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            yield from page.get("Contents", ())

    def _record(self, listing: _Listing, key: str, etag: str) -> RunRecord | None:
        file = self._files.path(key, etag)
        found = report.read(file.read_bytes()) if file else None
        if found is None:
            return None
        keys = (layout.search_index_key(found["run_id"], plan) for plan in found["plans"])
        return RunRecord(
            run_id=found["run_id"],
            folder=layout.run_folder(found["run_id"]),
            plans=tuple(found["plans"]),
            totals=found["totals"],
            estimated_usd=found["estimated_usd"],
            finished=found.get("finished", listing.modified[key]),
            has_index=all(index in listing.indexes for index in keys),
        )

    def _take_in_indexes(self, listing: _Listing) -> None:
        known = {index.key: index for index in self._newest.indexes()}
        for key in known.keys() - listing.indexes.keys():
            if not self._files.is_there(key):  # another process may have a newer listing
                self._newest.drop(known[key])
                self._files.drop(key, known[key].etag)
        unread = {key: etag for key, etag in listing.indexes.items() if key not in known or known[key].etag != etag}
        for key, file in self._in_parallel(self._files.path, unread):
            if file:
                self._newest.take_in(key, unread[key], file)
            if file and key in known:
                self._files.drop(key, known[key].etag)
        if unread:
            self._files.trim()

    def _take_in_corrections(self, listing: _Listing) -> None:
        """Read what differs from the listing: somebody may have corrected it since."""
        known, listed = self._newest.corrections(), listing.corrections
        names = {name: "" for name in known | listed if known.get(name) != listed.get(name)}
        for name, stored in self._in_parallel(lambda name, _: self.corrections.load(name), names):
            if stored:
                self._newest.put_correction(*stored)
            else:
                self._newest.drop_correction(name)

    @contextmanager
    def _opened(self, key: str, etag: str | None) -> Iterator[RunIndex | None]:
        file = self._files.path(key, etag) if etag else None
        if file is None:
            yield None
            return
        try:
            index = RunIndex(file)
        except UnknownIndexError as error:
            log.warning("%s", error)
            yield None
            return
        with index:
            yield index

    def _in_parallel(self, call: Any, items: dict[str, str]) -> Iterator[tuple[str, Any]]:
        """Each key with what the call returns for the key and its ETag."""
        if not items:
            return
        with ThreadPoolExecutor(THREADS) as pool:
            yield from zip(items, pool.map(call, items.keys(), items.values()), strict=True)
