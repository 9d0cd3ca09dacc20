"""Sequences in which earlier versions of the pipeline lost, blocked or misreported something."""

from __future__ import annotations

from tests.model.sequences import (
    Abandon,
    AdvanceClock,
    Clear,
    DeleteOutputs,
    PutOwnFile,
    ReplaceModel,
    Resume,
    Start,
    Upload,
    UploadArchived,
    VerifyAgain,
    script,
)

BEFORE_TRANSCRIPT = ("PutObject", "output/")
BEFORE_COPY = ("CopyObject", "processed/")
BEFORE_DELETION = ("DeleteObject", "input/")


def test_a_backfill_does_not_replace_the_transcript_of_a_newer_version() -> None:
    script(
        ("a.wav",),
        Upload(),
        Start(),
        Start("always", params=1, stop=BEFORE_TRANSCRIPT),
        Upload(),
        Start(),
        Resume(run=1),
    )


def test_a_cleared_run_does_not_replace_the_transcript_of_another_recording_with_the_same_stem() -> None:
    script(
        ("a.mp3", "a.wav"),
        Upload(0),
        Upload(1),
        Start(stop=BEFORE_COPY),
        Resume(stop=1),
        Resume(stop=BEFORE_COPY),
        Abandon(),
        AdvanceClock(3600),
        Clear(),
    )


def test_recordings_with_the_same_stem_in_two_nights_keep_their_transcripts() -> None:
    script(("talk.mp3", "talk.wav"), Upload(1), Start(), Upload(0), Start())


def test_a_transcript_and_the_json_of_another_recording_have_different_keys() -> None:
    script(("call.wav", "call.json.wav"), Upload(1), Start(), Upload(0), Start(params=2))


def test_a_repeated_backfill_with_another_model_transcribes_again() -> None:
    script(("a.wav",), Upload(), Start(), Start("always"), ReplaceModel(), Start("always"))


def test_a_repeated_backfill_with_other_params_transcribes_again() -> None:
    script(("a.wav",), Upload(), Start(), Start("always"), Start("always", params=3))


def test_a_backfill_that_returns_to_earlier_params_transcribes_again() -> None:
    script(("a.wav",), Upload(), Start(), Start("always", params=1), Start("always"), Start("always", params=1))


def test_a_failed_repeated_backfill_does_not_report_the_earlier_transcript() -> None:
    script(("a.wav",), Upload(), Start("always", params=1), UploadArchived(), Start("always"))


def test_the_transcript_of_an_earlier_version_is_deleted_from_its_other_key() -> None:
    script(("a.mp3", "a.json.wav"), Upload(), Start(), Upload(), Upload(1), Start())


def test_a_repeated_backfill_restores_a_deleted_transcript() -> None:
    script(("a.wav",), Upload(), Start(), Start("always"), DeleteOutputs(), Start("always"))


def test_five_unreadable_recordings_do_not_block_the_others() -> None:
    script(("a.wav",), UploadArchived(), Upload(), Start())


def test_a_recording_uploaded_again_before_verify_is_not_reported_missing() -> None:
    script(("a.wav",), Upload(), Start(stop=BEFORE_DELETION), Resume(stop=1), Upload(again=True), Resume())


def test_a_run_that_starts_again_reports_what_its_job_did_before() -> None:
    script(("a.mp3", "a.wav"), Upload(), Upload(1), Start(stop=BEFORE_DELETION), Resume(stop=1), Abandon(), Clear())


def test_a_run_that_starts_again_after_its_job_ended_has_a_report() -> None:
    script(("a.wav",), Upload(), Start(stop=BEFORE_TRANSCRIPT), Abandon(), Resume(), Clear())


def test_a_repeated_backfill_with_other_params_reports_what_its_stopped_job_did() -> None:
    both = (Upload(), Upload(1), Start("always", stop=BEFORE_DELETION), Resume(stop=1))
    script(("a.mp3", "a.wav"), *both, Abandon(), Start("always", params=1))


def test_a_repeated_verify_gives_the_same_result() -> None:
    script(("a.wav",), Upload(), Start(), VerifyAgain())


def test_a_users_own_file_is_not_replaced() -> None:
    script(("a.wav",), PutOwnFile(), Upload(), Start())
