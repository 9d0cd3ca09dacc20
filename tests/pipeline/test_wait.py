"""`wait` on the local Batch, with shell commands as containers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.batch_client import BatchClientHook
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from botocore.exceptions import BotoCoreError

from tests.plans import plan_summary, planned
from transcription import batch_jobs, progress
from transcription.bucket import Bucket
from transcription.file_count import FileCount
from transcription.tasks import wait
from transcription.tasks.wait import ArrayJobSensor, ArrayJobTrigger
from transcription_contract import manifest
from transcription_contract.manifest import Header

PLAN = plan_summary("child_job_input/a-run/", files=2)
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.fixture
def submit(aws: Any, configured: Any) -> Callable[..., str]:
    batch = aws.client("batch")
    count = iter(range(1000))

    def submit(script: str, size: int | None = None) -> str:
        name = f"waiting-{next(count)}"
        container = {
            "name": "worker",
            "image": "worker",
            "command": ["sh", "-c", script],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
        }
        batch.register_job_definition(
            jobDefinitionName=name,
            type="container",
            ecsProperties={"taskProperties": [{"containers": [container]}]},
        )
        return batch.submit_job(
            jobName=name,
            jobDefinition=name,
            jobQueue=configured.airflow_options["transcription.job_queue"],
            **({"arrayProperties": {"size": size}} if size else {}),
        )["jobId"]

    return submit


@pytest.fixture
def running_until(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Makes a script that ends when the trigger has looked so many times and found the children as a text says."""
    seen = []
    whole = wait._ProgressLog.look

    def running_until(looks: int, children: str = "") -> str:
        async def look(log: Any, job: dict[str, Any]) -> None:
            await whole(log, job)
            if children in progress.children_line(job):
                seen.append(job)
            if len(seen) == looks:
                (tmp_path / "seen").touch()

        monkeypatch.setattr(wait._ProgressLog, "look", look)
        return f'until [ -e "{tmp_path}/seen" ]; do sleep 0.05; done'

    return running_until


def trigger(job_id: str, **arguments: Any) -> ArrayJobTrigger:
    run = {"bucket": "no-bucket", "manifest_prefix": PLAN["manifest_prefix"], "files": 10**6}
    return ArrayJobTrigger(**{"job_id": job_id, "poll_seconds": 0.05, "deadline": TOMORROW, **run, **arguments})


def event_of(waiting_for: ArrayJobTrigger) -> dict[str, Any]:
    async def first() -> Any:
        return await anext(waiting_for.run())

    return asyncio.run(first()).payload


def test_the_event_reports_that_the_job_succeeded(submit: Any) -> None:
    assert event_of(trigger(submit("true", size=2)))["status"] == "SUCCEEDED"


def test_each_change_of_the_children_is_logged_once(
    submit: Any, running_until: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    event_of(trigger(submit(running_until(2, "2 running"), size=2)))
    lines = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines() if "children:" in line]
    assert any("2 children: 2 running" in line for line in lines)
    assert not any("PENDING" in line for line in lines)
    assert len(lines) == len(set(lines))


def test_a_line_comes_once_in_a_while_though_no_child_changes(
    submit: Any, running_until: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait, "PROGRESS_SECONDS", 0.0)
    event_of(trigger(submit(running_until(2, "2 running"), size=2)))
    lines = [line for line in capsys.readouterr().out.splitlines() if "2 children: 2 running" in line]
    assert len(lines) > 1


def test_the_files_that_are_done_are_counted(put: Any, s3: Any, empty_bucket: str) -> None:
    for name in ("a", "b", "c"):
        put(f"input/{name}.wav")
    bucket = Bucket(empty_bucket)
    lines = planned(bucket.listing("input/"))
    put(f"{PLAN['manifest_prefix']}0", manifest.to_bytes(Header(), lines[:2]))
    count = FileCount(empty_bucket, PLAN["manifest_prefix"], 2)
    first = count()
    assert first
    assert (first.files, first.of_files, first.audio_seconds) == (0, 2, 0)
    for name in ("a", "c"):  # c is not of this run
        s3.delete_object(Bucket=empty_bucket, Key=f"input/{name}.wav")
    then = count()
    assert then
    assert (then.files, then.audio_seconds, then.of_audio_seconds) == (
        1,
        first.of_audio_seconds / 2,
        first.of_audio_seconds,
    )


def test_files_that_cannot_be_counted_are_said_to_be_and_nothing_more(
    submit: Any, running_until: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert event_of(trigger(submit(running_until(1)), files=2))["status"] == "SUCCEEDED"
    assert "could not be counted" in capsys.readouterr().out


def test_files_transcribed_again_in_place_are_not_counted(put: Any, empty_bucket: str) -> None:
    put("processed/a.wav")
    lines = planned(Bucket(empty_bucket).listing("processed/"))
    put(f"{PLAN['manifest_prefix']}0", manifest.to_bytes(Header(), lines))
    assert FileCount(empty_bucket, PLAN["manifest_prefix"], 1)() is None


def test_the_event_has_the_reason_of_the_failure(submit: Any) -> None:
    event = event_of(trigger(submit('[ "$AWS_BATCH_JOB_ARRAY_INDEX" = 1 ]', size=2)))
    assert event == {"status": "FAILED", "reason": "Array Child Job failed"}


def test_a_job_that_batch_does_not_know_ends_the_wait(configured: Any) -> None:
    event = event_of(trigger("no-such-job"))
    assert event["status"] == "UNKNOWN"


def test_a_failed_request_does_not_end_the_wait(submit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    connect = BatchClientHook.get_async_conn

    async def connect_badly(hook: Any) -> Any:
        connection = await connect(hook)

        class Flaky:
            async def __aenter__(self) -> Any:
                client = await connection.__aenter__()
                describe = client.describe_jobs

                async def describe_badly(**arguments: Any) -> Any:
                    asked.append(arguments)
                    if len(asked) <= 2:
                        raise BotoCoreError
                    return await describe(**arguments)

                client.describe_jobs = describe_badly
                return client

            async def __aexit__(self, *error: Any) -> None:
                await connection.__aexit__(*error)

        return Flaky()

    monkeypatch.setattr(BatchClientHook, "get_async_conn", connect_badly)
    assert event_of(trigger(submit("sleep 0.5")))["status"] == "SUCCEEDED"
    assert len(asked) > 2


def test_an_unreachable_batch_ends_the_wait_but_not_the_job(
    submit: Any, aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit("sleep 2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    event = event_of(trigger(job_id, poll_seconds=0.001))
    assert event["status"] == "UNKNOWN"
    assert aws.client("batch").describe_jobs(jobs=[job_id])["jobs"][0]["status"] != "FAILED"


def test_a_job_is_stopped_at_its_deadline(submit: Any, aws: Any) -> None:
    job_id = submit("sleep 60")
    event = event_of(trigger(job_id, deadline=datetime.now(UTC).isoformat()))
    assert event["status"] == "STOPPED"
    assert event_of(trigger(job_id)) == {"status": "FAILED", "reason": "The deadline passed."}


def test_a_job_that_cannot_be_stopped_at_its_deadline_ends_the_wait_with_a_reason(
    submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit("sleep 2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    event = event_of(trigger(job_id, deadline=datetime.now(UTC).isoformat()))
    assert event["status"] == "UNKNOWN"
    assert "the deadline, and it may still be at work" in event["reason"]


def test_killing_the_task_stops_the_job_and_its_children(submit: Any, aws: Any) -> None:
    job_id = submit("sleep 60", size=2)
    asyncio.run(trigger(job_id).on_kill())
    assert event_of(trigger(job_id))["status"] == "FAILED"
    child = aws.client("batch").describe_jobs(jobs=[f"{job_id}:1"])["jobs"][0]
    assert child["statusReason"] == "A user stopped the task `wait` in Airflow."


def test_a_restarted_trigger_continues_to_wait_and_the_job_continues(submit: Any, aws: Any) -> None:
    job_id = submit("sleep 1")
    first = trigger(job_id)

    async def cancelled() -> None:
        task = asyncio.ensure_future(anext(first.run()))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    path, arguments = first.serialize()
    assert path == "transcription.tasks.wait.ArrayJobTrigger"
    assert event_of(ArrayJobTrigger(**arguments))["status"] == "SUCCEEDED"


def test_the_sensor_waits_in_the_triggerer_from_the_start(configured: Any) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        ArrayJobSensor(task_id="wait", plan=PLAN, job_id="a-job").execute({})  # type: ignore[typeddict-item]
    assert isinstance(deferred.value.trigger, ArrayJobTrigger)
    assert deferred.value.trigger.job_id == "a-job"


def test_the_deadline_counts_from_the_jobs_submission_however_often_the_task_starts(
    submit: Any, aws: Any, configured: Any
) -> None:
    job_id = submit("true")
    deadlines = set()
    for _ in range(2):
        with pytest.raises(TaskDeferred) as deferred:
            ArrayJobSensor(task_id="wait", plan=PLAN, job_id=job_id).execute({})  # type: ignore[typeddict-item]
        deadlines.add(deferred.value.trigger.deadline)  # type: ignore[attr-defined]
    [deadline] = deadlines
    submitted = aws.client("batch").describe_jobs(jobs=[job_id])["jobs"][0]["createdAt"] / 1000
    assert datetime.fromisoformat(deadline).timestamp() == pytest.approx(submitted + 48 * 3600)


def test_a_look_publishes_for_how_long_the_job_has_been_at_work(submit: Any, aws: Any) -> None:
    event_of(trigger(submit("sleep 0.5")))
    metrics = aws.client("cloudwatch").list_metrics(Namespace="Transcription")["Metrics"]
    assert "RunHours" in {metric["MetricName"] for metric in metrics}


def test_a_failed_child_is_named_with_reason_exit_code_and_log_stream(
    submit: Any, configured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = submit('exit "$AWS_BATCH_JOB_ARRAY_INDEX"', size=3)
    sensor = ArrayJobSensor(task_id="wait", plan=PLAN, job_id=job_id)
    with pytest.raises(AirflowFailException, match="ended as FAILED: Array Child Job failed"):
        sensor.execute_complete({}, event_of(trigger(job_id)))  # type: ignore[typeddict-item]
    named = [line for line in capsys.readouterr().out.splitlines() if "Failed:" in line]
    assert len(named) == 2
    assert f"{job_id}:2: Essential container in task exited (exit code 2, attempts 1, log stream" in named[1]


def test_a_failed_job_without_children_is_named(submit: Any, aws: Any) -> None:
    job_id = submit("exit 3")
    event_of(trigger(job_id))
    batch = aws.client("batch")
    (line,) = batch_jobs.failures(batch, batch_jobs.describe(batch, job_id) or {})
    assert job_id in line
    assert "exit code 3" in line


def test_a_run_without_a_job_fails_with_a_solution(configured: Any) -> None:
    with pytest.raises(AirflowFailException, match="airflow tasks test transcription wait RUN_ID"):
        ArrayJobSensor(task_id="wait", plan=PLAN, job_id=None).execute({})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("size", [None, 3])
def test_a_job_is_billed_for_at_least_a_minute_per_container(submit: Any, aws: Any, size: int | None) -> None:
    batch, job_id = aws.client("batch"), submit("true", size)
    event_of(trigger(job_id))
    assert batch_jobs.container_seconds(batch, batch_jobs.describe(batch, job_id) or {}) == 60.0 * (size or 1)


def test_the_description_of_a_job_that_batch_has_deleted_is_none(aws: Any, configured: Any) -> None:
    assert batch_jobs.describe(aws.client("batch"), "long-gone") is None
