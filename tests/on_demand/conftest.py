"""Fixtures: the deployment without Amazon MWAA on a local AWS of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from local_aws import airflow, deployment, server
from local_aws.containers import PROJECT
from tests.on_demand.faulty_containers import FaultyContainers
from transcription_contract import layout

RECORDINGS = PROJECT / "tests" / "recordings"
ASSEMBLY = PROJECT / "build" / "on_demand"
ENDED = ("SUCCEEDED", "FAILED")
_WAIT_SECONDS = 600.0


@dataclass
class Deployed:
    """A stack without Amazon MWAA on the local AWS."""

    aws: Any
    stack: Any

    @property
    def bucket(self) -> str:
        return str(self.stack.outputs["BucketName"])

    def put(self, name: str, sample: str = "vm-leavemsg.wav") -> None:
        """Upload a sample recording under this name."""
        self.aws.client("s3").upload_file(str(RECORDINGS / sample), self.bucket, layout.INPUT + name)

    def keys(self, prefix: str) -> list[str]:
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def jobs(self, queue: str, name: str) -> list[dict[str, Any]]:
        """The descriptions of a queue's jobs whose names match."""
        batch = self.aws.client("batch")
        filters = [{"name": "JOB_NAME", "values": [name]}]
        listed = batch.list_jobs(jobQueue=queue, filters=filters)["jobSummaryList"]
        return [self.job(item["jobId"]) for item in listed]

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.aws.client("batch").describe_jobs(jobs=[job_id])["jobs"][0])

    def wait(self, job_id: str) -> dict[str, Any]:
        """Wait for a job's end."""
        self.wait_for(lambda: self.job(job_id)["status"] in ENDED)
        return self.job(job_id)

    def wait_for(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, "the condition is still false"
            time.sleep(0.2)

    def log(self, job: dict[str, Any]) -> str:
        """The log of all attempts of an orchestrator's job."""
        logs, group = self.aws.client("logs"), self.stack.outputs["RunLogGroupName"]
        streams = [attempt["taskProperties"][0]["containers"][0]["logStreamName"] for attempt in job["attempts"]]
        pages = [logs.get_log_events(logGroupName=group, logStreamName=name)["events"] for name in streams]
        return "\n".join(event["message"] for events in pages for event in events)


@pytest.fixture(scope="session")
def runtime() -> FaultyContainers:
    return FaultyContainers()


@pytest.fixture(scope="session")
def aws(runtime: FaultyContainers) -> Iterator[Any]:
    airflow.migrate_empty()
    with server.running(runtime, slots=3, stop_timeout=5) as running:
        yield running


@pytest.fixture(scope="session")
def deployed(aws: Any) -> Deployed:
    return Deployed(aws, deployment.deploy(aws, ASSEMBLY))
