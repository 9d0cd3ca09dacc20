"""Messages, metrics and the event of a run. A failure to send them is logged and does not fail the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from transcription.configuration import Configuration
from transcription_contract import deployment

log = logging.getLogger(__name__)


def metrics_of(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a run that its dashboard shows, by CloudWatch metric name."""
    files = report["totals"]["files"]
    return {
        deployment.METRIC_FILES_TRANSCRIBED: files["transcribed"],
        deployment.METRIC_FILES_REJECTED: files["rejected"],
        deployment.METRIC_FILES_MISSING: files["missing"],
        deployment.METRIC_AUDIO_HOURS: report["totals"]["audio_hours"],
        deployment.METRIC_COST: report["estimated_usd"],
    }


def put_event(settings: Configuration, report: Mapping[str, Any], report_uri: str) -> None:
    """Tell EventBridge's default bus that a run's accounting is done, if a source is set.

    The event has the report's totals; `report` is where it stands.
    """
    if not settings.event_source:
        return
    names = ("run_id", "plan_id", "batch_job", "children", "estimated_usd", "totals")
    detail = {"bucket": settings.bucket, "report": report_uri, **{name: report[name] for name in names}}
    event = {
        "Source": settings.event_source,
        "DetailType": deployment.RUN_ENDED_EVENT,
        "Detail": json.dumps(detail),
    }
    answer = _try("events", "put_events", Entries=[event])
    for failed in answer.get("Entries", ()):
        if "ErrorCode" in failed:
            log.warning("EventBridge refuses the event of this run: %s", failed.get("ErrorMessage"))


def put_metrics(settings: Configuration, values: Mapping[str, float]) -> None:
    """Publish the figures, if a namespace is set."""
    if settings.metrics_namespace:
        _try(
            "cloudwatch",
            "put_metric_data",
            Namespace=settings.metrics_namespace,
            MetricData=[{"MetricName": name, "Value": value} for name, value in values.items()],
        )


def notify(settings: Configuration, subject: str, text: str) -> None:
    """Send the message, if a topic is set."""
    if settings.notification_topic_arn:
        _try("sns", "publish", TopicArn=settings.notification_topic_arn, Subject=subject, Message=text)


def _try(service: str, call: str, **arguments: Any) -> Mapping[str, Any]:
    """The service's answer; empty if it refuses, which is logged."""
    try:
        answer: Mapping[str, Any] = getattr(boto3.client(service), call)(**arguments)
    except (ClientError, BotoCoreError) as error:
        log.warning("%s refuses a message of this run: %s", service, error)
        return {}
    return answer
