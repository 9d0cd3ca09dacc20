"""What the tasks `sense_input`, `plan` and `verify` do."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import boto3
from airflow import __version__ as airflow_version
from airflow.sdk.exceptions import AirflowSkipException

from transcription import array_job, model_check, models, planning, reporting, settings, submission
from transcription.accounting import Outcome, Totals
from transcription.bucket import Bucket
from transcription.errors import FilesMissing, ModelUnusable, PlanMissing, SettingError
from transcription.model_check import ModelCheck
from transcription.models import ModelRule
from transcription.params import run_options_of
from transcription.plan_lock import PlanLock
from transcription.planning import StoredObject, Unplanned
from transcription.selection import Interval, Selection
from transcription_contract import deployment, layout, manifest
from transcription_contract.manifest import Header, Recording
from transcription_contract.model_files import ModelChoice
from transcription_contract.run_options import OptionError, RunOptions

log = logging.getLogger(__name__)

_NAMED = 100  # files that a log or message names; the report has them all
_REASONS = 5  # why models cannot be used, in the plan's XCom


def has_input(context: Mapping[str, Any]) -> bool:
    """Whether there is a recording for this run. Nothing is paid for where there is none."""
    bucket = Bucket(settings.load().bucket)
    selection = _selection(context)
    if any(isinstance(item, StoredObject) for item in selection.objects(bucket)):
        return True
    log.info("No recording waits under s3://%s/%s%s.", bucket.name, layout.INPUT, selection.prefix)
    return False


def make_plan(context: Mapping[str, Any]) -> dict[str, Any]:
    """Write the run's manifests and return the plan's summary, small enough for an XCom.

    Raises:
        AirflowSkipException: nothing is left to transcribe.
        ModelUnusable: the run's or the deployment's model is not there or is none, or no folder has a usable one.
        PlanLockLost: the run was taken for dead meanwhile, and another one plans.
        SettingError: a param does not fit the models.
    """
    options = settings.load()
    bucket = Bucket(options.bucket)
    if run_options_of(context).dry_run:
        return _plan(bucket, options, None, context)
    with bucket.plan_lock(context["run_id"]) as lock:
        return _plan(bucket, options, lock, context)


def _plan(
    bucket: Bucket, options: settings.Settings, lock: PlanLock | None, context: Mapping[str, Any]
) -> dict[str, Any]:
    """The plan's summary; its manifests are written if there is a lock, which a dry run has not."""
    selection = _selection(context)
    run_options = run_options_of(context)
    max_instances = run_options.max_instances or options.max_instances_default
    prefix = layout.manifest_prefix(context["run_id"])

    recordings: list[StoredObject] = []
    left: list[Unplanned] = []
    claimed = submission.claimed_by_others(bucket, options.job_queue, prefix)
    for item in selection.objects(bucket, claimed):
        if isinstance(item, StoredObject):
            recordings.append(item)
        else:
            left.append(item)
    _report_waiting(recordings, options)
    lines, unplanned = planning.manifest_lines(recordings)
    del recordings  # up to a million of them
    left += unplanned
    groups, unheard = _model_rule(bucket, options, run_options.model_choice).groups(lines)
    left += (Unplanned(line.source_key, reason.rstrip(".")) for reason, some in unheard.items() for line in some)
    for item in islice(left, _NAMED):
        log.warning("Left alone: %r: %s.", item.key, item.reason)
    if unheard and not groups:
        raise ModelUnusable(" ".join(unheard))
    if not groups:
        raise AirflowSkipException("No recording is left to transcribe.")
    lines = [line for some in groups.values() for line in some]
    try:
        for choice in groups:
            run_options.check_scorer(choice)
    except OptionError as error:
        raise SettingError(f"{error}.") from error

    audio_seconds = sum(map(planning.audio_seconds, lines))
    children = planning.child_count(
        audio_seconds,
        len(lines),
        max_instances=max_instances,
        audio_minutes_per_child=run_options.audio_minutes_per_child,
    )
    shares = planning.shares(groups, children, max_instances=max_instances)
    manifests = Manifests(shares, run_options)
    summary = summary_of(
        shares,
        audio_seconds,
        digest=planning.digest(manifests),
        prefix=prefix,
        left_alone=len(left),
        unusable_models=sorted(unheard)[:_REASONS],
        dry_run=run_options.dry_run,
        options=options,
    )
    if lock:
        lock.renew()
        bucket.write_manifests(prefix, manifests)
        lock.renew()
    log.info(
        "%(files)d recordings, about %(estimated_audio_hours)s hours of audio, for %(children)d children; "
        "about %(estimated_usd)s US dollars of compute.",
        summary,
    )
    return summary


class Manifests:
    """A run's manifests as bytes, made again each time they are looped over: all at once would fill the memory.

    Args:
        shares: Each child's model and recordings.
        run_options: The run's, which each manifest's header has.
    """

    def __init__(self, shares: Sequence[tuple[ModelChoice, Sequence[Recording]]], run_options: RunOptions) -> None:
        self._shares = shares
        self._options = run_options

    def __iter__(self) -> Iterator[bytes]:
        for choice, share in self._shares:
            yield manifest.to_bytes(Header(choice, self._options), share)


def summary_of(
    shares: Sequence[tuple[ModelChoice, Sequence[Recording]]],
    audio_seconds: float,
    *,
    digest: str,
    prefix: str,
    left_alone: int,
    unusable_models: Sequence[str],
    dry_run: bool,
    options: settings.Settings,
) -> dict[str, Any]:
    """What the tasks after `plan` need to know of it, JSON-serialisable and of a size that does not grow with it.

    Args:
        shares: Each child's model and recordings.
        audio_seconds: Estimated audio of all of them.
        digest: Hash of the manifests.
        prefix: Key prefix of the manifests.
        left_alone: How many recordings are not planned.
        unusable_models: Why models are not used.
        dry_run: Whether nothing is to follow.
        options: The prices of the estimate.
    """
    return {
        "planned": datetime.now(UTC).isoformat(),
        "manifest_prefix": prefix,
        "digest": digest,
        "files": sum(len(share) for _, share in shares),
        "children": len(shares),
        "left_alone": left_alone,
        "unusable_models": list(unusable_models),
        "estimated_audio_hours": round(audio_seconds / 3600, 3),
        "estimated_usd": round(planning.estimated_usd(audio_seconds, len(shares), options), 4),
        "dry_run": dry_run,
    }


def _model_rule(bucket: Bucket, options: settings.Settings, choice: ModelChoice) -> ModelRule:
    image = model_check.image_of(boto3.client("batch"), options.job_definition)
    keys = (item.key for item in bucket.objects(layout.MODELS))
    return ModelRule(
        choice,
        image,
        models.of_folders(bucket.name, keys),
        ModelCheck(bucket.name, image),
    )


def account(plan: Mapping[str, Any] | None, job_id: str | None, context: Mapping[str, Any]) -> dict[str, Any]:
    """Account for every planned file, write the report, remove the manifests; return the totals.

    Raises:
        FilesMissing: some have neither a transcript nor a reason why not.
        PlanMissing: the run has no plan, or was accounted for before.
    """
    if not plan:
        raise PlanMissing(
            "The run has no plan to verify. Run the whole DAG (`airflow dags test transcription`), or name a run "
            "whose `plan` has run: `airflow tasks test transcription verify RUN_ID` "
            "(`airflow dags list-runs transcription` lists them)."
        )
    options = settings.load()
    bucket = Bucket(options.bucket)
    batch = boto3.client("batch")
    job = array_job.describe(batch, job_id) if job_id else None
    prefix = plan["manifest_prefix"]
    waiting = {item.key: item.etag for item in bucket.objects(layout.INPUT + _selection(context).prefix)}

    totals = Totals()
    missing: list[Outcome] = []
    with tempfile.TemporaryFile() as file:
        report = reporting.Report(file)
        for result in bucket.outcomes(bucket.manifests(prefix), waiting, prefix):
            totals.add(result)
            report.add(result)
            if result.replaces and totals.replaced_transcripts <= _NAMED:
                log.info("Replaced: %r: its earlier version is %s.", result.line.transcript_key, result.replaces)
            if result.state != "transcribed":
                log.warning("%s: %r: %s.", result.state.capitalize(), result.line.source_key, result.reason.rstrip("."))
            if result.state == "missing" and len(missing) < _NAMED:
                missing.append(result)
        accounted = sum(totals.states.values())
        if accounted != plan["files"]:
            raise PlanMissing(
                f"The manifests under {prefix} name {accounted} files and the plan {plan['files']}: they were "
                "removed, most likely because the run was verified before "
                f"(see {layout.report_key(context['run_id'])}). "
                "Clear `plan` and what follows it to do what is left."
            )
        summary = {
            "run_id": context["run_id"],
            "totals": totals.to_json(),
            "estimated_usd": round(_container_usd(batch, job, options), 4),
            "left_alone": plan["left_alone"],
            "unusable_models": plan["unusable_models"],
            "children": plan["children"],
            "batch_job": job_id,
            "airflow": airflow_version,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        report.end(summary)
        key = layout.report_key(context["run_id"])
        bucket.put_json(key, file)
    if job and job["status"] in array_job.ACTIVE:
        log.warning("The job %s is still at work, so its manifests are left to it.", job_id)
    else:
        bucket.delete(prefix)
    report_uri = f"s3://{bucket.name}/{key}"
    log.info("Report: %s: %s", report_uri, summary["totals"]["files"])
    if totals.replaced_transcripts:
        log.info("%d transcripts took the place of earlier ones.", totals.replaced_transcripts)
    reporting.put_metrics(options, reporting.metrics_of(summary))
    reporting.notify(options, *reporting.message_of(summary, report_uri))
    if missing:
        named = "".join(f"\n  {result.line.source_key!r}: {result.reason}" for result in missing)
        raise FilesMissing(
            f"{totals.states['missing']} of {accounted} recordings have no transcript and no reason why not:{named}\n"
            "Nothing is lost. Clear the run to plan and do just what is left."
        )
    return summary


def _report_waiting(recordings: list[StoredObject], options: settings.Settings) -> None:
    """Publish the age of the oldest recording that waits, from which an alarm is made."""
    waiting = [item.uploaded for item in recordings if item.key.startswith(layout.INPUT)]
    if waiting:
        hours = (datetime.now(UTC) - min(waiting)).total_seconds() / 3600
        reporting.put_metrics(options, {deployment.METRIC_OLDEST_WAITING: hours})


def _selection(context: Mapping[str, Any]) -> Selection:
    dag_run = context["dag_run"]
    interval = None
    if dag_run.run_type == "backfill" and dag_run.data_interval_start and dag_run.data_interval_end:
        interval = Interval(start=dag_run.data_interval_start, end=dag_run.data_interval_end)
    return Selection(
        prefix=(run_options_of(context).prefix or "").removeprefix(layout.INPUT).lstrip("/"), interval=interval
    )


def _container_usd(batch: Any, job: dict[str, Any] | None, options: settings.Settings) -> float:
    """Cost of the job's containers by the time that they ran, in US dollars."""
    return planning.container_usd(array_job.container_seconds(batch, job), options) if job else 0.0
