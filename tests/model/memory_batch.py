"""A small AWS Batch in memory. A test runs the jobs' children step by step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.model.memory_s3 import Clock, Gate
from tests.model.processes import Killed, Process
from transcription_contract.speech_engines import SpeechEngine

ATTEMPTS = 3
START_SECONDS = 30.0  # start time of a container
ENGINES = Path(__file__).parents[2] / "worker_image" / "engines"
TFLITE = SpeechEngine.of_toml("deepspeech-tflite", (ENGINES / "deepspeech-tflite" / "engine.toml").read_text("utf-8"))
IMAGE = {"image_model": "", "built_in_models": "{}", "engines": json.dumps({TFLITE.name: TFLITE.to_json()})}
RETRIED = (75, 137)  # exit codes after which Batch starts a child again


@dataclass
class Child:
    """One child of an array job, or the container of a single job."""

    index: int
    attempts: int = 0
    status: str = "RUNNABLE"
    process: Process | None = None
    started: int = 0
    stopped: int = 0


@dataclass
class Job:
    """A job. It is an array job if it has several children."""

    id: str
    name: str
    environment: Mapping[str, str]
    children: list[Child]
    created: int = 0
    terminated: bool = False

    @property
    def status(self) -> str:
        states = {child.status for child in self.children}
        if states <= {"SUCCEEDED", "FAILED"}:
            return "SUCCEEDED" if states == {"SUCCEEDED"} else "FAILED"
        return "RUNNABLE" if states == {"RUNNABLE"} else "RUNNING"

    @property
    def is_active(self) -> bool:
        return self.status not in ("SUCCEEDED", "FAILED")


@dataclass
class Batch:
    """The queue and its jobs.

    Args:
        work: The container's program. It returns the exit code.
        default_model: The model in the job definition.
    """

    clock: Clock
    work: Callable[[], int]
    default_model: str
    jobs: dict[str, Job] = field(default_factory=dict)

    def step(self, job: Job) -> None:
        """Let the first active child make one call."""
        child = next(child for child in job.children if child.status in ("RUNNABLE", "RUNNING"))
        process = self.process(job, child)
        if not process.ended:
            process.step()
        if process.ended:
            self._record_end(child, process)

    def process(self, job: Job, child: Child) -> Process:
        """The child's container. Start one if there is none."""
        if child.process is None:
            self.clock.advance(START_SECONDS)
            environment = {
                **job.environment,
                "AWS_BATCH_JOB_ARRAY_INDEX": str(child.index),
                "MODEL": self.default_model,
            }
            child.process = Process(f"{job.name}:{child.index}", self.clock, self.work, environment)
            child.status = "RUNNING"
            child.attempts += 1
            child.started = child.started or int(self.clock.now.timestamp() * 1000)
        return child.process

    def kill(self, job: Job) -> None:
        """Kill the running container. Batch may retry the child."""
        child = next(child for child in job.children if child.status in ("RUNNABLE", "RUNNING"))
        process = self.process(job, child)
        process.kill()
        self._record_end(child, process)

    def terminate(self, job: Job) -> None:
        """Terminate a job. Batch does not retry it."""
        for child in job.children:
            if child.process is not None:
                child.process.kill()
            if child.status in ("RUNNABLE", "RUNNING"):
                child.status = "FAILED"
        job.terminated = True

    def _record_end(self, child: Child, process: Process) -> None:
        if process.error and not isinstance(process.error, Killed):
            raise process.error
        code = 137 if process.error else process.result
        child.process = None
        child.stopped = int(self.clock.now.timestamp() * 1000)
        if code == 0:
            child.status = "SUCCEEDED"
        elif code not in RETRIED or child.attempts == ATTEMPTS:
            child.status = "FAILED"


class BatchClient:
    """The return value of `boto3.client("batch")` for one process."""

    def __init__(self, batch: Batch, gate: Gate) -> None:
        self._batch = batch
        self._gate = gate

    def submit_job(
        self,
        *,
        jobName: str,
        jobQueue: str,
        jobDefinition: str,
        ecsPropertiesOverride: Mapping[str, Any],
        arrayProperties: Mapping[str, int] | None = None,
        parameters: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        self._gate("SubmitJob", jobName)
        container = ecsPropertiesOverride["taskProperties"][0]["containers"][0]
        environment = {item["name"]: item["value"] for item in container["environment"]}
        children = [Child(index) for index in range((arrayProperties or {}).get("size", 1))]
        job = Job(f"job-{len(self._batch.jobs)}", jobName, environment, children, len(self._batch.jobs))
        self._batch.jobs[job.id] = job
        return {"jobId": job.id, "jobName": jobName}

    def describe_jobs(self, *, jobs: list[str]) -> dict[str, Any]:
        self._gate("DescribeJobs", ",".join(jobs))
        return {"jobs": [_describe(self._batch.jobs[id]) for id in jobs if id in self._batch.jobs]}

    def terminate_job(self, *, jobId: str, reason: str) -> dict[str, Any]:
        self._gate("TerminateJob", jobId)
        self._batch.terminate(self._batch.jobs[jobId])
        return {}

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(
            paginate={"list_jobs": self._list, "describe_job_definitions": self._describe_definitions}[operation]
        )

    def _list(
        self,
        *,
        jobQueue: str | None = None,
        filters: list[dict[str, Any]] | None = None,
        arrayJobId: str | None = None,
        jobStatus: str | None = None,
    ) -> Iterator[dict[str, Any]]:
        self._gate("ListJobs", arrayJobId or "")
        if arrayJobId:
            children = self._batch.jobs[arrayJobId].children
            summaries = [_describe_child(arrayJobId, child) for child in children if child.status == jobStatus]
        else:
            start = filters[0]["values"][0].rstrip("*") if filters else ""
            # Batch lists the newest job first.
            jobs = reversed(self._batch.jobs.values())
            summaries = [_describe(job) for job in jobs if job.name.startswith(start)]
        yield {"jobSummaryList": summaries}

    def _describe_definitions(self, **_: object) -> Iterator[dict[str, Any]]:
        self._gate("DescribeJobDefinitions", "")
        container = {"name": "worker", "environment": [{"name": "MODEL", "value": self._batch.default_model}]}
        tasks = {"taskProperties": [{"containers": [container]}]}
        definition = {"jobDefinitionArn": "definition:1", "revision": 1, "ecsProperties": tasks, "parameters": IMAGE}
        yield {"jobDefinitions": [definition]}


def _describe(job: Job) -> dict[str, Any]:
    description: dict[str, Any] = {"jobId": job.id, "jobName": job.name, "status": job.status, "createdAt": job.created}
    if len(job.children) > 1:
        description["arrayProperties"] = {"size": len(job.children)}
    else:
        description.update(startedAt=job.children[0].started, stoppedAt=job.children[0].stopped)
    return description


def _describe_child(job_id: str, child: Child) -> dict[str, Any]:
    return {
        "jobId": f"{job_id}:{child.index}",
        "status": child.status,
        "startedAt": child.started,
        "stoppedAt": child.stopped,
    }
