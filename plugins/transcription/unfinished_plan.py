"""The plan that a run has made and not accounted for, so that a run that starts again goes on with it.

`plan` notes its plan beside the run's reports, and `verify` deletes the manifests last of all. So a plan that has a
Batch job and manifests is not finished, whatever happened to the tasks meanwhile.
"""

from __future__ import annotations

from typing import Any

from transcription import batch_jobs
from transcription.bucket import Bucket
from transcription.errors import ManifestUnreadable
from transcription.plan_summary import PlanSummary
from transcription_contract import layout


def note(bucket: Bucket, run_id: str, plan: PlanSummary) -> None:
    """Note the plan that the run is about to write the manifests of."""
    with bucket.writing(layout.plan_key(run_id), "application/json") as file:
        file.write(plan.to_bytes())


def find(bucket: Bucket, batch: Any, job_queue: str, run_id: str) -> PlanSummary | None:
    """The run's plan that has a job and is not accounted for; None if there is none.

    Args:
        bucket: The audio bucket.
        batch: A boto3 client of Batch.
        job_queue: Where the run's jobs are.
        run_id: The run's id.
    """
    plan = PlanSummary.read(bucket.read(layout.plan_key(run_id)))
    if plan is None or not any(bucket.listing(plan.manifest_prefix)):
        return None
    return plan if batch_jobs.job_of_plan(batch, job_queue, run_id, plan.plan_id) else None


def is_whole(bucket: Bucket, plan: PlanSummary) -> bool:
    """Whether this version can read all manifests of the plan, and they hold all of its recordings.

    Manifests can be removed or overwritten, and those of a run that a deployment interrupts may have another schema.
    A job with them would fail every time.
    """
    children: set[int] = set()
    files = 0
    try:
        for child, _ in bucket.shares(plan.manifest_prefix):
            children.add(child)
            files += 1
    except ManifestUnreadable:
        return False
    return (len(children), files) == (plan.children, plan.files)
