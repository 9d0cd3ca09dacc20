from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from transcription import configuration, notifications
from transcription.report import message_of

REPORT: dict[str, Any] = {
    "run_id": "manual__1",
    "plan_id": "0123",
    "batch_job": "job-1",
    "totals": {
        "files": {"transcribed": 3, "rejected": 1, "replaced": 0, "missing": 0},
        "audio_hours": 1.5,
        "replaced_transcripts": 0,
    },
    "left_alone": 0,
    "unusable_models": [],
    "estimated_usd": 0.25,
    "children": 2,
}
FAILED = {**REPORT, "totals": {**REPORT["totals"], "files": {**REPORT["totals"]["files"], "missing": 2}}}


def test_the_message_counts_the_files_and_names_the_report() -> None:
    subject, text = message_of(REPORT, "s3://b/runs/r/report.json")
    assert subject == "Transcription done: 3 transcribed, 1 rejected"
    assert "1.50 hours of audio on 2 children, about 0.25 US dollars" in text
    assert "s3://b/runs/r/report.json" in text


def test_the_message_of_a_failed_run_has_the_failure_and_a_solution() -> None:
    subject, text = message_of(FAILED, "s3://b/runs/r/report.json")
    assert subject == "Transcription FAILED: 3 transcribed, 1 rejected, 2 missing"
    assert "the next run does them" in text


def test_the_message_names_replaced_transcripts_and_unplanned_files_with_reasons() -> None:
    assert "took the place" not in message_of(REPORT, "")[1]
    reason = "The folder s3://b/models/fr/ has 2 models, and must have one: keep one of a.pb, b.pb."
    report = {**REPORT, "left_alone": 7, "unusable_models": [reason]}
    report["totals"] = {**REPORT["totals"], "replaced_transcripts": 2}
    subject, text = message_of(report, "")
    assert subject == "Transcription done: 3 transcribed, 1 rejected"
    assert "2 transcripts replaced an earlier version" in text
    assert "7 objects left alone" in text
    assert reason in text


@pytest.fixture
def queue_arn(aws: Any) -> Iterator[str]:
    """ARN of a queue for what is sent."""
    sqs = aws.client("sqs")
    queue = sqs.create_queue(QueueName="sent")["QueueUrl"]
    yield sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sqs.delete_queue(QueueUrl=queue)


def test_the_figures_and_the_message_reach_cloudwatch_and_sns(aws: Any, configured: Any, queue_arn: str) -> None:
    options = replace(configuration.load(), metrics_namespace="Reporting")  # other tests publish in the deployed one
    aws.client("sns").subscribe(TopicArn=options.notification_topic_arn, Protocol="sqs", Endpoint=queue_arn)

    notifications.put_metrics(options, notifications.metrics_of(REPORT))
    notifications.notify(options, *message_of(REPORT, "s3://b/report.json"))

    (received,) = aws.client("sqs").receive_message(QueueUrl=queue_arn.rpartition(":")[2])["Messages"]
    assert json.loads(received["Body"])["Subject"] == "Transcription done: 3 transcribed, 1 rejected"
    now = datetime.now(UTC)
    sums = aws.client("cloudwatch").get_metric_statistics(
        Namespace=options.metrics_namespace,
        MetricName="FilesTranscribed",
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=5),
        Period=600,
        Statistics=["Sum"],
    )["Datapoints"]
    assert [point["Sum"] for point in sums] == [3]


def test_the_event_of_a_runs_end_reaches_a_rule_with_the_totals(aws: Any, configured: Any, queue_arn: str) -> None:
    options = configuration.load()
    events = aws.client("events")
    pattern = {"source": [options.event_source], "detail-type": ["Transcription Run Ended"]}
    events.put_rule(Name="ends", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="ends", Targets=[{"Id": "queue", "Arn": queue_arn}])

    notifications.put_event(options, REPORT, "s3://b/runs/r/report.json")

    events.remove_targets(Rule="ends", Ids=["queue"])
    events.delete_rule(Name="ends")
    (received,) = aws.client("sqs").receive_message(QueueUrl=queue_arn.rpartition(":")[2])["Messages"]
    event = json.loads(received["Body"])
    assert event["source"] == "transcription.transcription"
    assert event["detail"] == {
        "bucket": options.bucket,
        "report": "s3://b/runs/r/report.json",
        "run_id": "manual__1",
        "plan_id": "0123",
        "batch_job": "job-1",
        "children": 2,
        "estimated_usd": 0.25,
        "totals": REPORT["totals"],
    }


def test_an_event_that_eventbridge_does_not_take_is_only_logged(
    configured: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def put_events(self, **_: Any) -> Any:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "Throttled", "ErrorMessage": "too many events"}]}

    monkeypatch.setattr("boto3.client", lambda *_: Refusing())
    with caplog.at_level("WARNING"):
        notifications.put_event(configuration.load(), REPORT, "s3://b/report.json")
    assert "EventBridge refuses the event of this run: too many events" in caplog.text


def test_a_message_that_cannot_be_sent_is_only_logged(configured: Any, caplog: pytest.LogCaptureFixture) -> None:
    options = replace(configuration.load(), notification_topic_arn="arn:aws:sns:us-east-1:123456789012:no-such-topic")
    with caplog.at_level("WARNING"):
        notifications.notify(options, "subject", "text")
    assert "sns refuses a message of this run" in caplog.text


def test_without_a_topic_and_a_namespace_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boto3.client", lambda *_: pytest.fail("asked AWS"))
    silent = configuration.Configuration(bucket="b", job_queue="q", job_definition="d")
    notifications.put_metrics(silent, {"FilesTranscribed": 1})
    notifications.put_event(silent, REPORT, "s3://b/report.json")
    notifications.notify(silent, "subject", "text")
