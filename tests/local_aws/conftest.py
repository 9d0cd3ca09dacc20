from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from local_aws import server
from local_aws.containers import WorkerProcess
from local_aws.server import LocalAws

# The smallest template with a Batch queue. It omits all optional properties.
QUEUE_TEMPLATE = {
    "Resources": {
        "Compute": {
            "Type": "AWS::Batch::ComputeEnvironment",
            "Properties": {
                "Type": "managed",
                "ComputeResources": {
                    "Type": "FARGATE",
                    "MaxvCpus": 4,
                    "Subnets": [{"Ref": "Subnet"}],
                    "SecurityGroupIds": [{"Fn::GetAtt": ["Network", "DefaultSecurityGroup"]}],
                },
            },
        },
        "Network": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.0.0.0/16"}},
        "Subnet": {
            "Type": "AWS::EC2::Subnet",
            "Properties": {"VpcId": {"Ref": "Network"}, "CidrBlock": "10.0.0.0/24"},
        },
        "Queue": {
            "Type": "AWS::Batch::JobQueue",
            "Properties": {
                "Priority": 1,
                "ComputeEnvironmentOrder": [
                    {"Order": 1, "ComputeEnvironment": {"Fn::GetAtt": ["Compute", "ComputeEnvironmentArn"]}}
                ],
            },
        },
        "Definition": {
            "Type": "AWS::Batch::JobDefinition",
            "Properties": {
                "Type": "container",
                "PlatformCapabilities": ["FARGATE"],
                "Timeout": {"AttemptDurationSeconds": 60},
                "ContainerProperties": {
                    "Image": "worker",
                    "Command": ["sh", "-c", "true"],
                    "ResourceRequirements": [{"Type": "VCPU", "Value": "1"}, {"Type": "MEMORY", "Value": "512"}],
                },
            },
        },
    },
    "Outputs": {
        "Queue": {"Value": {"Fn::GetAtt": ["Queue", "JobQueueArn"]}},
        "Definition": {"Value": {"Ref": "Definition"}},
    },
}
SLOTS = 2


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    with server.running(WorkerProcess(), slots=SLOTS, stop_timeout=2) as running:
        yield running


@pytest.fixture(scope="session")
def queue_stack(aws: LocalAws) -> dict[str, str]:
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(StackName="queue", TemplateBody=json.dumps(QUEUE_TEMPLATE))
    outputs = cloudformation.describe_stacks(StackName="queue")["Stacks"][0]["Outputs"]
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


@dataclass
class Jobs:
    """Submits shell commands as Batch jobs and waits for their end."""

    client: Any
    queue: str
    names: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def submit(self, script: str, *, size: int | None = None, **definition: Any) -> str:
        name = f"test-{next(self.names)}"
        self.client.register_job_definition(
            jobDefinitionName=name,
            type="container",
            containerProperties={
                "image": "worker",
                "command": ["sh", "-c", script],
                "environment": [{"name": "GREETING", "value": "hello"}],
                "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
            },
            **definition,
        )
        array = {"arrayProperties": {"size": size}} if size else {}
        return self.client.submit_job(jobName=name, jobQueue=self.queue, jobDefinition=name, **array)["jobId"]

    def describe(self, job_id: str) -> dict[str, Any]:
        return self.client.describe_jobs(jobs=[job_id])["jobs"][0]

    def wait(self, job_id: str) -> dict[str, Any]:
        return self.wait_until(job_id, lambda job: job["status"] in ("SUCCEEDED", "FAILED"))

    def wait_until(self, job_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for _ in range(600):
            job = self.describe(job_id)
            if holds(job):
                return job
            time.sleep(0.05)
        raise AssertionError(f"The job did not reach the expected state: {job}")

    def log(self, aws: LocalAws, job: dict[str, Any]) -> list[str]:
        events = aws.client("logs").get_log_events(
            logGroupName="/aws/batch/job", logStreamName=job["container"]["logStreamName"]
        )
        return [event["message"] for event in events["events"]]


@pytest.fixture(scope="session")
def jobs(aws: LocalAws, queue_stack: dict[str, str]) -> Jobs:
    return Jobs(aws.client("batch"), queue_stack["Queue"])
