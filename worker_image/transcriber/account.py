"""Counts and logs the outcomes of recordings. Decides when the child gives up, and its exit code."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque

from transcription_contract.manifest import Recording
from transcription_contract.results import ExitCode

from .delivery import Outcome
from .failures import ConfigError, RecordingFailed, TemporaryError, WorkerError
from .log import log

GIVE_UP_AFTER = 5  # consecutive failures of the bucket or the machine

Failure = WorkerError | RecordingFailed


class Account:
    """The outcomes of the recordings so far. Any thread may call it.

    Args:
        total: number of recordings in the manifest.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._exit_codes: set[ExitCode] = set()
        self._started_keys: deque[str] = deque()  # in the manifest's order, from the first unfinished one
        self._ends: dict[str, WorkerError | None] = {}  # failures of the bucket or the machine, by key
        self._in_a_row: list[WorkerError] = []
        self._started = time.monotonic()

    def started(self, recording: Recording) -> None:
        """Record the start of the next recording in the manifest's order. Earlier ones may finish later."""
        with self._lock:
            self._started_keys.append(recording.source_key)

    def ended(self, recording: Recording, outcome: Outcome) -> None:
        """Count a recording that has an outcome."""
        with self._lock:
            self._note_end(recording, None)
            self._log(recording, outcome.value)

    def failed(self, recording: Recording, failure: Failure, detail: str) -> None:
        """Count a recording that stays in place for a new attempt."""
        with self._lock:
            self._exit_codes.add(failure.exit_code)
            self._note_end(recording, failure if isinstance(failure, WorkerError) else None)
            self._log(recording, "failed", level="error", detail=detail)

    def give_up_if_hopeless(self) -> None:
        """Raises WorkerError if the bucket or the machine failed at several recordings in a row.

        In a row means in the manifest's order. Several recordings are in progress at the same time, and a failure is
        often reported sooner than a success.
        """
        with self._lock:
            failures = self._in_a_row
            if len(failures) >= GIVE_UP_AFTER:
                message = f"Giving up after {len(failures)} failures in a row, the last: {failures[-1]}"
                raise TemporaryError(message) if self._can_retry() else ConfigError(message)

    def exit_code(self) -> ExitCode:
        """The exit code of a child that has tried all its recordings."""
        with self._lock:
            seconds = round(time.monotonic() - self._started, 3)
            log("done", files=self._total, seconds=seconds, outcomes=dict(self._outcomes))
            if not self._exit_codes:
                return ExitCode.DONE
            return ExitCode.TEMPORARY if self._can_retry() else ExitCode.PERMANENT

    def _note_end(self, recording: Recording, failure: WorkerError | None) -> None:
        self._ends[recording.source_key] = failure
        while self._started_keys and self._started_keys[0] in self._ends:
            end = self._ends.pop(self._started_keys.popleft())
            self._in_a_row = [*self._in_a_row, end] if end else []

    def _can_retry(self) -> bool:
        """Whether a new attempt can help any of the failed recordings."""
        return ExitCode.TEMPORARY in self._exit_codes

    def _log(self, recording: Recording, outcome: str, level: str = "info", **facts: str) -> None:
        self._outcomes[outcome] += 1
        progress = f"{sum(self._outcomes.values())} of {self._total} files"
        log("file", level=level, key=recording.source_key, outcome=outcome, progress=progress, **facts)
