"""Against the local Batch, with a job definition whose command only sleeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from transcription import array_job, planning, submission
from transcription.bucket import Bucket
from transcription.errors import PlanMissing, PlanOvertaken
from transcription.submission import SubmitOnce
from transcription_contract import layout, manifest
from transcription_contract.manifest import Header

RUN_ID = "manual__2026-11-23T06:52:46+00:00"
PREFIX, OTHER = "child_job_input/x/", "child_job_input/y/"
PLAN = {"digest": "0123456789abcdef", "files": 3, "children": 3, "manifest_prefix": PREFIX, "dry_run": False}
HOURS_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)


class Store(dict[str, Any]):
    """Airflow's task state store, as far as it is a mapping."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


@pytest.fixture
def batch(aws: Any, configured: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    client = aws.client("batch")
    container = {
        "name": "worker",
        "image": "worker",
        "command": ["sleep", "60"],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
    }
    client.register_job_definition(
        jobDefinitionName="sleeper",
        type="container",
        ecsProperties={"taskProperties": [{"containers": [container]}]},
    )
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
    return [job for job in listed if job["status"] in (statuses or array_job.ACTIVE)]


def ended(client: Any, job_id: str) -> None:
    """Wait until a job that is being stopped has ended."""
    deadline = time.monotonic() + 60
    while client.describe_jobs(jobs=[job_id])["jobs"][0]["status"] in array_job.ACTIVE:
        assert time.monotonic() < deadline, f"job {job_id} does not end"
        time.sleep(0.05)


@pytest.fixture
def context(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {
        "run_id": f"{RUN_ID}-{request.node.name}",
        "params": {},
        "task_state_store": Store(),
        "ti": None,
        "task_instance": None,
    }


@pytest.fixture
def planned(put: Any, empty_bucket: str) -> Any:
    """Puts manifests of a recording each, as a plan of that time left them; returns their bodies."""

    def planned(prefix: str, names: str, made: datetime | None = None) -> list[bytes]:
        bodies = []
        for index, name in enumerate(names):
            put(f"input/{name}.wav")
            lines, _ = planning.manifest_lines(Bucket(empty_bucket).objects(f"input/{name}.wav"))
            bodies.append(manifest.to_bytes(Header(), lines))
            put(f"{prefix}{index}", bodies[-1], modified=made)
        return bodies

    return planned


@pytest.fixture
def submit(batch: Any, context: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("airflow.providers.amazon.aws.links.batch.BatchJobDetailsLink.persist", lambda **_: None)
    return lambda **changes: task(**changes).execute(context)


def task(*, planned: datetime | None = None, **changes: Any) -> Any:
    plan = {**PLAN, "planned": (planned or datetime.now(UTC)).isoformat(), **changes}
    return SubmitOnce(task_id="submit", plan=plan)


def test_a_plan_for_several_children_becomes_an_array_job(submit: Any, batch: Any) -> None:
    job = batch.describe_jobs(jobs=[submit()])["jobs"][0]
    assert job["arrayProperties"]["size"] == 3
    [task] = job["ecsProperties"]["taskProperties"]
    environment = {item["name"]: item["value"] for item in task["containers"][0]["environment"]}
    assert environment["MANIFEST_PREFIX"] == "child_job_input/x/"


def test_a_plan_for_one_child_becomes_no_array(submit: Any, batch: Any) -> None:
    assert "arrayProperties" not in batch.describe_jobs(jobs=[submit(children=1)])["jobs"][0]


def test_a_task_that_runs_again_adopts_the_job_that_it_stored(submit: Any, batch: Any, configured: Any) -> None:
    first = submit()
    assert submit() == first
    assert len(jobs(batch, configured)) == 1


def test_a_task_that_died_before_it_stored_the_job_finds_it_by_its_name(
    submit: Any, batch: Any, configured: Any, context: dict[str, Any]
) -> None:
    first = submit()
    context["task_state_store"].clear()
    assert submit() == first
    assert len(jobs(batch, configured)) == 1


def test_a_cleared_task_whose_plan_changed_submits_anew_and_stops_the_earlier_job(
    submit: Any, batch: Any, configured: Any
) -> None:
    first, second = submit(), submit(digest="f" * 16)
    assert first != second
    ended(batch, first)
    assert [job["jobId"] for job in jobs(batch, configured)] == [second]


def test_a_job_that_failed_is_not_adopted(submit: Any, batch: Any) -> None:
    first = submit(children=1)
    batch.terminate_job(jobId=first, reason="gone")
    while batch.describe_jobs(jobs=[first])["jobs"][0]["status"] != "FAILED":
        pass
    assert submit(children=1) != first


def test_another_runs_job_is_not_touched(submit: Any, batch: Any, configured: Any, context: dict[str, Any]) -> None:
    first = submit()
    context["run_id"] += "-other"
    context["task_state_store"].clear()
    second = submit()
    assert {job["jobId"] for job in jobs(batch, configured)} == {first, second}
    queue = configured.airflow_options["transcription.job_queue"]
    assert layout.run_folder(context["run_id"]) in submission.live_runs(batch, queue)


def test_a_task_that_a_user_stops_takes_its_job_with_it(
    submit: Any, batch: Any, configured: Any, context: dict[str, Any]
) -> None:
    stopped = task()
    stopped.on_kill()  # before it has a job
    job = stopped.execute(context)
    stopped.on_kill()
    ended(batch, job)
    assert jobs(batch, configured) == []


def test_a_dry_run_submits_nothing(submit: Any, batch: Any, configured: Any) -> None:
    with pytest.raises(AirflowSkipException):
        submit(dry_run=True)
    assert jobs(batch, configured) == []


def test_a_run_without_a_plan_says_what_to_do(context: dict[str, Any]) -> None:
    with pytest.raises(PlanMissing, match="airflow tasks test transcription submit RUN_ID"):
        SubmitOnce(task_id="submit", plan=None).execute(context)  # type: ignore[arg-type]


def test_a_plan_that_waited_long_is_claimed_anew_and_submitted(
    submit: Any, planned: Any, batch: Any, configured: Any, empty_bucket: str, keys: Any
) -> None:
    bodies = planned(PREFIX, "abc", HOURS_AGO)
    planned(OTHER, "cd", HOURS_AGO)  # of a run that was abandoned
    assert submit(planned=HOURS_AGO) in {job["jobId"] for job in jobs(batch, configured)}
    bucket = Bucket(empty_bucket)
    assert [item.uploaded > HOURS_AGO for item in bucket.objects(PREFIX)] == [True] * 3
    assert [bucket._read(f"{PREFIX}{index}") for index in range(3)] == bodies
    assert layout.PLAN_LOCK not in keys()


def test_a_plan_that_waited_long_and_was_overtaken_says_what_to_do(
    submit: Any, planned: Any, batch: Any, configured: Any, empty_bucket: str, keys: Any
) -> None:
    planned(PREFIX, "abc", HOURS_AGO)
    planned(OTHER, "dca")
    with pytest.raises(PlanOvertaken, match=r"has 2 of its 3 recordings, such as 'input/a.wav'. Clear `plan`"):
        submit(planned=HOURS_AGO)
    assert jobs(batch, configured) == []
    assert [item.uploaded for item in Bucket(empty_bucket).objects(PREFIX)] == [HOURS_AGO] * 3
    assert layout.PLAN_LOCK not in keys()


def test_a_plan_whose_manifests_were_removed_says_what_to_do(
    submit: Any, planned: Any, batch: Any, configured: Any
) -> None:
    planned(PREFIX, "ab", HOURS_AGO)
    with pytest.raises(PlanMissing, match=r"3 manifests, and under child_job_input/x/ are 2.*Clear `plan`"):
        submit(planned=HOURS_AGO)
    assert jobs(batch, configured) == []


def test_of_two_live_jobs_of_one_plan_one_is_adopted_and_the_other_stopped(
    submit: Any, batch: Any, configured: Any, context: dict[str, Any]
) -> None:
    first = submit()
    context["task_state_store"].clear()
    queue = configured.airflow_options["transcription.job_queue"]
    name = submission.job_name(context["run_id"], PLAN["digest"])  # type: ignore[arg-type]
    second = batch.submit_job(jobName=name, jobQueue=queue, jobDefinition="sleeper")["jobId"]
    adopted = submit()
    ended(batch, ({first, second} - {adopted}).pop())
    assert [job["jobId"] for job in jobs(batch, configured)] == [adopted]


def test_a_container_learns_only_where_its_manifests_are() -> None:
    given = {item["name"]: item["value"] for item in submission.container_environment("b", "p/")}
    assert given == {"S3_BUCKET_NAME": "b", "MANIFEST_PREFIX": "p/"}


@pytest.mark.parametrize("run_id", [RUN_ID, "x" * 250, "ünïcode …"])
def test_a_job_name_is_one_that_batch_takes_and_differs_by_run_and_plan(run_id: str) -> None:
    name = submission.job_name(run_id, "0" * 16)
    assert len(name) <= 128
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert len({name, submission.job_name(run_id, "1" * 16), submission.job_name(run_id + "x", "0" * 16)}) == 3
