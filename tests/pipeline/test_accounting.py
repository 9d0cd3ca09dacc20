from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from transcription.accounting import Evidence, StoredTranscript, Totals, outcome, run_totals
from transcription.planning import StoredObject
from transcription_contract import results
from transcription_contract.manifest import Recording
from transcription_contract.results import ErrorCode, ErrorDocument, Owner, ReportEntry

RUN = "child_job_input/run/"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)
RECORDING = Recording("input/a.wav", "new", 7, NOON, keeps_extension=False)
IN_PLACE = replace(RECORDING, source_key="processed/a.wav")
METADATA = {
    results.RECORDING: "a.wav",
    results.SOURCE_ETAG: "new",
    results.UPLOADED: NOON.isoformat(),
    results.RUN: RUN,
    results.AUDIO_SECONDS: "2.5",
    results.COMPUTE_SECONDS: "0.5",
    results.ENGINE: "deepspeech-tflite 0.9.3",
    results.MODEL: "m",
    results.FINGERPRINT: "f",
}
MADE = (StoredTranscript("output/a", METADATA),)
MOVED = Owner("a.wav", "new", NOON)
OF_OLD = Owner("a.wav", "old", NOON - timedelta(hours=1))
OF_NEWER = Owner("a.wav", "newer", LATER)
ERROR = ErrorDocument(ErrorCode.NO_SPEECH, "No speech.", "", "input/a.wav", "new", NOON.isoformat(), RUN)
UNREADABLE = replace(ERROR, code=ErrorCode.UNREADABLE)
VANISHED = replace(ERROR, code=ErrorCode.VANISHED)


def source(etag: str = "new", uploaded: datetime = NOON) -> StoredObject:
    return StoredObject("input/a.wav", etag, 7, uploaded)


def made(**changes: str) -> tuple[StoredTranscript, ...]:
    names = {"etag": results.SOURCE_ETAG, "run": results.RUN, "uploaded": results.UPLOADED}
    return (StoredTranscript("output/a", {**METADATA, **{names[name]: value for name, value in changes.items()}}),)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (Evidence(transcripts=MADE, processed=MOVED), "transcribed"),
        (Evidence(transcripts=made(run="earlier"), processed=MOVED), "transcribed"),
        (Evidence(transcripts=(*made(etag="old"), *MADE), processed=MOVED), "transcribed"),
        (Evidence(transcripts=MADE, processed=MOVED, source=source("newer", LATER)), "transcribed"),
        (Evidence(transcripts=MADE, processed=MOVED, source=source("new", LATER)), "transcribed"),  # uploaded again
        (Evidence(error=ERROR, failed=MOVED), "rejected"),
        (Evidence(error=ERROR, failed=MOVED, source=source("new", LATER)), "rejected"),
        (Evidence(error=UNREADABLE, source=source()), "rejected"),
        (Evidence(error=VANISHED), "rejected"),
        (Evidence(source=source("newer", LATER)), "replaced"),
        (Evidence(transcripts=made(etag="newer", uploaded=LATER.isoformat()), processed=OF_NEWER), "replaced"),
        (Evidence(failed=OF_NEWER), "replaced"),
        (Evidence(source=source()), "missing"),  # not processed
        (Evidence(), "missing"),  # deleted
        (Evidence(transcripts=MADE, source=source()), "missing"),  # not moved yet
        (Evidence(transcripts=MADE, processed=MOVED, source=source()), "missing"),  # not deleted yet
        (Evidence(transcripts=made(etag="old"), processed=MOVED), "missing"),  # a transcript of an earlier version
        (Evidence(transcripts=MADE, processed=OF_OLD), "missing"),
        (Evidence(processed=MOVED), "missing"),  # moved without a transcript
        (Evidence(error=ERROR, source=source()), "missing"),  # the reason exists, but the audio is not moved yet
        (Evidence(error=replace(ERROR, source_etag="old"), failed=MOVED), "missing"),
        (Evidence(error=replace(UNREADABLE, run="earlier"), source=source()), "missing"),
    ],
)
def test_the_outcome_of_a_planned_file_depends_on_the_objects_of_exactly_this_version(
    found: Evidence, state: str
) -> None:
    assert outcome(RECORDING, found, RUN).state == state


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (Evidence(source=source(), transcripts=MADE, processed=MOVED), "transcribed"),
        (Evidence(source=source(), transcripts=made(run="earlier"), processed=MOVED), "missing"),
        (Evidence(source=source(), error=ERROR, processed=MOVED), "rejected"),
        (Evidence(source=source(), error=replace(ERROR, run="earlier"), processed=MOVED), "missing"),
        (Evidence(source=source("newer"), processed=OF_NEWER), "replaced"),
        (Evidence(source=source(), transcripts=made(etag="newer", uploaded=LATER.isoformat())), "replaced"),
    ],
)
def test_a_file_transcribed_again_in_place_needs_a_result_of_this_run(found: Evidence, state: str) -> None:
    assert outcome(IN_PLACE, found, RUN).state == state


def test_a_rejected_file_has_its_reason_and_code_and_a_transcribed_one_its_figures() -> None:
    rejected = outcome(RECORDING, Evidence(error=ERROR, failed=MOVED), RUN).entry(0, "")
    assert rejected == ReportEntry(
        "input/a.wav", "rejected", 0, reason="No speech.", code="no-speech", source_etag="new"
    )
    found = (MADE[0]._replace(version_id="v1", written=LATER),)
    made = outcome(RECORDING, Evidence(transcripts=found, processed=MOVED), RUN).entry(7, "stream")
    assert made == ReportEntry(
        "input/a.wav",
        "transcribed",
        7,
        log_stream="stream",
        transcript_key="output/a",
        audio_seconds=2.5,
        compute_seconds=0.5,
        source_etag="new",
        engine="deepspeech-tflite 0.9.3",
        model="m",
        settings="f",
        transcript_version="v1",
        time=LATER.isoformat(),
    )
    assert json.loads(made.to_bytes()) == {
        "source_key": "input/a.wav",
        "state": "transcribed",
        "child": 7,
        "log_stream": "stream",
        "transcript_key": "output/a",
        "audio_seconds": 2.5,
        "compute_seconds": 0.5,
        "source_etag": "new",
        "engine": "deepspeech-tflite 0.9.3",
        "model": "m",
        "settings": "f",
        "transcript_version": "v1",
        "time": LATER.isoformat(),
    }
    assert ReportEntry.read(made.to_bytes()) == made


def test_a_run_counts_each_recording_once_with_what_its_newest_plan_made_of_it() -> None:
    first = [
        ReportEntry("input/a.wav", "transcribed", 0, audio_seconds=3600, compute_seconds=10),
        ReportEntry("input/b.wav", "missing", 1),
        ReportEntry("input/c.wav", "replaced", 1),
    ]
    second = [
        ReportEntry("input/b.wav", "transcribed", 0, audio_seconds=1800, compute_seconds=5),
        ReportEntry("processed/a.wav", "transcribed", 0, audio_seconds=3600, compute_seconds=9),
    ]
    assert run_totals([second, first]) == {
        "files": {"transcribed": 2, "rejected": 0, "replaced": 1, "missing": 0},
        "audio_hours": 1.5,
        "compute_seconds": 24,
    }


def test_totals_count_every_state_and_add_up_what_was_transcribed() -> None:
    totals = Totals()
    found: list[Any] = [Evidence(transcripts=MADE, processed=MOVED)] * 2
    for evidence in [*found, Evidence(), Evidence(source=source("x"))]:
        totals.add(outcome(RECORDING, evidence, RUN))
    assert totals.to_json() == {
        "files": {"transcribed": 2, "rejected": 0, "replaced": 1, "missing": 1},
        "audio_hours": round(5 / 3600, 4),
        "compute_seconds": 1.0,
        "replaced_transcripts": 0,
        "made_by": [
            {
                "engine": "deepspeech-tflite 0.9.3",
                "model": "m",
                "files": 2,
                "audio_hours": round(5 / 3600, 4),
                "compute_seconds": 1.0,
                "cpu_seconds_per_audio_second": 0.2,
            }
        ],
    }


def test_a_transcript_counts_as_replaced_only_if_this_run_replaced_it() -> None:
    of_this_run = {**METADATA, results.REPLACES: "v1"}
    totals = Totals()
    for metadata in (of_this_run, {**of_this_run, results.RUN: "earlier"}, METADATA):
        evidence = Evidence(transcripts=(StoredTranscript("output/a", metadata),), processed=MOVED)
        totals.add(outcome(RECORDING, evidence, RUN))
        assert bool(outcome(RECORDING, evidence, RUN).entry(0, "").replaces) == (metadata is of_this_run)
    assert totals.to_json()["replaced_transcripts"] == 1
