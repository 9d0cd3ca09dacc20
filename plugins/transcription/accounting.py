"""What became of each planned file, judged by what the bucket holds. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from transcription_contract import results
from transcription_contract.manifest import Recording

State = Literal["transcribed", "rejected", "replaced", "missing"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the bucket holds of one planned file."""

    waiting_etag: str | None = None
    """ETag of what is under the source key now, if anything is."""
    transcript: Mapping[str, str] = field(default_factory=dict)
    """Metadata of the transcript; empty if there is none or it has no text."""
    processed: Mapping[str, str] = field(default_factory=dict)
    """Metadata of the copy in `processed/`."""
    error: Mapping[str, Any] = field(default_factory=dict)
    """The error document in `failed/`."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Metadata of the copy in `failed/`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one planned file."""

    line: Recording
    state: State
    reason: str = ""
    audio_seconds: float = 0.0
    compute_seconds: float = 0.0
    engine: str = ""
    model: str = ""
    replaces: str = ""
    """Version of the transcript that was there before; empty if there was none."""

    def to_json(self) -> dict[str, Any]:
        """The file's entry in the run's report."""
        entry: dict[str, Any] = {"source_key": self.line.source_key, "state": self.state}
        if self.state == "transcribed":
            entry["transcript_key"] = self.line.transcript_key
            entry["audio_seconds"] = self.audio_seconds
            entry["compute_seconds"] = self.compute_seconds
            if self.replaces:
                entry["replaces"] = self.replaces
        else:
            entry["reason"] = self.reason
        return entry


def is_transcribed(line: Recording, found: Evidence, manifest_prefix: str) -> bool:
    """Whether the transcript of just this content is there and the recording was moved.

    A recording that is transcribed again in place has a transcript from before, so there the
    transcript must be of this run.
    """
    if found.transcript.get(results.SOURCE_ETAG) != line.source_etag:
        return False
    if line.in_place:
        return found.transcript.get(results.RUN) == manifest_prefix
    return _moved(line, found, found.processed)


def outcome(line: Recording, found: Evidence, manifest_prefix: str) -> Outcome:
    """Decide what became of a planned file.

    Args:
        line: The file as it was planned.
        found: What the bucket holds of it after the job.
        manifest_prefix: The run's, which the worker notes on what it writes.
    """
    if is_transcribed(line, found, manifest_prefix):
        is_of_this_run = found.transcript.get(results.RUN) == manifest_prefix
        return Outcome(
            line,
            "transcribed",
            audio_seconds=float(found.transcript.get(results.AUDIO_SECONDS, 0)),
            compute_seconds=float(found.transcript.get(results.COMPUTE_SECONDS, 0)),
            engine=found.transcript.get(results.ENGINE, ""),
            model=found.transcript.get(results.MODEL, ""),
            # A transcript that this run reused from an earlier one replaced nothing in this run.
            replaces=found.transcript.get(results.REPLACES, "") if is_of_this_run else "",
        )
    if _is_rejected(line, found, manifest_prefix):
        return Outcome(line, "rejected", str(found.error.get("reason", "no reason given")))
    if found.waiting_etag is None:
        return Outcome(line, "missing", "it is gone from its place, and no transcript of it was written")
    if found.waiting_etag != line.source_etag:
        return Outcome(line, "replaced", "another file of this name was uploaded during the run; the next run takes it")
    if line.in_place:
        return Outcome(line, "missing", "it was not transcribed again; its earlier transcript is untouched")
    return Outcome(line, "missing", "it waits untranscribed in input/")


def _is_rejected(line: Recording, found: Evidence, manifest_prefix: str) -> bool:
    if found.error.get("source_etag") != line.source_etag:
        return False
    if line.in_place:
        return found.error.get("run") == manifest_prefix
    return _moved(line, found, found.failed)


def _moved(line: Recording, found: Evidence, copy: Mapping[str, str]) -> bool:
    return copy.get(results.SOURCE_ETAG) == line.source_etag and found.waiting_etag != line.source_etag


@dataclass
class Totals:
    """The sums of a run, added up file by file."""

    states: Counter[str] = field(default_factory=Counter)
    audio_seconds: float = 0.0
    compute_seconds: float = 0.0
    replaced_transcripts: int = 0
    made_by: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, result: Outcome) -> None:
        """Count one more file."""
        self.states[result.state] += 1
        if result.state == "transcribed":
            self.audio_seconds += result.audio_seconds
            self.compute_seconds += result.compute_seconds
            self.replaced_transcripts += bool(result.replaces)
            self.made_by[result.engine, result.model] += 1

    def to_json(self) -> dict[str, Any]:
        """The totals of the run's report."""
        return {
            "files": {state: self.states[state] for state in ("transcribed", "rejected", "replaced", "missing")},
            "audio_hours": round(self.audio_seconds / 3600, 4),
            "compute_seconds": round(self.compute_seconds, 2),
            "replaced_transcripts": self.replaced_transcripts,
            "made_by": [
                {"engine": engine, "model": model, "files": files}
                for (engine, model), files in self.made_by.most_common()
            ],
        }
