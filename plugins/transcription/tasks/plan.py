"""The task `plan`: share the recordings out over the children and write their manifests."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import boto3
from airflow.sdk.exceptions import AirflowSkipException

from transcription import (
    batch_jobs,
    budget,
    configuration,
    grouping,
    notifications,
    plan_account,
    planning,
    unfinished_plan,
)
from transcription.bucket import Bucket
from transcription.configuration import Configuration
from transcription.errors import ModelUnusable, SettingError
from transcription.model_check import Models
from transcription.model_rules import ModelFacts
from transcription.params import run_options_of, selection_of
from transcription.plan_summary import PlanSummary
from transcription.planning import Share
from transcription.selection import Selection
from transcription.tasks.no_retry import no_retry
from transcription.wording import counted
from transcription_contract import deployment, layout, manifest
from transcription_contract.manifest import Header
from transcription_contract.model_files import ModelChoice
from transcription_contract.run_options import OptionError, RunOptions
from transcription_contract.speech_engines import EngineError

log = logging.getLogger(__name__)

_REASONS = 5  # why models cannot be used, in the plan's XCom


@no_retry
def plan(**context: Any) -> dict[str, Any]:
    """Share the recordings out over the children and write their manifests.

    A run that starts again goes on with its earlier plan if that is not accounted for, is whole and would be made the
    same again. Otherwise the earlier job is stopped and accounted for first, so that no result goes unreported.

    Returns:
        A `PlanSummary` as JSON, small enough for an XCom.

    Raises:
        AirflowSkipException: nothing is left to transcribe.
        ModelUnusable: the model that the run or the deployment names cannot be used, or no folder has a usable one.
        PlanLockLost: another run took over the lock because this one seemed dead.
        SettingError: a param does not fit the models.
        TooExpensive: the run would cost more than `max_usd`.
    """
    settings = configuration.load()
    bucket = Bucket(settings.bucket)
    run_id, run_options, selection = context["run_id"], run_options_of(context), selection_of(context)
    models = Models.of(bucket, settings)
    if run_options.dry_run:
        summary, _ = _plan(bucket, settings, run_id, run_options, selection, models)
        log.info("A dry run, which submits nothing. %s", summary)
        return summary.to_json()
    with bucket.plan_lock(run_id) as lock:
        earlier = unfinished_plan.find(bucket, boto3.client("batch"), settings.job_queue, run_id)
        made_from = models.made_from(run_options, selection)
        if earlier and earlier.made_from == made_from and unfinished_plan.is_whole(bucket, earlier):
            log.info("Going on with the plan %s, which this run made at %s.", earlier.plan_id, earlier.planned)
            return earlier.to_json()
        if earlier:
            plan_account.close(bucket, settings, run_id, earlier)
        summary, shares = _plan(bucket, settings, run_id, run_options, selection, models)
        lock.renew()
        unfinished_plan.note(bucket, run_id, summary)
        bucket.write_manifests(summary.manifest_prefix, manifests(shares, run_options))
        lock.renew()
    log.info("%s", summary)
    return summary.to_json()


def _plan(
    bucket: Bucket,
    settings: Configuration,
    run_id: str,
    run_options: RunOptions,
    selection: Selection,
    models: Models,
) -> tuple[PlanSummary, list[Share]]:
    """Choose the recordings and share them out. Writes nothing to the bucket."""
    manifest_prefix = layout.manifest_prefix(run_id)
    live_runs = batch_jobs.live_runs(boto3.client("batch"), settings.job_queue)
    claims = bucket.claims_of_others(manifest_prefix, live_runs)
    chosen = selection.choose(*bucket.selected(selection), claims)
    rule = models.rule(run_options.model_choice, run_options.engine)
    grouped = grouping.group_by_model(planning.recordings(chosen, claims.stems), rule)
    if grouped.oldest_waiting:
        hours = (datetime.now(UTC) - grouped.oldest_waiting).total_seconds() / 3600
        notifications.put_metrics(settings, {deployment.METRIC_OLDEST_WAITING: hours})
    if not grouped.tables:
        if grouped.unusable_models:
            raise ModelUnusable(" ".join(grouped.unusable_models))
        raise AirflowSkipException(f"No recording is left to transcribe.{_why_left_alone(grouped)}")
    facts = {choice: rule.facts[choice] for choice in grouped.tables}
    _check_options(run_options, facts)

    size = budget.JobSize(settings, run_options, budget.cpu_rates(facts, settings))
    budget.keep_within(grouped, size, cut=run_options.above_max_usd == "cut", again=selection.again)
    children = size.children(grouped.audio_seconds, grouped.files)
    shares = planning.shares(grouped.tables, children, size.rates, max_instances=size.max_instances)
    summary = PlanSummary(
        plan_id=secrets.token_hex(batch_jobs.PLAN_ID_LENGTH // 2),
        made_from=models.made_from(run_options, selection),
        planned=datetime.now(UTC),
        manifest_prefix=manifest_prefix,
        prefix=selection.prefix,
        files=grouped.files,
        children=len(shares),
        left_alone=grouped.left_alone,
        unusable_models=tuple(sorted(grouped.unusable_models)[:_REASONS]),
        largest_files=tuple(grouped.largest_files()),
        estimated_audio_hours=round(grouped.audio_seconds / 3600, 3),
        estimated_minutes=round(planning.estimated_seconds(shares, size.rates, settings) / 60, 1),
        estimated_usd=round(size.usd_of(grouped), 4),
        dry_run=run_options.dry_run,
    )
    return summary, shares


def _why_left_alone(grouped: grouping.Grouped) -> str:
    if not grouped.first_left_alone:
        return ""
    first = grouped.first_left_alone
    return f" {counted(grouped.left_alone, 'object')} left alone, such as {first.key!r}: {first.reason}."


def manifests(shares: Iterable[Share], run_options: RunOptions) -> Iterator[bytes]:
    """The manifests of the shares, one at a time: all at once would fill the memory."""
    for share in shares:
        yield manifest.to_bytes(Header(share.choice, run_options), share.recordings())


def _check_options(run_options: RunOptions, facts: Mapping[ModelChoice, ModelFacts]) -> None:
    """Refuse options that a model's engine lacks, or that need a scorer where there is none."""
    try:
        for choice, found in facts.items():
            if found.engine:
                found.engine.check(run_options, choice, found.language)
    except (EngineError, OptionError) as error:
        raise SettingError(f"{error}.") from error
