"""Deploys the synthesised CDK app to the local AWS, as `cdk bootstrap` and `cdk deploy` do on AWS."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from local_aws.deployed_stack import orchestrator_options
from local_aws.server import ACCOUNT, REGION, LocalAws

_BOOTSTRAP_VERSION = "30"


@dataclass(frozen=True)
class Stack:
    """A deployed stack."""

    outputs: dict[str, str]
    airflow_options: dict[str, str]
    """Airflow's configuration options of the pipeline, such as `transcription.bucket`."""
    airflow_role: str
    """ARN of the role of Airflow's tasks."""
    resources: int
    schedule: Any = None
    """The `local_aws.starts.Schedule` that starts runs; None with Amazon MWAA."""


def deploy(aws: LocalAws, cloud_assembly: Path, stack: str = "Transcription", region: str = REGION) -> Stack:
    """Publish the assets, then create or update the stack from its unchanged template.

    Args:
        aws: The local AWS.
        cloud_assembly: The output folder of the CDK app's synthesis.
        stack: The stack's name.
        region: The region to deploy to.

    Raises:
        RuntimeError: the deployment failed. The message has CloudFormation's reason.
    """
    _bootstrap(aws, region)
    _publish_assets(aws, cloud_assembly, stack, region)
    cloudformation = aws.client("cloudformation", region)
    template = (cloud_assembly / f"{stack}.template.json").read_text()
    arguments = {"StackName": stack, "TemplateBody": template, "Capabilities": ["CAPABILITY_NAMED_IAM"]}
    status = _status(cloudformation, stack)
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):  # the CDK, too, replaces a stack that was never created
        cloudformation.delete_stack(StackName=stack)
        status = None
    if status is None:
        cloudformation.create_stack(**arguments)
    else:
        cloudformation.update_stack(**arguments)
    described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    if described["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise RuntimeError(f"The stack {stack} is {described['StackStatus']}: {described.get('StackStatusReason')}")
    resources = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]

    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}
    options, role, schedule = _airflow_of(resources, outputs, region)
    return Stack(
        outputs=outputs,
        airflow_options=options,
        airflow_role=role,
        resources=len(resources),
        schedule=schedule,
    )


def _airflow_of(
    resources: Iterable[Mapping[str, Any]], outputs: Mapping[str, str], region: str
) -> tuple[dict[str, str], str, Any | None]:
    """Airflow's options of the pipeline, the role of its tasks, and the schedule of a stack without Amazon MWAA."""
    from local_aws.cloudformation import Environment
    from local_aws.starts import Schedule

    names = {item.get("ResourceType", ""): item.get("PhysicalResourceId", "") for item in resources}
    if "AWS::MWAA::Environment" in names:
        properties = Environment.live[region, names["AWS::MWAA::Environment"]].properties
        return properties["AirflowConfigurationOptions"], properties["ExecutionRoleArn"], None
    task = _orchestrator_task(region, outputs["RunDefinitionName"])
    return orchestrator_options(task), task["taskRoleArn"], Schedule.live[region, names["AWS::Scheduler::Schedule"]]


def _orchestrator_task(region: str, definition: str) -> Mapping[str, Any]:
    """The only task of the newest revision of the orchestrator's job definition."""
    from moto.batch.models import batch_backends

    newest = batch_backends[ACCOUNT][region].get_job_definition(definition)
    [task] = newest.container_properties["ecsProperties"]["taskProperties"]
    return dict(task)


def _status(cloudformation: Any, stack: str) -> str | None:
    try:
        return str(cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"])
    except ClientError:
        return None


def _bootstrap(aws: LocalAws, region: str) -> None:
    """Create the resources of `cdk bootstrap` that a template needs."""
    aws.client("ssm", region).put_parameter(
        Name="/cdk-bootstrap/hnb659fds/version", Value=_BOOTSTRAP_VERSION, Type="String", Overwrite=True
    )
    # The client of us-east-1 needs no location, and may create a bucket again.
    aws.client("s3").create_bucket(Bucket=_in_account("cdk-hnb659fds-assets-${AWS::AccountId}-${AWS::Region}", region))


def _publish_assets(aws: LocalAws, cloud_assembly: Path, stack: str, region: str) -> None:
    """Upload the file assets. Skip container images, because the local runtime does not use them."""
    s3 = aws.client("s3")
    assets = json.loads((cloud_assembly / f"{stack}.assets.json").read_text())
    for asset in assets["files"].values():
        path = cloud_assembly / asset["source"]["path"]
        body = _zipped(path) if asset["source"]["packaging"] == "zip" else path.read_bytes()
        for destination in asset["destinations"].values():
            bucket = _in_account(destination["bucketName"], region)
            s3.put_object(Bucket=bucket, Key=destination["objectKey"], Body=body)


def _zipped(folder: Path) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                members.write(path, path.relative_to(folder))
    return archive.getvalue()


def _in_account(name: str, region: str) -> str:
    return name.replace("${AWS::AccountId}", ACCOUNT).replace("${AWS::Region}", region)
