"""Decide the outcome of each planned recording from the content of the bucket. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from transcription.planning import StoredObject
from transcription_contract import layout, results
from transcription_contract.manifest import Recording
from transcription_contract.results import ErrorCode, ErrorDocument, Owner, ReportEntry

State = Literal["transcribed", "rejected", "replaced", "missing"]
STATES: tuple[State, ...] = ("transcribed", "rejected", "replaced", "missing")

_LEFT_IN_PLACE = (ErrorCode.UNREADABLE, ErrorCode.VANISHED)  # whose audio the worker cannot move


class StoredTranscript(NamedTuple):
    """A non-empty transcript in the bucket."""

    key: str
    metadata: Mapping[str, str]
    version_id: str = ""
    written: datetime | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The objects in the bucket that belong to one planned recording."""

    source: StoredObject | None = None
    """The current object at the source key."""
    transcripts: tuple[StoredTranscript, ...] = ()
    """Transcripts of a recording of this name, of any version."""
    processed: Owner | None = None
    """The version in `processed/`, if there is one."""
    failed: Owner | None = None
    """The version in `failed/`, if there is one."""
    error: ErrorDocument | None = None
    """The error document in `failed/`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one planned recording."""

    recording: Recording
    state: State
    reason: str = ""
    code: str = ""
    """One of `ErrorCode`, for a rejected recording."""
    transcript: StoredTranscript | None = None
    replaces: str = ""
    """Version id of the replaced transcript; empty if there was none."""

    @property
    def audio_seconds(self) -> float:
        """Duration of a transcribed recording."""
        return self._number(results.AUDIO_SECONDS)

    @property
    def compute_seconds(self) -> float:
        """CPU time of the engines."""
        return self._number(results.COMPUTE_SECONDS)

    def _number(self, name: str) -> float:
        return float(self.transcript.metadata.get(name, 0)) if self.transcript else 0.0

    def entry(self, child: int, log_stream: str) -> ReportEntry:
        """The recording's entry in the report.

        Args:
            child: Array index of the child that had the recording.
            log_stream: That child's, see `ReportEntry`.
        """
        entry = ReportEntry(
            source_key=self.recording.source_key,
            state=self.state,
            child=child,
            log_stream=log_stream,
            code=self.code,
            reason=self.reason,
            source_etag=self.recording.source_etag,
        )
        if self.transcript is None:
            return entry
        metadata, written = self.transcript.metadata, self.transcript.written
        return replace(
            entry,
            transcript_key=self.transcript.key,
            audio_seconds=self.audio_seconds,
            compute_seconds=self.compute_seconds,
            replaces=self.replaces,
            engine=metadata.get(results.ENGINE, ""),
            model=metadata.get(results.MODEL, ""),
            settings=metadata.get(results.FINGERPRINT, ""),
            transcript_version=self.transcript.version_id,
            time=written.isoformat() if written else "",
        )


def outcome(recording: Recording, found: Evidence, manifest_prefix: str) -> Outcome:
    """Decide the outcome of a planned recording.

    Args:
        recording: As it was planned.
        found: What the bucket holds of it after the job.
        manifest_prefix: The run's, which the worker notes on what it writes.
    """
    transcript = _transcript(recording, found, manifest_prefix)
    if transcript:
        is_of_this_run = transcript.metadata.get(results.RUN) == manifest_prefix
        # A transcript that this run reused from an earlier one replaced nothing in this run.
        replaces = transcript.metadata.get(results.REPLACES, "") if is_of_this_run else ""
        return Outcome(recording, "transcribed", transcript=transcript, replaces=replaces)
    if found.error and _is_rejected(recording, found, found.error, manifest_prefix):
        return Outcome(recording, "rejected", found.error.reason, found.error.code)
    if found.source and found.source.etag != recording.source_etag:
        reason = "another file of this name was uploaded during the run; the next run takes it"
        return Outcome(recording, "replaced", reason)
    if _has_newer_result(recording, found):
        return Outcome(recording, "replaced", "another run has transcribed a newer upload of this name")
    return Outcome(recording, "missing", _why_missing(recording, found))


def _transcript(recording: Recording, found: Evidence, manifest_prefix: str) -> StoredTranscript | None:
    """The transcript of exactly this version, if the audio is in its final place.

    A recording in place has a transcript from before, so there the transcript must be of this run.
    """
    for transcript in found.transcripts:
        if Owner.of(transcript.metadata).etag != recording.source_etag:
            continue
        if recording.in_place:
            if transcript.metadata.get(results.RUN) == manifest_prefix:
                return transcript
        elif _is_moved(recording, found, found.processed):
            return transcript
    return None


def _is_moved(recording: Recording, found: Evidence, copy: Owner | None) -> bool:
    return copy is not None and copy.etag == recording.source_etag and not _waits(recording, found)


def _waits(recording: Recording, found: Evidence) -> bool:
    """Whether the planned version is still under its source key; the same content uploaded again is a later version."""
    source = found.source
    return source is not None and source.etag == recording.source_etag and source.uploaded <= recording.uploaded


def _is_rejected(recording: Recording, found: Evidence, error: ErrorDocument, manifest_prefix: str) -> bool:
    if error.source_etag != recording.source_etag:
        return False
    if recording.in_place or error.code in _LEFT_IN_PLACE:
        return error.run == manifest_prefix
    return _is_moved(recording, found, found.failed)


def _has_newer_result(recording: Recording, found: Evidence) -> bool:
    owners = [Owner.of(transcript.metadata) for transcript in found.transcripts]
    owners += [owner for owner in (found.processed, found.failed) if owner]
    return any(owner.uploaded is not None and owner.uploaded > recording.uploaded for owner in owners)


def _why_missing(recording: Recording, found: Evidence) -> str:
    if found.source is None:
        return "it is gone from its place, and no transcript of it was written"
    if recording.in_place:
        return "it was not transcribed again; its earlier transcript is untouched"
    return "it waits untranscribed in input/"


@dataclass
class MadeBy:
    """What one engine made with one model."""

    files: int = 0
    audio_seconds: float = 0.0
    compute_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The figures as they stand in a report."""
        return {
            "files": self.files,
            "audio_hours": round(self.audio_seconds / 3600, 4),
            "compute_seconds": round(self.compute_seconds, 2),
            "cpu_seconds_per_audio_second": round(self.compute_seconds / self.audio_seconds, 4)
            if self.audio_seconds
            else None,
        }


@dataclass
class Totals:
    """The sums of a run, added up recording by recording."""

    states: Counter[str] = field(default_factory=Counter)
    audio_seconds: float = 0.0
    compute_seconds: float = 0.0
    replaced_transcripts: int = 0
    made_by: dict[tuple[str, str], MadeBy] = field(default_factory=dict)

    def add(self, result: Outcome) -> None:
        """Count one more recording."""
        self.states[result.state] += 1
        if result.transcript:
            self.audio_seconds += result.audio_seconds
            self.compute_seconds += result.compute_seconds
            self.replaced_transcripts += bool(result.replaces)
            metadata = result.transcript.metadata
            made_by = self.made_by.setdefault(
                (metadata.get(results.ENGINE, ""), metadata.get(results.MODEL, "")), MadeBy()
            )
            made_by.files += 1
            made_by.audio_seconds += result.audio_seconds
            made_by.compute_seconds += result.compute_seconds

    def to_json(self) -> dict[str, Any]:
        """The totals of the run's report."""
        return {
            "files": {state: self.states[state] for state in STATES},
            "audio_hours": round(self.audio_seconds / 3600, 4),
            "compute_seconds": round(self.compute_seconds, 2),
            "replaced_transcripts": self.replaced_transcripts,
            "made_by": [
                {"engine": engine, "model": model, **made_by.to_json()}
                for (engine, model), made_by in sorted(self.made_by.items(), key=lambda item: -item[1].files)
            ],
        }


def run_totals(plans: Iterable[Iterable[ReportEntry]]) -> dict[str, Any]:
    """The totals of a whole run, which plans again when it is cleared.

    A recording counts once, with what its newest plan made of it. The compute time of every plan counts.

    Args:
        plans: The entries of each plan, the newest plan first.
    """
    states: Counter[str] = Counter()
    audio_seconds = compute_seconds = 0.0
    counted: set[int] = set()  # hashes of names: a million take some 70 MB
    for entries in plans:
        for entry in entries:
            compute_seconds += entry.compute_seconds
            name = hash(layout.recording_name(entry.source_key))
            if name not in counted:
                counted.add(name)
                states[entry.state] += 1
                audio_seconds += entry.audio_seconds
    return {
        "files": {state: states[state] for state in STATES},
        "audio_hours": round(audio_seconds / 3600, 4),
        "compute_seconds": round(compute_seconds, 2),
    }
