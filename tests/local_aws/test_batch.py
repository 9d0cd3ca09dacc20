"""The local Batch behaves like AWS Batch where moto does not."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import batch

EXIT = {"onReason": "*", "action": "EXIT"}


def test_a_job_runs_its_command_and_has_exit_code_reason_and_log(aws: Any, jobs: Any) -> None:
    job = jobs.wait(jobs.submit("echo $GREETING; echo world >&2"))
    assert job["status"] == "SUCCEEDED"
    assert job["container"]["exitCode"] == 0
    assert job["statusReason"] == "Essential container in task exited"
    assert jobs.log(aws, job) == ["hello", "world"]


def test_a_job_with_a_non_zero_exit_code_fails_and_has_the_code(jobs: Any) -> None:
    job = jobs.wait(jobs.submit("exit 7"))
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 7)


def test_the_exit_code_of_a_container_killed_by_a_signal_is_128_plus_the_signal(jobs: Any) -> None:
    assert jobs.wait(jobs.submit("kill -9 $$"))["container"]["exitCode"] == 137


def test_each_array_child_has_an_index_and_no_other_job_has_one(aws: Any, jobs: Any) -> None:
    show = 'echo "index ${AWS_BATCH_JOB_ARRAY_INDEX-none} of $AWS_BATCH_JOB_ID"'
    parent = jobs.wait(jobs.submit(show, size=3))
    logs = [jobs.log(aws, jobs.describe(f"{parent['jobId']}:{index}")) for index in range(3)]
    assert logs == [[f"index {index} of {parent['jobId']}:{index}"] for index in range(3)]
    single = jobs.wait(jobs.submit(show))
    assert jobs.log(aws, single) == [f"index none of {single['jobId']}"]


def test_array_children_do_not_share_environment_variables(jobs: Any) -> None:
    parent = jobs.wait(jobs.submit("true", size=2))
    for index in range(2):
        environment = jobs.describe(f"{parent['jobId']}:{index}")["container"]["environment"]
        assert environment == [{"name": "GREETING", "value": "hello"}]


def test_a_parent_is_pending_until_all_children_have_ended_and_fails_if_a_child_failed(jobs: Any) -> None:
    job_id = jobs.submit('[ "$AWS_BATCH_JOB_ARRAY_INDEX" = 0 ] && exit 1; sleep 1', size=2)
    early = jobs.wait_until(job_id, lambda job: job["arrayProperties"]["statusSummary"]["FAILED"] == 1)
    assert early["status"] == "PENDING"
    parent = jobs.wait(job_id)
    assert parent["status"] == "FAILED"
    assert parent["statusReason"] == "Array Child Job failed"
    summary = parent["arrayProperties"]["statusSummary"]
    assert (summary["SUCCEEDED"], summary["FAILED"], sum(summary.values())) == (1, 1, 2)


def test_failed_children_are_listed_with_their_exit_codes_and_times(jobs: Any) -> None:
    parent = jobs.wait(jobs.submit('exit "$AWS_BATCH_JOB_ARRAY_INDEX"', size=3))
    failed = jobs.client.list_jobs(arrayJobId=parent["jobId"], jobStatus="FAILED")["jobSummaryList"]
    assert [(job["arrayProperties"]["index"], job["container"]["exitCode"]) for job in failed] == [(1, 1), (2, 2)]
    assert all(job["startedAt"] <= job["stoppedAt"] for job in failed)


def test_the_list_of_a_queues_jobs_contains_the_parent_but_not_its_children(jobs: Any) -> None:
    job_id = jobs.submit("true", size=2)
    listed = jobs.client.list_jobs(jobQueue=jobs.queue, filters=[{"name": "JOB_NAME", "values": ["test-*"]}])
    assert [job["jobId"] for job in listed["jobSummaryList"] if job["jobId"].startswith(job_id)] == [job_id]


@pytest.mark.parametrize("size", [1, 10_001])
def test_an_array_has_2_to_10000_children(jobs: Any, size: int) -> None:
    with pytest.raises(ClientError, match="Array size"):
        jobs.submit("true", size=size)


def test_a_failed_job_is_retried_until_the_definitions_attempts_are_used(jobs: Any) -> None:
    job = jobs.wait(jobs.submit("exit 3", retryStrategy={"attempts": 3}))
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [3, 3, 3]


def test_a_successful_attempt_is_the_last(tmp_path: Any, jobs: Any) -> None:
    once = f"[ -e '{tmp_path}/seen' ] || {{ touch '{tmp_path}/seen'; exit 75; }}"
    job = jobs.wait(jobs.submit(once, retryStrategy={"attempts": 3}))
    assert job["status"] == "SUCCEEDED"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [75, 0]
    assert job["attempts"][0]["container"]["logStreamName"] != job["attempts"][1]["container"]["logStreamName"]


@pytest.mark.parametrize(
    ("conditions", "attempts"),
    [
        ([{"onExitCode": "75", "action": "RETRY"}, EXIT], 2),
        ([{"onExitCode": "78", "action": "RETRY"}, EXIT], 1),
        ([{"onExitCode": "7*", "action": "EXIT"}], 1),
        ([{"onExitCode": "1", "action": "EXIT"}], 2),  # no condition matches: Batch retries
        ([{"onExitCode": "75", "onStatusReason": "Host EC2*", "action": "EXIT"}], 2),  # both must match
        ([{"onStatusReason": "essential container*", "action": "EXIT"}], 1),  # case does not matter
    ],
)
def test_the_first_matching_condition_decides_on_the_retry(
    jobs: Any, conditions: list[dict[str, str]], attempts: int
) -> None:
    job = jobs.wait(jobs.submit("exit 75", retryStrategy={"attempts": 2, "evaluateOnExit": conditions}))
    assert len(job["attempts"]) == attempts


@pytest.fixture
def start_failures(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the next attempts fail before their container starts."""
    failures: deque[batch.StartFailure] = deque()
    monkeypatch.setattr(batch.BatchJob, "start_failures", failures)
    return failures


NO_NETWORK = batch.StartFailure("Timeout waiting for network interface provisioning to complete.")
NO_IMAGE = batch.StartFailure(
    "Task failed to start", "CannotPullContainerError: failed to copy: httpReadSeeker: dial tcp: i/o timeout"
)
PERMANENT = {"onExitCode": "78", "action": "EXIT"}


def test_an_attempt_that_cannot_start_has_a_reason_and_no_exit_code(jobs: Any, start_failures: Any) -> None:
    start_failures.extend([NO_NETWORK, NO_IMAGE])
    job = jobs.wait(jobs.submit("true", retryStrategy={"attempts": 3, "evaluateOnExit": [PERMANENT]}))
    assert job["status"] == "SUCCEEDED"
    network, image, started = job["attempts"]
    assert (network["statusReason"], network["container"]) == (NO_NETWORK.status_reason, {})
    assert image["container"] == {"reason": NO_IMAGE.container_reason}
    assert started["container"]["exitCode"] == 0


@pytest.mark.parametrize(
    ("failure", "condition"),
    [
        (NO_NETWORK, EXIT),  # `*` also matches no reason
        (NO_NETWORK, {"onStatusReason": "Timeout waiting for network*", "action": "EXIT"}),
        (NO_IMAGE, {"onReason": "CannotPull*", "action": "EXIT"}),
    ],
)
def test_conditions_apply_to_attempts_that_could_not_start(
    jobs: Any, start_failures: Any, failure: batch.StartFailure, condition: dict[str, str]
) -> None:
    start_failures.append(failure)
    job = jobs.wait(jobs.submit("true", retryStrategy={"attempts": 2, "evaluateOnExit": [condition]}))
    assert (job["status"], job["statusReason"]) == ("FAILED", failure.status_reason)
    assert len(job["attempts"]) == 1
    assert "startedAt" not in job


def test_overrides_of_more_than_8192_characters_fail_at_the_start(jobs: Any, ecs_definition: str) -> None:
    job = jobs.wait(greet(jobs, ecs_definition, "x" * 8192))
    assert (job["status"], job["statusReason"]) == ("FAILED", "Container Overrides length must be at most 8192")
    assert jobs.wait(greet(jobs, ecs_definition, "x" * 8000))["status"] == "SUCCEEDED"


def test_a_terminated_job_gets_sigterm_and_is_not_retried(aws: Any, jobs: Any) -> None:
    job_id = jobs.submit(
        "trap 'echo asked; exit 75' TERM; echo up; while :; do sleep 0.1; done", retryStrategy={"attempts": 3}
    )
    jobs.wait_until(job_id, lambda job: job["status"] == "RUNNING")
    time.sleep(0.3)  # the shell needs a moment to set its trap
    jobs.client.terminate_job(jobId=job_id, reason="enough")
    job = jobs.wait(job_id)
    assert (job["status"], job["statusReason"], len(job["attempts"])) == ("FAILED", "enough", 1)
    assert jobs.log(aws, job) == ["up", "asked"]


def test_a_container_that_ignores_sigterm_is_killed_after_the_stop_timeout(jobs: Any) -> None:
    job_id = jobs.submit("trap '' TERM; while :; do sleep 0.1; done")
    jobs.wait_until(job_id, lambda job: job["status"] == "RUNNING")
    time.sleep(0.3)
    jobs.client.terminate_job(jobId=job_id, reason="enough")
    assert jobs.wait(job_id)["container"]["exitCode"] == 137


def test_terminating_an_array_terminates_its_children(jobs: Any) -> None:
    job_id = jobs.submit("sleep 60", size=4)
    jobs.wait_until(job_id, lambda job: job["arrayProperties"]["statusSummary"]["RUNNING"] == 2)
    jobs.client.terminate_job(jobId=job_id, reason="enough")
    parent = jobs.wait(job_id)
    assert parent["arrayProperties"]["statusSummary"]["FAILED"] == 4
    assert {jobs.describe(f"{job_id}:{index}")["statusReason"] for index in range(4)} == {"enough"}


def test_no_more_containers_run_at_the_same_time_than_there_are_slots(tmp_path: Any, jobs: Any) -> None:
    count = f"touch '{tmp_path}/'$$; ls '{tmp_path}' | wc -l; sleep 0.3; rm '{tmp_path}/'$$"
    job_id = jobs.submit(count, size=5)
    waiting = jobs.wait_until(job_id, lambda job: job["arrayProperties"]["statusSummary"]["RUNNING"] == 2)
    assert waiting["arrayProperties"]["statusSummary"]["RUNNABLE"] == 3
    most = 0
    while jobs.describe(job_id)["status"] == "PENDING":
        most = max(most, len(list(tmp_path.iterdir())))
    assert most == 2


def test_an_attempt_that_exceeds_its_timeout_is_stopped_and_not_retried(jobs: Any) -> None:
    job = jobs.wait(jobs.submit("sleep 60", timeout={"attemptDurationSeconds": 1}, retryStrategy={"attempts": 2}))
    assert (job["status"], len(job["attempts"])) == ("FAILED", 1)
    assert job["statusReason"] == "Job attempt duration exceeded timeout"


def test_a_container_gets_the_local_aws_but_no_other_variable_of_its_caller(
    aws: Any, jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "of the caller")
    job = jobs.wait(jobs.submit("env"))
    seen = dict(line.split("=", 1) for line in jobs.log(aws, job) if "=" in line)
    assert seen["AWS_ENDPOINT_URL"] == aws.endpoint
    assert "A_SECRET" not in seen


def test_a_containers_child_processes_end_with_the_container(tmp_path: Any, jobs: Any) -> None:
    jobs.wait(jobs.submit(f"(sleep 2; touch '{tmp_path}/survived') &"))
    time.sleep(2.5)
    assert not list(tmp_path.iterdir())


def test_each_attempt_has_separate_storage_that_is_deleted_at_its_end(aws: Any, jobs: Any) -> None:
    job_id = jobs.submit('echo "$TMPDIR"; ls "$TMPDIR"; mktemp; kill -9 $$', retryStrategy={"attempts": 2})
    logs = [jobs.log(aws, attempt) for attempt in jobs.wait(job_id)["attempts"]]
    folders = [Path(log[0]) for log in logs]
    assert [Path(log[1]).parent for log in logs] == folders, "the storage was not empty"
    assert folders[0] != folders[1]
    assert [folder for folder in folders if folder.exists()] == []


def test_a_command_that_does_not_exist_fails_the_job_with_a_reason(jobs: Any) -> None:
    name = "no-such-program"
    jobs.client.register_job_definition(
        jobDefinitionName=name,
        type="container",
        containerProperties={
            "image": "worker",
            "command": [name],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
        },
    )
    job = jobs.wait(jobs.client.submit_job(jobName=name, jobQueue=jobs.queue, jobDefinition=name)["jobId"])
    assert job["status"] == "FAILED"
    assert name in job["statusReason"]


TASK = {
    "containers": [
        {
            "name": "worker",
            "image": "worker",
            "command": [
                "sh",
                "-c",
                'echo $GREETING; trap "" TERM; [ "$GREETING" != stay ] || while :; do sleep 0.1; done',
            ],
            "environment": [{"name": "GREETING", "value": "hello"}],
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
            "stopTimeout": 2,
        }
    ]
}


@pytest.fixture(scope="module")
def ecs_definition(jobs: Any) -> str:
    jobs.client.register_job_definition(
        jobDefinitionName="ecs", type="container", ecsProperties={"taskProperties": [TASK]}
    )
    return "ecs"


def greet(jobs: Any, definition: str, greeting: str, container: str = "worker") -> str:
    override = {"name": container, "environment": [{"name": "GREETING", "value": greeting}]}
    return jobs.client.submit_job(
        jobName="ecs",
        jobQueue=jobs.queue,
        jobDefinition=definition,
        ecsPropertiesOverride={"taskProperties": [{"containers": [override]}]},
    )["jobId"]


def test_a_definition_with_ecs_properties_is_described_with_ecs_properties(jobs: Any, ecs_definition: str) -> None:
    [described] = jobs.client.describe_job_definitions(jobDefinitionName=ecs_definition)["jobDefinitions"]
    assert "containerProperties" not in described
    [task] = described["ecsProperties"]["taskProperties"]
    assert task["containers"][0]["stopTimeout"] == 2


def test_a_job_of_an_ecs_definition_takes_overrides_by_container_name_and_is_described_with_ecs_properties(
    aws: Any, jobs: Any, ecs_definition: str
) -> None:
    job = jobs.wait(greet(jobs, ecs_definition, "good day"))
    assert "container" not in job
    [container] = job["ecsProperties"]["taskProperties"][0]["containers"]
    assert (container["name"], container["exitCode"]) == ("worker", 0)
    assert container["environment"] == [{"name": "GREETING", "value": "good day"}]
    assert jobs.log(aws, {"container": container}) == ["good day"]
    [attempt] = job["attempts"]
    assert attempt["taskProperties"][0]["containers"][0]["exitCode"] == 0
    assert "container" not in attempt


def test_a_job_of_an_ecs_definition_rejects_an_unknown_container_and_container_overrides(
    jobs: Any, ecs_definition: str
) -> None:
    with pytest.raises(ClientError, match="no container other"):
        greet(jobs, ecs_definition, "hello", container="other")
    with pytest.raises(ClientError, match="takes ecsPropertiesOverride"):
        jobs.client.submit_job(
            jobName="ecs", jobQueue=jobs.queue, jobDefinition=ecs_definition, containerOverrides={"command": ["true"]}
        )


def test_the_stop_timeout_of_the_definition_limits_the_time_after_sigterm(
    jobs: Any, ecs_definition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch.BatchJob, "most_stop_seconds", 600)
    job_id = greet(jobs, ecs_definition, "stay")
    jobs.wait_until(job_id, lambda job: job["status"] == "RUNNING")
    time.sleep(0.3)
    jobs.client.terminate_job(jobId=job_id, reason="enough")
    [container] = jobs.wait(job_id)["ecsProperties"]["taskProperties"][0]["containers"]
    assert container["exitCode"] == 137


def test_a_definition_with_two_containers_is_rejected_with_a_message(jobs: Any) -> None:
    with pytest.raises(ClientError, match="supports one container per job"):
        jobs.client.register_job_definition(
            jobDefinitionName="two", type="container", ecsProperties={"taskProperties": [TASK, TASK]}
        )


def test_the_local_batch_rejects_an_unsupported_version_of_moto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.__version__", "6.0.0")
    with pytest.raises(RuntimeError, match=r"the version is 6\.0\.0"):
        batch.install(slots=1, runtime=batch.BatchJob.runtime, container_environment={}, stop_timeout=1)
