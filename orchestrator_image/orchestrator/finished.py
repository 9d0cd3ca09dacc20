"""Whether a run has ended already, by what it left in the bucket."""

from __future__ import annotations

from typing import Any

from transcription import report
from transcription.bucket import Bucket
from transcription.plan_summary import PlanSummary
from transcription_contract import layout


def final_report(bucket: Bucket, run_id: str) -> dict[str, Any] | None:
    """The report of a run that has nothing left to do; None if it has, or if the bucket knows nothing of it.

    `verify` deletes the manifests last of all.
    """
    plan = PlanSummary.read(bucket.read(layout.plan_key(run_id)))
    if plan is None or any(bucket.listing(plan.manifest_prefix)):
        return None
    found = report.read(bucket.read(layout.report_key(run_id, plan.plan_id)))
    return found if found and found["final"] else None
