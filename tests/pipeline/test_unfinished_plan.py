"""A run that starts again on an empty database: it goes on with its plan, or closes it first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from tests.plans import register_job
from tests.task_context import task_context
from transcription import batch_jobs, plan_account
from transcription.model_check import Models
from transcription.model_rules import Image
from transcription.planning import StoredObject
from transcription.selection import Interval, Selection
from transcription.tasks.plan import plan
from transcription.tasks.sense_input import sense_input
from transcription.tasks.verify import verify
from transcription_contract import layout
from transcription_contract.run_options import RunOptions


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    return f"manual__{request.node.name}"


@pytest.fixture
def start_job(
    aws: Any, configured: Any, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[dict[str, Any], str], str]]:
    """Starts the job of a plan of the run, with a container that sleeps so many seconds."""
    batch = aws.client("batch")
    queue = configured.airflow_options["transcription.job_queue"]
    monkeypatch.setattr(plan_account, "_LOOK_SECONDS", 0.1)
    started: list[str] = []

    def start_job(planned: dict[str, Any], seconds: str) -> str:
        register_job(batch, "sleep", seconds)
        name = batch_jobs.job_name(run_id, planned["plan_id"])
        started.append(batch.submit_job(jobName=name, jobQueue=queue, jobDefinition="sleeper")["jobId"])
        return started[-1]

    yield start_job
    for job_id in started:
        batch.terminate_job(jobId=job_id, reason="The test is over.")


@pytest.fixture
def wait_for(aws: Any) -> Callable[[str], None]:
    def wait_for(job_id: str) -> None:
        while aws.client("batch").describe_jobs(jobs=[job_id])["jobs"][0]["status"] in batch_jobs.ACTIVE:
            time.sleep(0.05)

    return wait_for


@pytest.fixture
def transcribe(put: Any, s3: Any, empty_bucket: str) -> Callable[[str], None]:
    """Does to a recording what the worker does."""

    def transcribe(name: str) -> None:
        head = s3.head_object(Bucket=empty_bucket, Key=f"input/{name}")
        etag, uploaded = head["ETag"].strip('"'), head["LastModified"].isoformat()
        owner = {"recording": name, "source-etag": etag, "uploaded": uploaded}
        put(f"output/{name.removesuffix('.wav')}", b"text", **owner)
        put(f"processed/{name}", **owner)
        s3.delete_object(Bucket=empty_bucket, Key=f"input/{name}")

    return transcribe


def test_a_run_goes_on_with_its_plan_while_the_job_is_at_work(
    put: Any, run_id: str, start_job: Any, transcribe: Any
) -> None:
    put("input/a.wav")
    put("input/b.wav")
    first = plan(**task_context(run_id))
    start_job(first, "60")
    transcribe("a.wav")
    assert sense_input(**task_context(run_id))
    assert plan(**task_context(run_id)) == first


def test_a_run_whose_job_has_ended_accounts_for_it_although_nothing_waits(
    put: Any, run_id: str, start_job: Any, wait_for: Any, transcribe: Any
) -> None:
    put("input/a.wav")
    first = plan(**task_context(run_id))
    wait_for(start_job(first, "0"))
    transcribe("a.wav")
    assert sense_input(**task_context(run_id))
    assert plan(**task_context(run_id)) == first
    assert verify(first, None, **task_context(run_id))["totals"]["files"]["transcribed"] == 1
    assert not sense_input(**task_context(run_id)), "the plan is accounted for, and nothing else waits"


def test_a_plan_without_a_job_is_made_again_with_what_was_uploaded_since(
    put: Any, configured: Any, run_id: str
) -> None:
    put("input/a.wav")
    first = plan(**task_context(run_id))
    put("input/b.wav")
    second = plan(**task_context(run_id))
    assert (first["files"], second["files"]) == (1, 2)
    assert first["plan_id"] != second["plan_id"]


def test_an_earlier_runs_plan_is_not_another_runs(put: Any, run_id: str, start_job: Any) -> None:
    put("input/a.wav")
    start_job(plan(**task_context(run_id)), "60")
    assert not sense_input(**task_context("manual__another", prefix="elsewhere/"))
    with pytest.raises(AirflowSkipException, match=r"1 object left alone.*keeps it until its Batch job ends"):
        plan(**task_context("manual__another"))


@pytest.mark.parametrize("change", ["params", "model", "worker", "interval"])
def test_a_plan_that_would_be_made_otherwise_is_closed_with_a_report_of_what_its_job_did(
    put: Any,
    read: Callable[[str], bytes],
    run_id: str,
    start_job: Any,
    transcribe: Any,
    aws: Any,
    change: str,
    configured: Any,
) -> None:
    put("input/a.wav")
    put("input/b.wav")
    first = plan(**task_context(run_id))
    job_id = start_job(first, "60")
    transcribe("a.wav")
    params: dict[str, Any] = {}
    if change == "params":
        params["beam_width"] = 7
    elif change == "interval":
        params["uploaded_from"] = "2020-01-01"
    elif change == "model":
        put("models/fr/model.tflite", b"a model that no recording uses yet")
    else:
        _new_revision(aws.client("batch"), configured.airflow_options["transcription.job_definition"])
    second = plan(**task_context(run_id, **params))
    assert (second["plan_id"] != first["plan_id"], second["files"]) == (True, 1)
    assert aws.client("batch").describe_jobs(jobs=[job_id])["jobs"][0]["status"] == "FAILED"
    closed = json.loads(read(layout.report_key(run_id, first["plan_id"])))
    assert closed["totals"]["files"] == {"transcribed": 1, "rejected": 0, "replaced": 0, "missing": 1}

    transcribe("b.wav")
    verify(second, None, **task_context(run_id, **params))
    totals = json.loads(read(layout.totals_key(run_id)))
    assert totals["plans"] == [first["plan_id"], second["plan_id"]]
    assert totals["totals"]["files"] == {"transcribed": 2, "rejected": 0, "replaced": 0, "missing": 0}


def test_what_a_plan_is_made_from_differs_if_params_selection_worker_or_a_model_differ() -> None:
    uploaded = datetime(2026, 11, 20, tzinfo=UTC)
    model = StoredObject("models/fr/model.tflite", "etag", 7, uploaded)
    models = Models("bucket", Image(built_in={}, revision="worker:1"), (model,))
    options, selection = RunOptions(), Selection()
    others = [
        models.made_from(replace(options, beam_width=7), selection),
        models.made_from(options, Selection(interval=Interval(start=uploaded))),
        replace(models, image=Image(built_in={}, revision="worker:2")).made_from(options, selection),
        replace(models, objects=(model._replace(etag="another"),)).made_from(options, selection),
    ]
    assert len({models.made_from(options, selection), *others}) == 5
    assert models.made_from(RunOptions(), Selection()) == models.made_from(options, selection)


def _without_last_line(manifest: bytes) -> bytes:
    return b"".join(manifest.splitlines(keepends=True)[:-1])


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "removed": lambda _: None,
    "malformed": lambda _: b"input/a.wav\n",
    "another schema": lambda _: b'{"schema": 2}\n',
    "incomplete": _without_last_line,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_plan_with_a_manifest_that_is_gone_or_unreadable_is_made_again(
    put: Any,
    read: Callable[[str], bytes],
    s3: Any,
    empty_bucket: str,
    run_id: str,
    start_job: Any,
    transcribe: Any,
    aws: Any,
    damage: Callable[[bytes], bytes | None],
) -> None:
    for name in ("a", "b", "c", "d"):
        put(f"input/{name}.wav", bytes(100_000))
    first = plan(**task_context(run_id, max_instances=2, audio_minutes_per_child=0.01))
    assert first["children"] == 2
    job_id = start_job(first, "60")
    key = f"{first['manifest_prefix']}1"
    damaged = damage(read(key))
    s3.delete_object(Bucket=empty_bucket, Key=key)
    if damaged is not None:
        put(key, damaged)
    transcribe("a.wav")
    second = plan(**task_context(run_id, max_instances=2, audio_minutes_per_child=0.01))
    assert (second["plan_id"] != first["plan_id"], second["files"]) == (True, 3)
    assert aws.client("batch").describe_jobs(jobs=[job_id])["jobs"][0]["status"] == "FAILED"
    for name in ("b", "c", "d"):
        transcribe(f"{name}.wav")
    assert verify(second, None, **task_context(run_id))["totals"]["files"]["transcribed"] == 3


def _new_revision(batch: Any, job_definition: str) -> None:
    """Register the worker's job definition once more, as a deployment of another image does."""
    name = job_definition.rpartition("/")[2].partition(":")[0]
    found = batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"][-1]
    batch.register_job_definition(
        jobDefinitionName=name,
        type="container",
        ecsProperties=found["ecsProperties"],
        parameters=found["parameters"],
        platformCapabilities=["FARGATE"],
    )
