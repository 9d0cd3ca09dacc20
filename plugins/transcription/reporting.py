"""A run's report, and what people and dashboards are told of it; where that fails it is logged, and fails no run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import IO, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from transcription.accounting import Outcome
from transcription.settings import Settings
from transcription_contract import deployment

log = logging.getLogger(__name__)

SCHEMA = 1


class Report:
    """A run's report, written to a file as it grows: a million outcomes would fill a small worker's memory.

    Args:
        file: Open for reading and writing, and empty.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._file.write(f'{{"schema": {SCHEMA},\n"files": ['.encode())
        self._comma = b"\n"

    def add(self, result: Outcome) -> None:
        """Write what became of one more file."""
        self._file.write(self._comma + json.dumps(result.to_json()).encode())
        self._comma = b",\n"

    def end(self, summary: Mapping[str, Any]) -> None:
        """Write what holds for the whole run; the file is now a JSON document and at its start."""
        self._file.write(b"\n],\n" + json.dumps(summary, indent=1)[1:].encode())
        self._file.seek(0)


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
