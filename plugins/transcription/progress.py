"""How far a run is, for the log of `wait`. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from transcription.wording import counted

_WORDS = {
    "SUBMITTED": "waiting",
    "PENDING": "waiting",
    "RUNNABLE": "waiting",
    "STARTING": "starting",
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "FAILED": "failed",
}


@dataclass(frozen=True)
class Done:
    """What of a run is done at a moment."""

    at: datetime
    files: int
    of_files: int
    audio_seconds: float
    """Estimated from the sizes of the files."""
    of_audio_seconds: float


def children(job: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of the job's children that are `waiting`, `starting`, `running`, `done` or `failed`.

    Args:
        job: Its description by Batch; one that is no array has one child, the job itself.
    """
    statuses = job.get("arrayProperties", {}).get("statusSummary") or {job["status"]: 1}
    counts: dict[str, int] = {}
    for status, number in statuses.items():
        word = _WORDS.get(status, status.lower())
        counts[word] = counts.get(word, 0) + number
    return counts


def children_line(job: Mapping[str, Any]) -> str:
    """The job's children by what they do, such as `20 children: 12 running, 8 done`.

    Args:
        job: As `children` takes it.
    """
    counts = children(job)
    told = ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)
    return f"{counted(sum(counts.values()), 'child')}: {told or 'none yet'}"


def done_line(first: Done, now: Done) -> str:
    """What is done, and when the rest will be at the rate since the first look.

    Args:
        first: What was done at the first look at this run.
        now: What is done now.
    """
    line = (
        f"{now.files:,} of {counted(now.of_files, 'file')}, about {now.audio_seconds / 3600:,.1f} of "
        f"{now.of_audio_seconds / 3600:,.1f} audio hours are done"
    )
    end = estimated_end(first, now)
    return f"{line}; the end is at about {end.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if end else line


def estimated_end(first: Done, now: Done) -> datetime | None:
    """When all will be done at the rate since the first look; None before anything was done, and after all was."""
    seconds = now.audio_seconds - first.audio_seconds
    left = now.of_audio_seconds - now.audio_seconds
    if seconds <= 0 or now.files >= now.of_files:
        return None
    return now.at + timedelta(seconds=(now.at - first.at).total_seconds() * left / seconds)
