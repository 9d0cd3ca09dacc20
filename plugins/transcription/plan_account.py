"""Account for a plan: judge every planned recording by what the bucket holds, and write the report.

The report stays as it is once it is final, that is, once the plan's job has ended.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
from airflow import __version__ as airflow_version

from transcription import accounting, batch_jobs, planning, report, report_copies
from transcription.accounting import Outcome, Totals
from transcription.bucket import Bucket
from transcription.configuration import Configuration
from transcription.errors import ManifestUnreadable, PlanMissing
from transcription.plan_summary import PlanSummary
from transcription_contract import layout
from transcription_contract.manifest import Recording
from transcription_contract.results import ReportEntry

log = logging.getLogger(__name__)

NAMED = 100  # recordings that a log or message names; the report's entries have all
_LOOK_SECONDS = 5.0  # time between two looks at a job that has to stop


def account_for(
    bucket: Bucket, settings: Configuration, run_id: str, plan: PlanSummary, job_id: str | None
) -> dict[str, Any]:
    """The report of a plan: the final one if there is one, or else a new one, which is written.

    Args:
        bucket: The audio bucket.
        settings: The Airflow side's.
        run_id: The plan's run.
        plan: What was planned.
        job_id: The plan's Batch job; None if `submit` did not record it.

    Raises:
        ManifestUnreadable: a manifest of the plan is malformed or has another version.
        PlanMissing: manifests of the plan are gone.
    """
    key = layout.report_key(run_id, plan.plan_id)
    found = report.read(bucket.read(key))
    if found is None or not found["final"]:
        found = _report(bucket, settings, run_id, plan, job_id)
        with bucket.writing(key, "application/json") as file:
            file.write(report.to_bytes(found))
        _write_run_totals(bucket, run_id)
    if found["final"]:
        report_copies.write(bucket, found)
    return found


def close(bucket: Bucket, settings: Configuration, run_id: str, plan: PlanSummary) -> None:
    """Stop the job of a plan that another one replaces, and account for what the job did until then.

    A plan whose manifests are gone or unreadable gets no report: nothing says any more which recordings it had.
    """
    batch = boto3.client("batch")
    job = _job(batch, settings, run_id, plan, None)
    while job and job["status"] in batch_jobs.ACTIVE:
        log.warning("Stopping the job %s of this run: another plan takes its place.", job["jobId"])
        batch.terminate_job(jobId=job["jobId"], reason="Another plan of the run takes its place.")
        time.sleep(_LOOK_SECONDS)
        job = batch_jobs.describe(batch, job["jobId"])
    try:
        found = account_for(bucket, settings, run_id, plan, job["jobId"] if job else None)
    except (PlanMissing, ManifestUnreadable):
        log.warning(
            "The earlier plan %s of this run gets no report, because manifests under %s are gone or unreadable. "
            "The new plan has what is left.",
            plan.plan_id,
            plan.manifest_prefix,
        )
        return
    log.info("The earlier plan %s of this run ended with %s.", plan.plan_id, found["totals"]["files"])


def _report(
    bucket: Bucket, settings: Configuration, run_id: str, plan: PlanSummary, job_id: str | None
) -> dict[str, Any]:
    """Judge every planned recording and write the report's entries; return the report."""
    batch = boto3.client("batch")
    job = _job(batch, settings, run_id, plan, job_id)
    log_streams = batch_jobs.log_streams(batch, job) if job else {}
    totals = Totals()
    missing: list[dict[str, Any]] = []
    with bucket.writing(layout.entries_key(run_id, plan.plan_id), "application/jsonl") as file:
        for (child, _), result in _outcomes(bucket, plan):
            totals.add(result)
            _log(result, totals)
            entry = result.entry(child, log_streams.get(child, ""))
            if result.state == "missing" and len(missing) < NAMED:
                missing.append({"source_key": entry.source_key, "reason": entry.reason, "log_stream": entry.log_stream})
            file.write(entry.to_bytes())
        accounted = sum(totals.states.values())
        if accounted != plan.files:
            raise PlanMissing(
                f"The manifests under {plan.manifest_prefix} have {accounted} recordings and the plan {plan.files}: "
                "manifests were removed, or a later plan of this run replaced them. "
                "Clear `plan` and what follows it to do what is left."
            )
    return {
        "run_id": run_id,
        "plan_id": plan.plan_id,
        "final": not job or job["status"] not in batch_jobs.ACTIVE,
        "totals": totals.to_json(),
        "missing": missing,
        "estimated_usd": round(_container_usd(batch, job, settings), 4),
        "left_alone": plan.left_alone,
        "unusable_models": list(plan.unusable_models),
        "children": plan.children,
        "batch_job": job["jobId"] if job else job_id,
        "airflow": airflow_version,
        "finished": datetime.now(UTC).isoformat(timespec="microseconds"),
    }


def _job(
    batch: Any, settings: Configuration, run_id: str, plan: PlanSummary, job_id: str | None
) -> dict[str, Any] | None:
    """The plan's job. Its name finds one that `submit` started and did not record."""
    job_id = job_id or batch_jobs.job_of_plan(batch, settings.job_queue, run_id, plan.plan_id)
    return batch_jobs.describe(batch, job_id) if job_id else None


def _outcomes(bucket: Bucket, plan: PlanSummary) -> Iterator[tuple[tuple[int, Recording], Outcome]]:
    waiting = {item.key: item for item in bucket.listing(layout.INPUT + plan.prefix)}
    failed = {item.key for item in bucket.listing(layout.FAILED + plan.prefix)}
    for share, found in bucket.evidence(bucket.shares(plan.manifest_prefix), waiting, failed):
        yield share, accounting.outcome(share[1], found, plan.manifest_prefix)


def _log(result: Outcome, totals: Totals) -> None:
    if result.transcript is None:
        log.warning("%s: %r: %s.", result.state.capitalize(), result.recording.source_key, result.reason.rstrip("."))
    elif result.replaces and totals.replaced_transcripts <= NAMED:
        log.info("Replaced: %r: its earlier version is %s.", result.transcript.key, result.replaces)


def _container_usd(batch: Any, job: dict[str, Any] | None, settings: Configuration) -> float:
    """Cost of the job's containers by the time that they ran, in US dollars."""
    return planning.container_usd(batch_jobs.container_seconds(batch, job), settings) if job else 0.0


def _write_run_totals(bucket: Bucket, run_id: str) -> None:
    """Add up the reports of the run's plans, in `totals.json` beside them."""
    keys = (item.key for item in bucket.listing(layout.run_prefix(run_id)))
    reports = [found for key in keys if layout.is_report(key) and (found := report.read(bucket.read(key)))]
    reports.sort(key=lambda found: found["finished"], reverse=True)
    totals = accounting.run_totals(_entries(bucket, run_id, found["plan_id"]) for found in reports)
    summary = {
        "run_id": run_id,
        "plans": [found["plan_id"] for found in reversed(reports)],
        "finished": reports[0]["finished"],
        "totals": totals,
        "estimated_usd": round(sum(found["estimated_usd"] for found in reports), 4),
    }
    with bucket.writing(layout.totals_key(run_id), "application/json") as file:
        file.write(report.to_bytes(summary))


def _entries(bucket: Bucket, run_id: str, plan_id: str) -> Iterator[ReportEntry]:
    return map(ReportEntry.read, bucket.lines(layout.entries_key(run_id, plan_id)))
