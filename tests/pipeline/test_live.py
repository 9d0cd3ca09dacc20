"""The progress of a running run on the Transcripts page, on the local AWS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.plans import plan_summary, planned, register_job
from transcription import batch_jobs, configuration
from transcription.bucket import Bucket
from transcription.plan_summary import PlanSummary
from transcription_contract import layout, manifest
from transcription_contract.manifest import Header
from transcripts_page import live
from transcripts_page.live import LiveRuns

RUN = "manual__live"


@pytest.fixture
def batch(aws: Any) -> Any:
    return aws.client("batch")


@pytest.fixture
def runs(empty_bucket: str, batch: Any) -> LiveRuns:
    return LiveRuns(configuration.load(), Bucket(empty_bucket), batch)


@pytest.fixture
def job(put: Any, empty_bucket: str, batch: Any) -> Iterator[str]:
    """The job of a run over two recordings, which does nothing for a while."""
    for name in ("a", "b"):
        put(f"input/{name}.wav")
    prefix = layout.manifest_prefix(RUN)
    plan = PlanSummary.of_xcom(plan_summary(prefix, files=2, children=2), "wait")
    put(layout.plan_key(RUN), plan.to_bytes())
    put(f"{prefix}0", manifest.to_bytes(Header(), planned(Bucket(empty_bucket).listing("input/"))))
    register_job(batch, "sleep", "60")
    job_id = batch.submit_job(
        jobName=batch_jobs.job_name(RUN, plan.plan_id),
        jobQueue=configuration.load().job_queue,
        jobDefinition="sleeper",
        arrayProperties={"size": 2},
    )["jobId"]
    yield job_id
    batch.terminate_job(jobId=job_id, reason="the test is over")


def test_before_there_is_a_plan_nothing_is_known(runs: LiveRuns) -> None:
    assert runs.progress(RUN) == {"plan": None, "job": None, "done": None, "end": None}


def test_children_files_and_the_estimated_end_are_told(
    runs: LiveRuns, job: str, s3: Any, empty_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = runs.progress(RUN)
    assert first["plan"]["files"] == 2
    assert first["job"]["id"] == job
    assert sum(first["job"]["children"].values()) == 2
    assert (first["done"]["files"], first["done"]["of_files"], first["end"]) == (0, 2, None)

    s3.delete_object(Bucket=empty_bucket, Key="input/a.wav")
    assert runs.progress(RUN) is first, "AWS is not asked again at once"
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.0)
    then = runs.progress(RUN)
    assert then["done"]["files"] == 1
    assert then["done"]["audio_hours"] == then["done"]["of_audio_hours"] / 2
    assert datetime.fromisoformat(then["end"]) > datetime.now(UTC)
