from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from transcription.accounting import Evidence, Totals, outcome
from transcription_contract.manifest import Recording

RUN = "child_job_input/run/"
LINE = Recording("input/a.wav", "new", 7, datetime(2026, 11, 20, tzinfo=UTC), "output/a")
IN_PLACE = replace(LINE, source_key="processed/a.wav")
MADE = {
    "source-etag": "new",
    "run": RUN,
    "audio-seconds": "2.5",
    "compute-seconds": "0.5",
    "engine": "deepspeech-tflite 0.9.3",
    "model": "m",
}
MOVED = {"source-etag": "new"}
ERROR = {"source_etag": "new", "run": RUN, "reason": "It is empty."}


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (Evidence(transcript=MADE, processed=MOVED), "transcribed"),
        (Evidence(transcript=MADE, processed=MOVED, waiting_etag="newer"), "transcribed"),
        (Evidence(error=ERROR, failed=MOVED), "rejected"),
        (Evidence(waiting_etag="newer"), "replaced"),
        (Evidence(waiting_etag="new"), "missing"),  # nobody touched it
        (Evidence(), "missing"),  # it vanished
        (Evidence(transcript=MADE, waiting_etag="new"), "missing"),  # not moved yet
        (Evidence(transcript=MADE, processed=MOVED, waiting_etag="new"), "missing"),  # not deleted yet
        (Evidence(transcript={**MADE, "source-etag": "old"}, processed=MOVED), "missing"),  # of an earlier content
        (Evidence(transcript=MADE, processed={"source-etag": "old"}), "missing"),
        (Evidence(processed=MOVED), "missing"),  # moved without a transcript: the original's worst fault
        (Evidence(error=ERROR, waiting_etag="new"), "missing"),  # said why, but not moved yet
        (Evidence(error={**ERROR, "source_etag": "old"}, failed=MOVED), "missing"),
    ],
)
def test_a_planned_file_is_judged_by_what_the_bucket_holds_of_just_this_content(found: Evidence, state: str) -> None:
    assert outcome(LINE, found, RUN).state == state


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (Evidence(waiting_etag="new", transcript=MADE, processed=MOVED), "transcribed"),
        (Evidence(waiting_etag="new", transcript={**MADE, "run": "earlier"}, processed=MOVED), "missing"),
        (Evidence(waiting_etag="new", error=ERROR, processed=MOVED), "rejected"),
        (Evidence(waiting_etag="new", error={**ERROR, "run": "earlier"}, processed=MOVED), "missing"),
        (Evidence(waiting_etag="newer", processed=MOVED), "replaced"),
    ],
)
def test_a_file_transcribed_again_in_place_needs_a_result_of_this_run(found: Evidence, state: str) -> None:
    assert outcome(IN_PLACE, found, RUN).state == state


def test_a_rejected_file_tells_the_reason_and_a_transcribed_one_its_figures() -> None:
    rejected = outcome(LINE, Evidence(error=ERROR, failed=MOVED), RUN).to_json()
    assert rejected == {"source_key": "input/a.wav", "state": "rejected", "reason": "It is empty."}
    assert outcome(LINE, Evidence(transcript=MADE, processed=MOVED), RUN).to_json() == {
        "source_key": "input/a.wav",
        "state": "transcribed",
        "transcript_key": "output/a",
        "audio_seconds": 2.5,
        "compute_seconds": 0.5,
    }


def test_totals_count_every_state_and_add_up_what_was_transcribed() -> None:
    totals = Totals()
    found: list[Any] = [Evidence(transcript=MADE, processed=MOVED)] * 2 + [Evidence(), Evidence(waiting_etag="x")]
    for evidence in found:
        totals.add(outcome(LINE, evidence, RUN))
    assert totals.to_json() == {
        "files": {"transcribed": 2, "rejected": 0, "replaced": 1, "missing": 1},
        "audio_hours": round(5 / 3600, 4),
        "compute_seconds": 1.0,
        "replaced_transcripts": 0,
        "made_by": [{"engine": "deepspeech-tflite 0.9.3", "model": "m", "files": 2}],
    }


def test_a_transcript_counts_as_replaced_only_if_this_run_replaced_it() -> None:
    made = {**MADE, "replaces": "v1"}
    totals = Totals()
    for transcript in (made, {**made, "run": "earlier"}, MADE):
        totals.add(outcome(LINE, Evidence(transcript=transcript, processed=MOVED), RUN))
    assert totals.to_json()["replaced_transcripts"] == 1
    assert outcome(LINE, Evidence(transcript=made, processed=MOVED), RUN).to_json()["replaces"] == "v1"
    assert "replaces" not in outcome(LINE, Evidence(transcript=MADE, processed=MOVED), RUN).to_json()
