"""`submit` on the local Batch, with a job definition whose command only sleeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from tests.plans import plan_summary, register_job
from tests.plans import planned as planned_recordings
from tests.task_context import task_context
from transcription import batch_jobs, report
from transcription.bucket import Bucket
from transcription.tasks import submit as submit_task
from transcription.tasks.submit import SubmitOnce
from transcription_contract import layout, manifest
from transcription_contract.manifest import Header

RUN_ID = "manual__2026-11-23T06:52:46+00:00"
PREFIX, OTHER = "child_job_input/x/", "child_job_input/y/"
HOURS_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
MINUTES_AGO = HOURS_AGO + timedelta(hours=2, minutes=54)  # more than half of the claims' duration


@pytest.fixture
def batch(aws: Any, configured: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    client = aws.client("batch")
    register_job(client, "sleep", "60")
    monkeypatch.setenv("AIRFLOW__TRANSCRIPTION__JOB_DEFINITION", "sleeper")
    yield client
    for job in jobs(client, configured):
        client.terminate_job(jobId=job["jobId"], reason="the test is over")
    while jobs(client, configured):
        time.sleep(0.05)


def jobs(client: Any, configured: Any, *statuses: str) -> list[dict[str, Any]]:
    listed = client.list_jobs(
        jobQueue=configured.airflow_options["transcription.job_queue"],
        filters=[{"name": "JOB_NAME", "values": ["transcription-*"]}],
    )["jobSummaryList"]
    return [job for job in listed if job["status"] in (statuses or batch_jobs.ACTIVE)]


def ended(client: Any, job_id: str) -> None:
    """Wait until a terminated job has ended."""
    deadline = time.monotonic() + 60
    while client.describe_jobs(jobs=[job_id])["jobs"][0]["status"] in batch_jobs.ACTIVE:
        assert time.monotonic() < deadline, f"job {job_id} does not end"
        time.sleep(0.05)


@pytest.fixture
def context(request: pytest.FixtureRequest) -> dict[str, Any]:
    return task_context(f"{RUN_ID}-{request.node.name}")


@pytest.fixture
def planned(put: Any, empty_bucket: str) -> Any:
    """Writes manifests with one recording each, as a plan did at that time. Returns their bodies."""

    def planned(prefix: str, names: str, made: datetime | None = None) -> list[bytes]:
        bodies = []
        for index, name in enumerate(names):
            put(f"input/{name}.wav")
            recordings = planned_recordings(Bucket(empty_bucket).listing(f"input/{name}.wav"))
            bodies.append(manifest.to_bytes(Header(), recordings))
            put(f"{prefix}{index}", bodies[-1], modified=made)
        return bodies

    return planned


@pytest.fixture
def submit(batch: Any, context: dict[str, Any], empty_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("airflow.providers.amazon.aws.links.batch.BatchJobDetailsLink.persist", lambda **_: None)

    def submit(**changes: Any) -> str:
        children = changes.get("children", 3)
        if "planned" not in changes:  # tests of an old plan write its manifests themselves
            Bucket(empty_bucket).write_manifests(PREFIX, [b""] * children)
        return task(**changes).execute(context)

    return submit


def task(**changes: Any) -> Any:
    return SubmitOnce(task_id="submit", plan=plan_summary(PREFIX, **{"files": 3, "children": 3, **changes}))


def test_a_plan_for_several_children_becomes_an_array_job(submit: Any, batch: Any) -> None:
    job = batch.describe_jobs(jobs=[submit()])["jobs"][0]
    assert job["arrayProperties"]["size"] == 3
    [task] = job["ecsProperties"]["taskProperties"]
    environment = {item["name"]: item["value"] for item in task["containers"][0]["environment"]}
    assert environment["MANIFEST_PREFIX"] == "child_job_input/x/"


def test_a_plan_for_one_child_becomes_a_single_job(submit: Any, batch: Any) -> None:
    assert "arrayProperties" not in batch.describe_jobs(jobs=[submit(children=1)])["jobs"][0]


def test_a_repeated_task_adopts_the_job_that_it_stored(submit: Any, batch: Any, configured: Any) -> None:
    first = submit()
    assert submit() == first
    assert len(jobs(batch, configured)) == 1


def test_a_task_killed_before_it_stored_the_job_finds_the_job_by_its_name(
    submit: Any, batch: Any, configured: Any, context: dict[str, Any]
) -> None:
    first = submit()
    context["task_state_store"].clear()
    assert submit() == first
    assert len(jobs(batch, configured)) == 1


def test_a_cleared_task_with_a_new_plan_submits_a_new_job_and_stops_the_earlier_one(
    submit: Any, batch: Any, configured: Any
) -> None:
    first, second = submit(), submit(plan_id="f" * 16)
    assert first != second
    ended(batch, first)
    assert [job["jobId"] for job in jobs(batch, configured)] == [second]


def test_a_new_plan_does_not_adopt_the_job_of_an_equal_earlier_plan(
    submit: Any, batch: Any, configured: Any, context: dict[str, Any]
) -> None:
    register_job(batch, "true")
    first = submit()
    ended(batch, first)
    assert submit() == first, "the same plan adopts the job that has succeeded"
    assert submit(plan_id="f" * 16) != first


def test_a_failed_job_is_not_adopted(submit: Any, batch: Any) -> None:
    first = submit(children=1)
    batch.terminate_job(jobId=first, reason="gone")
    while batch.describe_jobs(jobs=[first])["jobs"][0]["status"] != "FAILED":
        pass
    assert submit(children=1) != first


def test_a_failed_job_of_a_plan_with_its_final_report_is_adopted_and_not_repeated(
    submit: Any, batch: Any, put: Any, context: dict[str, Any], configured: Any
) -> None:
    """`verify` was killed between its report and the deletion of the manifests."""
    first = submit(children=1)
    batch.terminate_job(jobId=first, reason="gone")
    ended(batch, first)
    key = layout.report_key(context["run_id"], plan_summary(PREFIX)["plan_id"])
    put(key, report.to_bytes({"final": False}))
    repeated = submit(children=1)
    assert repeated != first, "a report that is not final says nothing about the job"
    batch.terminate_job(jobId=repeated, reason="gone")
    ended(batch, repeated)
    put(key, report.to_bytes({"final": True}))
    assert submit(children=1) in (first, repeated)
    assert jobs(batch, configured) == []


def test_another_runs_job_is_not_touched(submit: Any, batch: Any, configured: Any, context: dict[str, Any]) -> None:
    first = submit()
    context["run_id"] += "-other"
    context["task_state_store"].clear()
    second = submit()
    assert {job["jobId"] for job in jobs(batch, configured)} == {first, second}
    queue = configured.airflow_options["transcription.job_queue"]
    assert layout.run_folder(context["run_id"]) in batch_jobs.live_runs(batch, queue)


def test_stopping_the_task_stops_its_job(
    submit: Any, batch: Any, configured: Any, context: dict[str, Any], empty_bucket: str
) -> None:
    stopped = task()
    Bucket(empty_bucket).write_manifests(PREFIX, [b""] * 3)
    stopped.on_kill()  # before it has a job
    job = stopped.execute(context)
    stopped.on_kill()
    ended(batch, job)
    assert jobs(batch, configured) == []


def test_a_dry_run_submits_nothing(submit: Any, batch: Any, configured: Any) -> None:
    with pytest.raises(AirflowSkipException):
        submit(dry_run=True)
    assert jobs(batch, configured) == []


def test_a_run_without_a_plan_fails_with_a_solution(context: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="airflow tasks test transcription submit RUN_ID"):
        SubmitOnce(task_id="submit", plan=None).execute(context)  # type: ignore[arg-type]


def test_an_old_plan_is_claimed_again_and_submitted(
    submit: Any, planned: Any, batch: Any, configured: Any, empty_bucket: str, keys: Any
) -> None:
    bodies = planned(PREFIX, "abc", HOURS_AGO)
    planned(OTHER, "cd", HOURS_AGO)  # an abandoned run's manifests
    assert submit(planned=HOURS_AGO) in {job["jobId"] for job in jobs(batch, configured)}
    bucket = Bucket(empty_bucket)
    assert [item.uploaded > HOURS_AGO for item in bucket.listing(PREFIX)] == [True] * 3
    assert [bucket._read(f"{PREFIX}{index}") for index in range(3)] == bodies
    assert layout.PLAN_LOCK not in keys()


@pytest.mark.parametrize("made", [HOURS_AGO, MINUTES_AGO])
def test_an_old_plan_whose_recordings_another_run_has_taken_fails_with_a_solution(
    submit: Any, planned: Any, batch: Any, configured: Any, empty_bucket: str, keys: Any, made: datetime
) -> None:
    planned(PREFIX, "abc", made)
    planned(OTHER, "dca")
    with pytest.raises(
        AirflowFailException, match=r"the run y has 2 of its 3 recordings, such as 'input/a.wav'. Clear `plan`"
    ):
        submit(planned=made)
    assert jobs(batch, configured) == []
    assert [item.uploaded for item in Bucket(empty_bucket).listing(PREFIX)] == [made] * 3
    assert layout.PLAN_LOCK not in keys()


@pytest.mark.parametrize("made", [HOURS_AGO, datetime.now(UTC)])
def test_a_plan_without_its_manifests_fails_with_a_solution(
    submit: Any, planned: Any, batch: Any, configured: Any, made: datetime
) -> None:
    planned(PREFIX, "ab", made)
    with pytest.raises(AirflowFailException, match=r"3 manifests, and under child_job_input/x/ are 2.*Clear `plan`"):
        submit(planned=made)
    assert jobs(batch, configured) == []


def test_of_two_active_jobs_of_one_plan_one_is_adopted_and_the_other_stopped(
    submit: Any, batch: Any, configured: Any, context: dict[str, Any]
) -> None:
    first = submit()
    context["task_state_store"].clear()
    queue = configured.airflow_options["transcription.job_queue"]
    name = batch_jobs.job_name(context["run_id"], "0123456789abcdef")  # type: ignore[arg-type]
    second = batch.submit_job(jobName=name, jobQueue=queue, jobDefinition="sleeper")["jobId"]
    adopted = submit()
    ended(batch, ({first, second} - {adopted}).pop())
    assert [job["jobId"] for job in jobs(batch, configured)] == [adopted]


def test_a_containers_environment_has_only_the_bucket_and_the_manifest_prefix() -> None:
    given = {item["name"]: item["value"] for item in submit_task.container_environment("b", "p/")}
    assert given == {"S3_BUCKET_NAME": "b", "MANIFEST_PREFIX": "p/"}


@pytest.mark.parametrize("run_id", [RUN_ID, "x" * 250, "ünïcode …"])
def test_a_job_name_is_valid_and_differs_by_run_and_plan(run_id: str) -> None:
    name = batch_jobs.job_name(run_id, "0" * 16)
    assert len(name) <= 128
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert len({name, batch_jobs.job_name(run_id, "1" * 16), batch_jobs.job_name(run_id + "x", "0" * 16)}) == 3
