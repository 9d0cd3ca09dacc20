"""The Batch jobs of runs, each an array or, with one child, a plain job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import batched
from typing import Any

from transcription_contract import layout

ACTIVE = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
FINAL = ("SUCCEEDED", "FAILED")
PLAN_ID_LENGTH = 16  # hexadecimal digits
_DESCRIBE_BATCH = 100  # Batch's limit for one DescribeJobs call
_NAME = "transcription-"


def job_name(run_id: str, plan_id: str) -> str:
    """Name of the job of one plan of a run, at most 103 characters."""
    return f"{_job_name_start(run_id)}{plan_id}"


def _job_name_start(run_id: str) -> str:
    return f"{_NAME}{layout.run_folder(run_id)}-"


def jobs_of_run(client: Any, job_queue: str, run_id: str) -> Iterator[dict[str, Any]]:
    """Summaries of the run's jobs, one for each plan, in every state. Batch deletes jobs a week after their end."""
    return _jobs(client, job_queue, _job_name_start(run_id))


def job_of_plan(client: Any, job_queue: str, run_id: str, plan_id: str) -> str | None:
    """Id of the job of one plan of a run, in every state; of several the newest. None if Batch knows none."""
    name = job_name(run_id, plan_id)
    jobs = [job for job in jobs_of_run(client, job_queue, run_id) if job["jobName"] == name]
    return str(max(jobs, key=lambda job: job["createdAt"])["jobId"]) if jobs else None


def live_runs(client: Any, job_queue: str) -> set[str]:
    """Folders of the runs that have a live job in the queue (see `layout.run_folder`)."""
    return set(live_jobs(client, job_queue))


def live_jobs(client: Any, job_queue: str) -> dict[str, str]:
    """Ids of the live jobs in the queue, by the folders of their runs."""
    start, end = len(_NAME), -len("-") - PLAN_ID_LENGTH
    live = (job for job in _jobs(client, job_queue, _NAME) if job["status"] in ACTIVE)
    return {job["jobName"][start:end]: job["jobId"] for job in live}


def _jobs(client: Any, job_queue: str, name_start: str) -> Iterator[dict[str, Any]]:
    pages = client.get_paginator("list_jobs").paginate(
        jobQueue=job_queue, filters=[{"name": "JOB_NAME", "values": [f"{name_start}*"]}]
    )
    for page in pages:
        yield from page["jobSummaryList"]


def describe(client: Any, job_id: str) -> dict[str, Any] | None:
    """The job's description, or None if Batch has no such job. Batch deletes a job a week after its end."""
    jobs = client.describe_jobs(jobs=[job_id])["jobs"]
    return jobs[0] if jobs else None


def submitted(job: dict[str, Any]) -> datetime:
    """When the job was submitted."""
    return datetime.fromtimestamp(job["createdAt"] / 1000, UTC)


def ended_children(client: Any, job: dict[str, Any], status: str) -> Iterator[dict[str, Any]]:
    """Summaries of the children with this final status, or of the job itself if it is not an array.

    Args:
        client: A boto3 client of Batch.
        job: The job's description.
        status: One of `FINAL`.
    """
    if "arrayProperties" not in job:
        if job["status"] == status:
            yield job
        return
    pages = client.get_paginator("list_jobs").paginate(arrayJobId=job["jobId"], jobStatus=status)
    for page in pages:
        yield from page["jobSummaryList"]


def log_streams(client: Any, job: dict[str, Any]) -> dict[int, str]:
    """CloudWatch log stream of the last attempt of each ended child, by the child's index."""
    found = {}
    children = (child for status in FINAL for child in ended_children(client, job, status))
    for child in described(client, children):
        stream = _container(child).get("logStreamName")
        if stream:
            found[child.get("arrayProperties", {}).get("index", 0)] = stream
    return found


def newest_definition(client: Any, job_definition: str) -> dict[str, Any] | None:
    """The newest active revision of a job definition, or None if there is none.

    Args:
        client: A boto3 client of Batch.
        job_definition: Its name, name and revision, or ARN.
    """
    which = {"jobDefinitions": [job_definition]} if ":" in job_definition else {"jobDefinitionName": job_definition}
    pages = client.get_paginator("describe_job_definitions").paginate(**which, status="ACTIVE")
    found = [definition for page in pages for definition in page["jobDefinitions"]]
    return max(found, key=lambda definition: definition["revision"], default=None)


def containers(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The containers of a job definition."""
    for task in definition.get("ecsProperties", {}).get("taskProperties", ()):
        yield from task["containers"]


def described(client: Any, jobs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The descriptions of jobs, by their summaries."""
    for some in batched(jobs, _DESCRIBE_BATCH):
        yield from client.describe_jobs(jobs=[job["jobId"] for job in some])["jobs"]


def failures(client: Any, job: dict[str, Any]) -> Iterator[str]:
    """A line for each failed child of the job: its reason, exit code, attempts and log stream."""
    for child in described(client, ended_children(client, job, "FAILED")):
        container = _container(child)
        reason = child.get("statusReason") or container.get("reason") or "no reason given"
        yield (
            f"Failed: {child['jobId']}: {reason} (exit code {container.get('exitCode', 'none')}, "
            f"attempts {len(child.get('attempts', ())) or 'none'}, "
            f"log stream {container.get('logStreamName', 'none')})"
        )


def _container(job: dict[str, Any]) -> dict[str, Any]:
    """The description of the job's only container; empty before it starts."""
    for task in job.get("ecsProperties", {}).get("taskProperties", ()):
        for container in task.get("containers", ()):
            return dict(container)
    return {}


def container_seconds(client: Any, job: dict[str, Any]) -> float:
    """Seconds that the containers of the ended children ran in their last attempts, a minute each at least.

    A minute is the least that Fargate bills: https://aws.amazon.com/fargate/pricing/
    """
    return sum(
        max(60.0, (child["stoppedAt"] - child["startedAt"]) / 1000)
        for status in FINAL
        for child in ended_children(client, job, status)
        if child.get("startedAt") and child.get("stoppedAt")
    )
