"""What starts runs without Amazon MWAA, on the local AWS: the schedule, uploads, and a change of the stack's way."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import deployment, starts
from local_aws.containers import PROJECT
from tests.on_demand.conftest import Deployed
from transcription_contract import deployment as names

NIGHT = datetime(2026, 7, 1, 1, tzinfo=UTC)


def test_the_schedule_starts_a_run_whose_id_is_made_of_the_scheduled_time(deployed: Deployed) -> None:
    deployed.put("scheduled.wav")
    job = deployed.wait(deployed.stack.schedule.fire(NIGHT))
    assert job["status"] == "SUCCEEDED", deployed.log(job)
    assert [key for key in deployed.keys("runs/manual__2026-07-01T01-00-00") if key.endswith("/report.json")]
    assert "scheduled" in deployed.keys("output/scheduled")[0]


def test_a_night_with_nothing_to_do_ends_well_and_submits_nothing(deployed: Deployed) -> None:
    job = deployed.wait(deployed.stack.schedule.fire(NIGHT.replace(day=2), conf='{"prefix": "nothing/"}'))
    assert job["status"] == "SUCCEEDED"
    assert "No recording waits" in deployed.log(job)
    queue = deployed.stack.airflow_options["transcription.job_queue"]
    assert not deployed.jobs(queue, "transcription-manual__2026-07-02*")


def test_a_job_without_a_time_has_the_time_of_its_submission_in_every_attempt(deployed: Deployed) -> None:
    job_id = deployed.aws.client("batch").submit_job(
        jobName=names.RUN_JOB,
        jobQueue=deployed.stack.outputs["RunQueueArn"],
        jobDefinition=deployed.stack.outputs["RunDefinitionName"],
        parameters={"conf": '{"prefix": "nothing/"}'},
    )["jobId"]
    job = deployed.wait(job_id)
    submitted = datetime.fromtimestamp(job["createdAt"] / 1000, UTC)
    assert f"manual__{submitted.isoformat()}" in deployed.log(job)


def test_a_wrong_argument_ends_the_job_with_a_sentence_and_no_retry(deployed: Deployed) -> None:
    job = deployed.wait(deployed.stack.schedule.fire(NIGHT, conf="[1]"))
    assert job["status"] == "FAILED"
    assert len(job["attempts"]) == 1
    assert "Nothing was started. The parameter conf is '[1]'" in deployed.log(job)


@pytest.fixture
def settled(deployed: Deployed) -> Iterator[Callable[[str], Deployed]]:
    """Deploys the stack with other settings over the live one, and the first settings again at the end."""
    folder = PROJECT / "build" / "tests"

    def settle(settings: str) -> Deployed:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.toml").write_text(settings)
        variables = {**os.environ, "CDK_OUTDIR": str(folder / "cdk.out"), "SETTINGS": str(folder / "settings.toml")}
        program = [PROJECT / ".venv" / "infra" / "bin" / "python", PROJECT / "infra" / "app.py"]
        subprocess.run(program, env=variables, check=True, capture_output=True)
        return Deployed(deployed.aws, deployment.deploy(deployed.aws, folder / "cdk.out"))

    yield settle
    deployed.stack = deployment.deploy(deployed.aws, PROJECT / "build" / "on_demand")


def test_uploads_that_have_come_to_rest_start_a_run(settled: Any) -> None:
    uploads = settled('orchestration = "on_demand"\nstart_on_upload = true\n')
    uploads.put("uploaded.wav")
    queue = uploads.stack.outputs["RunQueueArn"]
    patterns = [json.loads(rule["EventPattern"]) for rule in uploads.aws.client("events").list_rules()["Rules"]]
    [arn] = [item["resources"][0] for item in patterns if "previousState" in item["detail"]]
    before = {job["jobId"] for job in uploads.jobs(queue, names.RUN_JOB)}

    starts.change_alarm(arn, "OK", "ALARM", NIGHT.replace(day=5))
    assert {job["jobId"] for job in uploads.jobs(queue, names.RUN_JOB)} == before
    starts.change_alarm(arn, "ALARM", "OK", NIGHT.replace(day=5, minute=10))
    starts.change_alarm(arn, "ALARM", "OK", NIGHT.replace(day=5, minute=10))  # EventBridge may send an event twice

    new = {job["jobId"] for job in uploads.jobs(queue, names.RUN_JOB)} - before
    assert len(new) == 2
    assert {uploads.wait(job_id)["status"] for job_id in new} == {"SUCCEEDED"}
    assert "output/uploaded" in uploads.keys("output/")
    children = uploads.jobs(
        uploads.stack.airflow_options["transcription.job_queue"], "transcription-manual__2026-07-05*"
    )
    assert len(children) == 1


def test_each_upload_matches_the_rule_that_the_alarms_count(settled: Any) -> None:
    uploads = settled('orchestration = "on_demand"\nstart_on_upload = true\n')
    sqs, events = uploads.aws.client("sqs"), uploads.aws.client("events")
    [rule] = [rule["Name"] for rule in events.list_rules()["Rules"] if '"aws.s3"' in rule["EventPattern"]]
    [target] = events.list_targets_by_rule(Rule=rule)["Targets"]
    url = sqs.get_queue_url(QueueName=target["Arn"].rpartition(":")[2])["QueueUrl"]
    sqs.purge_queue(QueueUrl=url)
    uploads.put("counted.wav")
    uploads.aws.client("s3").put_object(Bucket=uploads.bucket, Key="models/x", Body=b"no upload")
    messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [json.loads(message["Body"])["detail"]["object"]["key"] for message in messages] == ["input/counted.wav"]
    uploads.aws.client("s3").delete_object(Bucket=uploads.bucket, Key="input/counted.wav")


def test_a_stack_that_changes_its_way_keeps_its_bucket_and_audio(settled: Any, deployed: Deployed) -> None:
    deployed.put("kept.wav")
    with_mwaa = settled('orchestration = "mwaa"\n')
    assert with_mwaa.bucket == deployed.bucket
    assert with_mwaa.stack.schedule is None
    assert "input/kept.wav" in with_mwaa.keys("input/")
    back = settled('orchestration = "on_demand"\n')
    assert back.bucket == deployed.bucket
    assert "input/kept.wav" in back.keys("input/")
    job = back.wait(back.stack.schedule.fire(NIGHT.replace(day=8)))
    assert job["status"] == "SUCCEEDED", back.log(job)
    assert "output/kept" in back.keys("output/")


def test_the_schedules_role_can_start_nothing_but_the_orchestrator(deployed: Deployed) -> None:
    schedule = deployed.stack.schedule
    call = json.loads(schedule.properties["Target"]["Input"])
    changed = {**call, "JobQueue": deployed.stack.airflow_options["transcription.job_queue"]}
    target = {**schedule.properties["Target"], "Input": json.dumps(changed)}
    other = starts.Schedule("other", schedule.region, {**schedule.properties, "Target": target})
    with pytest.raises(ClientError, match="not authorized to perform batch:SubmitJob"):
        other.fire(NIGHT)


def test_the_deployed_stack_has_every_resource_of_the_template(deployed: Deployed) -> None:
    template = json.loads(Path(PROJECT / "build" / "on_demand" / "Transcription.template.json").read_text())
    assert deployed.stack.resources == len(template["Resources"])
