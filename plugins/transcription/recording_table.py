"""Many recordings in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from transcription_contract.manifest import Recording


class RecordingTable:
    """Recordings in columns, in the order in which they were appended.

    A row takes some 100 bytes, and a `Recording` takes 350: a million rows must fit in a small MWAA worker.
    """

    def __init__(self) -> None:
        self._text = bytearray()  # of each recording its ETag, a space and its key
        self._ends = array("Q")  # of each recording's text
        self.sizes = array("Q")
        """Size of each recording in bytes."""
        self._uploaded = array("d")  # seconds since 1970
        self._keeps_extension = array("B")
        self.audio_seconds = array("d")
        """Estimated duration of each recording."""

    def append(self, recording: Recording, audio_seconds: float) -> None:
        """Add a recording and its estimated duration."""
        self._text += f"{recording.source_etag} {recording.source_key}".encode()
        self._ends.append(len(self._text))
        self.sizes.append(recording.source_size)
        self._uploaded.append(recording.uploaded.timestamp())
        self._keeps_extension.append(recording.keeps_extension)
        self.audio_seconds.append(audio_seconds)

    def uploaded(self, row: int) -> float:
        """Upload time of the recording of a row, in seconds since 1970."""
        return self._uploaded[row]

    def keep(self, rows: Iterable[int]) -> RecordingTable:
        """A table of these rows alone."""
        kept = RecordingTable()
        for row in rows:
            kept.append(self[row], self.audio_seconds[row])
        return kept

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, row: int) -> Recording:
        """The recording of a row, counted from 0."""
        text = self._text[self._ends[row - 1] if row else 0 : self._ends[row]].decode()
        etag, _, key = text.partition(" ")
        uploaded = datetime.fromtimestamp(self._uploaded[row], UTC)
        return Recording(key, etag, self.sizes[row], uploaded, bool(self._keeps_extension[row]))

    def __iter__(self) -> Iterator[Recording]:
        return map(self.__getitem__, range(len(self)))
