"""Which recordings a run takes."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from datetime import datetime

from transcription.bucket import Bucket
from transcription.planning import StoredObject, Unplanned
from transcription_contract import layout


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Half-open span of time [start, end)."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a run takes: all that waits under a prefix, or what was uploaded in an interval.

    A scheduled or manual run takes all that waits in `input/`. A backfill run takes what was uploaded
    in its interval: what still waits, and what was processed since, to be transcribed again in place.
    """

    prefix: str = ""
    """Folder under `input/` (and `processed/`), empty for all."""
    interval: Interval | None = None
    """The backfilled interval; None for any other run."""

    def objects(self, bucket: Bucket, claimed: Set[str] = frozenset()) -> Iterator[StoredObject | Unplanned]:
        """Everything under the prefix: recordings to transcribe, and what is left alone with its reason.

        Args:
            bucket: The audio bucket.
            claimed: Keys that another live run has in its manifests.
        """
        waiting = set()
        for item in bucket.objects(layout.INPUT + self.prefix):
            if item.key.endswith("/"):  # what S3's console makes for a folder
                continue
            if not layout.is_audio(item.key):
                yield Unplanned(item.key, "its name has no extension of a recording")
            elif item.key in claimed:
                yield Unplanned(item.key, "another run is at it")
            elif self.interval is None:
                yield item
            else:
                waiting.add(item.name)
                if item.uploaded in self.interval:
                    yield item
        if self.interval is not None:
            yield from self._processed(bucket, self.interval, claimed, waiting)

    def _processed(
        self, bucket: Bucket, interval: Interval, claimed: Set[str], waiting: Set[str]
    ) -> Iterator[StoredObject]:
        """Recordings of `processed/` that were uploaded in the interval.

        Nothing is processed before it is uploaded, so only what was moved since the interval's start
        needs a look at its metadata. A new file of the same name that waits in `input/` goes first.
        """
        moved_since = (
            item
            for item in bucket.objects(layout.PROCESSED + self.prefix)
            if item.uploaded >= interval.start
            and layout.is_audio(item.key)
            and item.key not in claimed
            and item.name not in waiting
        )
        for item in bucket.with_upload_time(moved_since):
            if item.uploaded in interval:
                yield item
