"""Count how much of a running run is done, by what has left `input/`."""

from __future__ import annotations

from datetime import UTC, datetime

from transcription import planning
from transcription.bucket import Bucket
from transcription.progress import Done
from transcription_contract import layout

_COUNTED_FILES = 100_000  # the names of more would take too much memory


class FileCount:
    """Counts how much of a run has left `input/`.

    It counts nothing in a run of more than 100,000 files, because that would fill a small machine's memory, and nothing
    in a run that transcribes files again in place, because those stay where they are.
    """

    def __init__(self, bucket: str, manifest_prefix: str, files: int) -> None:
        self._bucket = Bucket(bucket)
        self._manifest_prefix = manifest_prefix
        self._files = files
        self._seconds: dict[str, float] | None = None

    def __call__(self) -> Done | None:
        """What is done now.

        Raises:
            BotoCoreError, ClientError: S3 cannot be asked.
        """
        if self._files > _COUNTED_FILES:
            return None
        if self._seconds is None:
            recordings = self._bucket.planned_recordings(self._manifest_prefix)
            self._seconds = {
                item.source_key: planning.audio_seconds(item.source_key, item.source_size)
                for item in recordings
                if not item.in_place
            }
        if len(self._seconds) < self._files:
            return None
        waiting = [item.key for item in self._bucket.listing(layout.INPUT) if item.key in self._seconds]
        total = sum(self._seconds.values())
        left = sum(map(self._seconds.__getitem__, waiting))
        return Done(datetime.now(UTC), self._files - len(waiting), self._files, total - left, total)
