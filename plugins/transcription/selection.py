"""Select the recordings of a run. Pure functions."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from transcription.claims import NO_CLAIMS, Claims
from transcription.planning import StoredObject, Unplanned
from transcription_contract import layout


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Half-open span of time [start, end); None: no limit on that side."""

    start: datetime | None = None
    end: datetime | None = None

    def __contains__(self, moment: datetime) -> bool:
        return (self.start is None or moment >= self.start) and (self.end is None or moment < self.end)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a run takes: what waits in `input/`, and, if it repeats, what was processed."""

    prefix: str = ""
    """Folder under `input/` (and `processed/`), empty for all."""
    interval: Interval = Interval()
    """When the recordings were uploaded."""
    again: bool = False
    """Whether the run transcribes again, in place, what is in `processed/`."""

    def may_take_processed(self, item: StoredObject) -> bool:
        """Whether an object of `processed/` can be in the interval, judged by the time at which it was moved.

        Nothing is processed before it is uploaded, so only what was moved since the interval's start needs a look at
        its metadata, which have the upload time.
        """
        start = self.interval.start
        return self.again and (start is None or item.uploaded >= start) and layout.is_audio(item.key)

    def choose(
        self, waiting: Iterable[StoredObject], processed: Iterable[StoredObject] = (), claims: Claims = NO_CLAIMS
    ) -> Iterator[StoredObject | Unplanned]:
        """Recordings to transcribe, and what is left alone with its reason, in the order of their names.

        Args:
            waiting: Everything under `input/` and the prefix, in key order.
            processed: What `may_take_processed` of `processed/`, with upload times, in key order.
            claims: Recordings that other live runs have in their manifests.
        """
        merged = heapq.merge(waiting, processed, key=lambda item: item.name.encode()) if self.again else waiting
        for _, versions in groupby(merged, key=lambda item: item.name):
            newest, *earlier = versions  # the waiting one comes first
            chosen = self._chosen(newest, claims)
            if chosen:
                yield chosen
            for item in earlier:
                if item.uploaded in self.interval:
                    yield Unplanned(item.key, f"a newer upload of it waits as {newest.key!r}")

    def _chosen(self, item: StoredObject, claims: Claims) -> StoredObject | Unplanned | None:
        if item.key.endswith("/"):  # a folder that S3's console created
            return None
        if not layout.is_audio(item.key):
            return Unplanned(item.key, "its extension is not an audio or video extension")
        if item.uploaded not in self.interval:
            return None
        if item.archived:
            return Unplanned(item.key, "it is archived (GLACIER or DEEP_ARCHIVE); restore it, or upload it again")
        run = claims.runs.get(item.name) if claims.runs else None
        return Unplanned(item.key, claims.reason(run)) if run else item
