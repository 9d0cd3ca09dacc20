"""`verify` on the deployed bucket. The tests submit the jobs."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.plans import plan_summary, planned, register_job
from tests.task_context import task_context
from transcription import batch_jobs, notifications
from transcription.bucket import Bucket
from transcription.tasks.verify import TRANSCRIPTS, verify
from transcription_contract import layout, manifest
from transcription_contract.manifest import Header


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    return f"manual__{request.node.name}"


@pytest.fixture
def context(run_id: str) -> dict[str, Any]:
    return task_context(run_id)


@pytest.fixture
def plan(run_id: str, put: Any, empty_bucket: str) -> dict[str, Any]:
    """A plan of two recordings: one is processed, one waits."""
    prefix = layout.manifest_prefix(run_id)
    for name in ("a", "b"):
        put(f"input/{name}.wav")
    recordings = planned(Bucket(empty_bucket).listing("input/"))
    Bucket(empty_bucket).write_manifests(prefix, [manifest.to_bytes(Header(), recordings)])
    return plan_summary(prefix, files=2)


@pytest.fixture
def transcribe(put: Any, s3: Any, empty_bucket: str) -> Any:
    def transcribe(name: str) -> None:
        head = s3.head_object(Bucket=empty_bucket, Key=f"input/{name}.wav")
        owner = {
            "recording": f"{name}.wav",
            "source-etag": head["ETag"].strip('"'),
            "uploaded": head["LastModified"].isoformat(),
        }
        put(f"output/{name}", b"text", **owner, **{"audio-seconds": "3600"})
        put(f"processed/{name}.wav", **owner)
        s3.delete_object(Bucket=empty_bucket, Key=f"input/{name}.wav")

    return transcribe


def test_verify_writes_a_report_with_an_entry_for_each_recording_and_deletes_the_manifests(
    plan: Any, context: Any, run_id: str, transcribe: Any, keys: Any, s3: Any, empty_bucket: str
) -> None:
    transcribe("a")
    transcribe("b")
    found = verify(plan, None, **context)
    key = layout.report_key(run_id, plan["plan_id"])
    assert json.loads(s3.get_object(Bucket=empty_bucket, Key=key)["Body"].read()) == {"schema": 3, **found}
    body = s3.get_object(Bucket=empty_bucket, Key=layout.entries_key(run_id, plan["plan_id"]))["Body"].read()
    entries = [json.loads(line) for line in body.splitlines()]
    assert [(entry["transcript_key"], entry["state"]) for entry in entries] == [
        ("output/a", "transcribed"),
        ("output/b", "transcribed"),
    ]
    assert found["totals"]["audio_hours"] == 2
    assert context["outlet_events"][TRANSCRIPTS].extra["transcribed"] == 2
    assert keys("child_job_input/") == []


def test_a_recording_without_a_result_fails_the_run_with_a_solution(
    plan: Any, context: Any, transcribe: Any, keys: Any
) -> None:
    transcribe("a")
    reason = r"(?s)1 of 2 recordings have no transcript.*'input/b.wav': it waits.*Clear the run"
    with pytest.raises(AirflowFailException, match=reason):
        verify(plan, None, **context)
    assert keys("input/") == ["input/b.wav"]


@pytest.mark.parametrize("complete", [True, False])
def test_a_repeated_verify_gives_the_same_result_even_if_the_bucket_has_changed(
    plan: Any, context: Any, transcribe: Any, put: Any, keys: Any, complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[str] = []
    monkeypatch.setattr(notifications, "notify", lambda _settings, subject, _text: announced.append(subject))

    def result() -> Any:
        try:
            return verify(plan, None, **context)
        except AirflowFailException as error:
            return str(error)

    transcribe("a")
    if complete:
        transcribe("b")
    first = result()
    put("input/a.wav", b"a newer upload")
    put("input/b.wav", b"a newer upload")
    assert result() == result() == first
    assert isinstance(first, dict) == complete
    assert keys("child_job_input/") == []
    assert len(announced) == 1


@pytest.mark.parametrize("step", ["upload_fileobj", "delete_objects"])
def test_the_next_attempt_of_a_verify_killed_at_a_write_gives_the_same_result(
    plan: Any, context: Any, transcribe: Any, keys: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    transcribe("a")
    transcribe("b")
    make, killed = Bucket.__init__, []

    def break_off(self: Bucket, name: str) -> None:
        make(self, name)
        real = getattr(self._s3, step)

        def die_after_each_new_write(*args: Any, **kwargs: Any) -> Any:
            answer = real(*args, **kwargs)
            if str(args[1:] or kwargs) not in killed:
                killed.append(str(args[1:] or kwargs))
                raise Killed
            return answer

        setattr(self._s3, step, die_after_each_new_write)

    monkeypatch.setattr(Bucket, "__init__", break_off)
    results = []
    for _ in range(6):  # a write more each time
        with suppress(Killed):
            results.append(verify(plan, None, **context)["totals"]["files"])
    assert killed
    assert results
    assert all(files == {"transcribed": 2, "rejected": 0, "replaced": 0, "missing": 0} for files in results)
    assert keys("child_job_input/") == []


@pytest.mark.parametrize("recorded", [True, False])
def test_an_active_job_keeps_its_manifests_even_if_submit_did_not_store_its_id(
    plan: Any, context: Any, run_id: str, transcribe: Any, aws: Any, configured: Any, keys: Any, recorded: bool
) -> None:
    batch = aws.client("batch")
    register_job(batch, "sleep", "60")
    queue = configured.airflow_options["transcription.job_queue"]
    name = batch_jobs.job_name(run_id, plan["plan_id"])
    job_id = batch.submit_job(jobName=name, jobQueue=queue, jobDefinition="sleeper")["jobId"]
    before = keys("child_job_input/")
    try:
        with pytest.raises(AirflowFailException, match="2 of 2 recordings"):
            verify(plan, job_id if recorded else None, **context)
        assert keys("child_job_input/") == before
        transcribe("a")
        with pytest.raises(AirflowFailException, match="1 of 2 recordings"):
            verify(plan, None, **context)
    finally:
        batch.terminate_job(jobId=job_id, reason="The test is over.")


def test_missing_manifests_without_a_report_fail_the_task(
    plan: Any, context: Any, transcribe: Any, empty_bucket: str, keys: Any
) -> None:
    transcribe("a")
    Bucket(empty_bucket).delete(plan["manifest_prefix"])
    with pytest.raises(AirflowFailException, match=r"have 0 recordings and the plan 2.*Clear `plan`"):
        verify(plan, None, **context)
    assert keys("runs/") == [], "a run whose plan is lost has no report"


def test_a_run_without_a_plan_fails_with_a_solution(context: Any) -> None:
    with pytest.raises(AirflowFailException, match="airflow tasks test transcription verify RUN_ID"):
        verify(None, None, **context)
