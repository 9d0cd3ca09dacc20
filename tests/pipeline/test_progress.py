from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from transcription.progress import Done, children_line, done_line
from transcription.wording import counted

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (
            {"status": "PENDING", "arrayProperties": {"statusSummary": {"PENDING": 1, "RUNNABLE": 2, "RUNNING": 17}}},
            "20 children: 3 waiting, 17 running",
        ),
        (
            {
                "status": "PENDING",
                "arrayProperties": {"statusSummary": {"FAILED": 1, "SUCCEEDED": 1200, "STARTING": 0}},
            },
            "1,201 children: 1 failed, 1,200 done",
        ),
        ({"status": "RUNNING"}, "1 child: 1 running"),
    ],
)
def test_the_children_are_told_by_what_they_do(job: dict[str, Any], line: str) -> None:
    assert children_line(job) == line


def done(minutes: int, files: int, hours: float) -> Done:
    return Done(NOON + timedelta(minutes=minutes), files, 960, hours * 3600, 77 * 3600)


def test_the_end_is_estimated_by_the_audio_since_the_first_look() -> None:
    # 22 hours of audio in 30 minutes, and 44 are left.
    line = done_line(done(0, 100, 11), done(30, 477, 33))
    assert line == "477 of 960 files, about 33.0 of 77.0 audio hours are done; the end is at about 2026-11-20 13:30 UTC"


def test_without_progress_and_at_the_end_no_end_is_estimated() -> None:
    assert "end" not in done_line(done(0, 100, 11), done(30, 100, 11))
    assert "end" not in done_line(done(0, 100, 11), done(30, 960, 77))


def test_a_number_and_its_noun_agree() -> None:
    assert [counted(number, "child") for number in (0, 1, 2)] == ["0 children", "1 child", "2 children"]
    assert [counted(number, "file") for number in (1, 12345)] == ["1 file", "12,345 files"]
