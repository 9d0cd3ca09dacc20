"""The task `verify`: account for every planned recording, also when the job failed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset

from transcription import configuration, notifications, plan_account, report
from transcription.bucket import Bucket
from transcription.configuration import Configuration
from transcription.errors import FilesMissing
from transcription.plan_summary import PlanSummary
from transcription.tasks.no_retry import no_retry
from transcription.wording import counted
from transcription_contract import layout

log = logging.getLogger(__name__)

TRANSCRIPTS = Asset("transcripts")


@no_retry
def verify(plan: Any, job_id: str | None, **context: Any) -> dict[str, Any]:
    """Account for every planned recording, also when the job failed; write the report.

    It may be repeated at any time: once the job has ended and the report is written, the report stays as it is. The
    manifests go last, so a run that still has them is not finished.

    Args:
        plan: What the `plan` task returned.
        job_id: The Batch job; None if `submit` did not record it.
        context: The task's.

    Returns:
        The report.

    Raises:
        FilesMissing: some recordings have neither a transcript nor a reason for its absence.
        PlanMissing: the run has no plan, or its manifests are gone.
    """
    summary = PlanSummary.of_xcom(plan, "verify")
    settings = configuration.load()
    bucket = Bucket(settings.bucket)
    found = plan_account.account_for(bucket, settings, context["run_id"], summary, job_id)
    if found["final"]:
        uri = f"s3://{bucket.name}/{layout.report_key(context['run_id'], summary.plan_id)}"
        _announce(settings, found, uri, again=not any(bucket.listing(summary.manifest_prefix)))
        bucket.delete(summary.manifest_prefix)
    else:
        log.warning("The Batch job of this run is still active, so its manifests stay. Clear `verify` when it ends.")
    context["outlet_events"][TRANSCRIPTS].extra = found["totals"]["files"]
    _fail_if_missing(found)
    return found


def _announce(settings: Configuration, found: Mapping[str, Any], report_uri: str, *, again: bool) -> None:
    """Log the result. Publish it, too, unless an earlier attempt did."""
    log.info("Report: %s: %s", report_uri, found["totals"]["files"])
    replaced = found["totals"]["replaced_transcripts"]
    if replaced:
        log.info("%s replaced an earlier one.", counted(replaced, "transcript"))
    if not again:
        notifications.put_metrics(settings, notifications.metrics_of(found))
        notifications.put_event(settings, found, report_uri)
        notifications.notify(settings, *report.message_of(found, report_uri))


def _fail_if_missing(found: Mapping[str, Any]) -> None:
    files = found["totals"]["files"]
    if files["missing"]:
        named = "".join(f"\n  {entry['source_key']!r}: {entry['reason']}" for entry in found["missing"])
        raise FilesMissing(
            f"{files['missing']} of {counted(sum(files.values()), 'recording')} have no transcript and no reason why "
            f"not:{named}\nNothing is lost. Clear the run to plan and do just what is left."
        )
