"""What accounting leaves in the bucket: the report of each plan of a run, and the totals of the whole run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from transcription.wording import counted

SCHEMA = 3


def to_bytes(summary: Mapping[str, Any]) -> bytes:
    """A report, or the totals of a run, as it stands in the bucket."""
    return json.dumps({"schema": SCHEMA, **summary}, indent=1).encode()


def read(body: bytes | None) -> dict[str, Any] | None:
    """The report without its schema, or None if it does not exist or has another version."""
    report = json.loads(body) if body else {}
    return report if report.pop("schema", None) == SCHEMA else None


def message_of(found: Mapping[str, Any], report_uri: str) -> tuple[str, str]:
    """Subject and text of a run's notification. SNS allows 100 ASCII characters in the subject."""
    files = found["totals"]["files"]
    counts = ", ".join(f"{count} {state}" for state, count in files.items() if count) or "no files"
    subject = f"Transcription {'FAILED' if files['missing'] else 'done'}: {counts}"
    text = (
        f"Run {found['run_id']}: {counts}.\n"
        f"{found['totals']['audio_hours']:.2f} hours of audio on {counted(found['children'], 'child')}, "
        f"about {found['estimated_usd']:.2f} US dollars of compute.\n"
        f"What became of each file: {report_uri}\n"
    )
    replaced = found["totals"]["replaced_transcripts"]
    if replaced:
        text += f"{counted(replaced, 'transcript')} replaced an earlier version; the report names these versions.\n"
    if found["left_alone"]:
        text += f"{counted(found['left_alone'], 'object')} left alone; the log of the task `plan` says why.\n"
    text += "".join(f"{reason}\n" for reason in found["unusable_models"])
    if files["missing"]:
        text += "Missing files are not lost: the next run does them, or clear this one in Airflow.\n"
    return subject[:100], text
