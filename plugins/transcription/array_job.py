"""What AWS Batch tells of a run's job, whether it is an array or, with one child, a plain job."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import batched
from typing import Any

ACTIVE = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
FINAL = ("SUCCEEDED", "FAILED")
_DESCRIBE_BATCH = 100  # Batch's limit for one DescribeJobs call


def describe(client: Any, job_id: str) -> dict[str, Any] | None:
    """The job's description; None if Batch knows no such job (it forgets a job a week after its end)."""
    jobs = client.describe_jobs(jobs=[job_id])["jobs"]
    return jobs[0] if jobs else None


def ended_children(client: Any, job: dict[str, Any], status: str) -> Iterator[dict[str, Any]]:
    """Summaries of the children that ended so; of the job itself if it is no array.

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


def failures(client: Any, job: dict[str, Any]) -> Iterator[str]:
    """A line for each failed child of the job: its reason, exit code, attempts and log stream."""
    for some in batched(ended_children(client, job, "FAILED"), _DESCRIBE_BATCH):
        for child in client.describe_jobs(jobs=[summary["jobId"] for summary in some])["jobs"]:
            container = _container(child)
            reason = child.get("statusReason") or container.get("reason") or "no reason given"
            yield (
                f"Failed: {child['jobId']}: {reason} (exit code {container.get('exitCode', 'none')}, "
                f"attempts {len(child.get('attempts', ())) or 'none'}, "
                f"log stream {container.get('logStreamName', 'none')})"
            )


def _container(job: dict[str, Any]) -> dict[str, Any]:
    """What Batch tells of the job's only container; nothing before it starts."""
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


def progress(job: dict[str, Any]) -> str:
    """A line that says where the job stands: its children by status, or its own status."""
    summary = job.get("arrayProperties", {}).get("statusSummary")
    if not summary:
        return f"Job {job['jobId']}: {job['status']}"
    children = ", ".join(f"{count} {status}" for status, count in summary.items() if count)
    return f"Job {job['jobId']}: {job['status']}; children: {children or 'none yet'}"
