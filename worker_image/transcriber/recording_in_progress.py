"""A recording between its download and its delivery."""

from __future__ import annotations

import sys
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from transcription_contract.manifest import Recording
from transcription_contract.results import ErrorCode

from .failures import Rejected
from .recognition import Recognition
from .transcript import Segment, Transcript

NO_SPEECH = "No speech was recognised in this recording. Check that it has sound, and that its language is the model's."


@dataclass(frozen=True)
class PendingPiece:
    """A piece that the engines have not answered yet. It starts at this second of the recording."""

    start: float
    channel: int | None
    """Counted from 1. None means all channels, mixed."""
    answer: Future[Recognition]

    @property
    def is_recognised(self) -> bool:
        """Whether the engine has returned a result."""
        return self.answer.done() and not self.answer.cancelled() and not self.answer.exception()


@dataclass
class RecordingInProgress:
    """The segments of a recording so far, and the pieces that are still with the engines."""

    recording: Recording
    has_transcript: bool = False
    """Whether the bucket already has the transcript."""
    pending: deque[PendingPiece] = field(default_factory=deque)
    segments: list[Segment] = field(default_factory=list)
    compute_seconds: float = 0.0
    """CPU time of the engines."""
    duration: float = 0.0
    """Seconds."""
    channels: int = 0
    warnings: list[str] = field(default_factory=list)
    failure: Exception | None = None
    """The failure before the delivery. The delivery raises it."""

    def collect_answers(self) -> None:
        """Collect finished answers in order, stopping at a failure; interned words save memory."""
        while self.pending and self.pending[0].is_recognised:
            self._collect_answer()

    def transcript(self) -> Transcript | None:
        """Wait for the last answers and make the transcript. Return None if the bucket already has it.

        Raises:
            Rejected: the engine recognised no word, or it crashes or hangs at a piece.
            RecordingFailed: the engine was killed at a piece.
            Exception: what failed before.
        """
        if self.failure:
            raise self.failure
        if self.has_transcript:
            return None
        while self.pending:
            self._collect_answer()
        if not self.segments:
            found = "; ".join([f"{self.duration:.3f} s of sound", *self.warnings])
            raise Rejected(ErrorCode.NO_SPEECH, NO_SPEECH, found)
        segments = sorted(self.segments, key=lambda segment: segment.start)
        return Transcript(segments, self.duration, self.channels, self.compute_seconds, self.warnings)

    def _collect_answer(self) -> None:
        piece = self.pending.popleft()
        found = piece.answer.result()
        self.compute_seconds += found.compute_seconds
        for part in found.segments:
            words = [
                word._replace(text=sys.intern(word.text), start=piece.start + word.start, end=piece.start + word.end)
                for word in part.words
            ]
            start, end = piece.start + part.start, piece.start + part.end
            segment = Segment(start, end, words, part.score, piece.channel, part.alternatives, part.language)
            self.segments.append(segment)
