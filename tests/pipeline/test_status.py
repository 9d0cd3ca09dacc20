"""`make status`: what waits, runs, was done and was rejected, in a terminal."""

from __future__ import annotations

import io
import os
import shlex
from pathlib import Path
from typing import Any

import boto3
import pytest
import status
from rich.console import Console
from status import NoStatusError, Source

from tests.indexes import put_run, rejected, transcribed
from tests.plans import plan_summary, planned, register_job
from transcription import batch_jobs, configuration
from transcription.bucket import Bucket
from transcription.plan_summary import PlanSummary
from transcription_contract import layout, manifest
from transcription_contract.manifest import Header
from transcription_contract.results import ErrorDocument

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shown(configured: Any, empty_bucket: str) -> Any:
    """What the command prints."""

    def shown() -> str:
        console = Console(file=io.StringIO(), width=200)
        status.show(Source(empty_bucket, configuration.load().job_queue), console)
        return str(console.file.getvalue())  # type: ignore[attr-defined]

    return shown


def test_an_empty_bucket_says_so(shown: Any) -> None:
    text = shown()
    assert "0 recordings" in text
    assert "No run has a Batch job now" in text
    assert "No run was accounted for yet" in text


def test_runs_and_rejected_recordings_are_listed(shown: Any, put: Any, s3: Any, empty_bucket: str) -> None:
    for day in range(10, 22):
        put_run(
            s3, empty_bucket, f"run-{day}", f"2026-11-{day}T01:00:00+00:00", [transcribed("a.wav", "x"), rejected("b")]
        )
    document = ErrorDocument("no-speech", "No [bold]speech[/bold].", "", "input/[red]b\n.wav", "e", "", "r")
    put("failed/[red]b\n.wav.error.json", document.to_bytes())
    put("failed/[red]b\n.wav")
    put("input/c.wav")
    text = shown()
    assert "Waiting in s3://" in text
    assert "1 recording" in text
    assert "run-21" in text
    assert "run-12" in text
    assert "run-11" not in text
    assert "and 2 earlier runs" in text
    assert r"[red]b\n.wav" in text, "a name is text and moves no cursor"
    assert "No [bold]speech[/bold]." in text


def test_a_running_run_shows_its_children_and_files(
    shown: Any, put: Any, aws: Any, configured: Any, empty_bucket: str, s3: Any
) -> None:
    run_id = "manual__status"
    prefix = layout.manifest_prefix(run_id)
    for name in ("a", "b"):
        put(f"input/{name}.wav")
    recordings = planned(Bucket(empty_bucket).listing("input/"))
    Bucket(empty_bucket).write_manifests(prefix, [manifest.to_bytes(Header(), recordings)])
    plan = PlanSummary.of_xcom(plan_summary(prefix, files=2), "test")
    put(layout.plan_key(run_id), plan.to_bytes())
    s3.delete_object(Bucket=empty_bucket, Key="input/a.wav")
    batch = aws.client("batch")
    register_job(batch, "sleep", "600")
    job = batch.submit_job(
        jobName=batch_jobs.job_name(run_id, plan.plan_id),
        jobQueue=configuration.load().job_queue,
        jobDefinition="sleeper",
    )["jobId"]
    try:
        text = shown()
    finally:
        batch.terminate_job(jobId=job, reason="test")
    assert f"Running: {layout.run_folder(run_id)}" in text
    assert "1 child: 1 " in text
    assert "1 of 2 files" in text


def test_the_local_airflow_is_found_by_its_file_of_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    values = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AIRFLOW__TRANSCRIPTION__JOB_QUEUE": "a queue", "BUCKET": "b"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    (tmp_path / "env").write_text("\n".join([*lines, 'export PATH=/a b:"$PATH"', ""]))
    with monkeypatch.context() as patched:
        patched.setattr(os, "environ", dict(os.environ))
        assert status.of_local(tmp_path) == Source("b", "a queue")
        assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"


def test_what_does_not_run_is_said_with_what_to_do(
    tmp_path: Path, configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NoStatusError, match="make status CLOUD=stack"):
        status.of_local(tmp_path)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(status, "stack_of", lambda _: ("None", None))
    with pytest.raises(NoStatusError, match="There is no stack None"):
        status.of_stack(PROJECT / "build" / "local")


def test_a_deployed_stack_is_found_by_its_outputs(configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    found = status.of_stack(PROJECT / "build" / "local")
    assert found == Source(configured.outputs["BucketName"], configured.outputs["JobQueueArn"])
