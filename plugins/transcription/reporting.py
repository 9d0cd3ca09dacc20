"""Tells people and dashboards how a run went. What cannot be told is logged, and fails no run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from transcription.settings import Settings

log = logging.getLogger(__name__)


def metrics_of(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a run that its dashboard shows, by CloudWatch metric name."""
    files = report["totals"]["files"]
    return {
        "FilesTranscribed": files["transcribed"],
        "FilesRejected": files["rejected"],
        "FilesMissing": files["missing"],
        "AudioHours": report["totals"]["audio_hours"],
        "CostEstimateUsd": report["estimated_usd"],
    }


def message_of(report: Mapping[str, Any], report_uri: str) -> tuple[str, str]:
    """Subject (at most 100 ASCII characters, as SNS wants it) and text of a run's notification."""
    files = report["totals"]["files"]
    counts = ", ".join(f"{count} {state}" for state, count in files.items() if count) or "no files"
    subject = f"Transcription {'FAILED' if files['missing'] else 'done'}: {counts}"
    text = (
        f"Run {report['run_id']}: {counts}.\n"
        f"{report['totals']['audio_hours']:.2f} hours of audio on {report['children']} children, "
        f"about {report['estimated_usd']:.2f} US dollars of compute.\n"
        f"What became of each file: {report_uri}\n"
    )
    replaced = report["totals"]["replaced_transcripts"]
    if replaced:
        text += f"{replaced} transcripts took the place of earlier ones; the report names the versions of those.\n"
    if report["left_alone"]:
        text += f"{report['left_alone']} files were left alone; the log of the task `plan` says why.\n"
    text += "".join(f"{reason}\n" for reason in report["unusable_models"])
    if files["missing"]:
        text += "Missing files are not lost: clear the run in Airflow to do just those.\n"
    return subject[:100], text


def put_metrics(options: Settings, values: Mapping[str, float]) -> None:
    """Publish the figures, if a namespace is set."""
    if options.metrics_namespace:
        _try(
            "cloudwatch",
            "put_metric_data",
            Namespace=options.metrics_namespace,
            MetricData=[{"MetricName": name, "Value": value} for name, value in values.items()],
        )


def notify(options: Settings, subject: str, text: str) -> None:
    """Send the message, if a topic is set."""
    if options.notification_topic_arn:
        _try("sns", "publish", TopicArn=options.notification_topic_arn, Subject=subject, Message=text)


def _try(service: str, call: str, **arguments: Any) -> None:
    try:
        getattr(boto3.client(service), call)(**arguments)
    except (ClientError, BotoCoreError) as error:
        log.warning("%s could not be told: %s", service, error)
