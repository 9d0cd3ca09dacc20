"""The task `sense_input`: skip the run, and all cost, if no recording waits."""

from __future__ import annotations

import logging
from typing import Any

import boto3

from transcription import configuration, notifications, unfinished_plan
from transcription.bucket import Bucket
from transcription.params import selection_of
from transcription.planning import StoredObject
from transcription.tasks.no_retry import no_retry
from transcription_contract import deployment, layout

log = logging.getLogger(__name__)


@no_retry
def sense_input(**context: Any) -> bool:
    """Skip the run, and all cost, if no recording waits and the run has no unfinished plan."""
    settings = configuration.load()
    bucket = Bucket(settings.bucket)
    notifications.put_metrics(settings, {deployment.METRIC_RUNS: 1})
    if unfinished_plan.find(bucket, boto3.client("batch"), settings.job_queue, context["run_id"]):
        log.info("This run has a plan that is not accounted for.")
        return True
    selection = selection_of(context)
    if any(isinstance(item, StoredObject) for item in selection.choose(*bucket.selected(selection))):
        return True
    log.info("No recording waits under s3://%s/%s%s.", bucket.name, layout.INPUT, selection.prefix)
    return False
