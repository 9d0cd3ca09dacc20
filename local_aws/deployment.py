"""Deploys the synthesised CDK app to the local AWS: what `cdk bootstrap` and `cdk deploy` do on AWS."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from local_aws.server import ACCOUNT, REGION, LocalAws

_BOOTSTRAP_VERSION = "30"


@dataclass(frozen=True)
class Stack:
    """A deployed stack."""

    outputs: dict[str, str]
    airflow_options: dict[str, str]
    """The MWAA environment's Airflow configuration options."""
    resources: int


def deploy(aws: LocalAws, cloud_assembly: Path, stack: str = "Transcription") -> Stack:
    """Publish the assets, then create or update the stack from its template as it is.

    Args:
        aws: Where to.
        cloud_assembly: The folder that the CDK app was synthesised to.
        stack: The stack's name.

    Raises:
        RuntimeError: the stack could not be deployed, with CloudFormation's reason.
    """
    _bootstrap(aws)
    _publish_assets(aws, cloud_assembly, stack)
    cloudformation = aws.client("cloudformation")
    template = (cloud_assembly / f"{stack}.template.json").read_text()
    arguments = {"StackName": stack, "TemplateBody": template, "Capabilities": ["CAPABILITY_NAMED_IAM"]}
    try:
        cloudformation.describe_stacks(StackName=stack)
    except ClientError:
        cloudformation.create_stack(**arguments)
    else:
        cloudformation.update_stack(**arguments)
    described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    if described["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise RuntimeError(f"The stack {stack} is {described['StackStatus']}: {described.get('StackStatusReason')}")
    resources = cloudformation.describe_stack_resources(StackName=stack)["StackResources"]

    from local_aws.cloudformation import Environment

    (environment,) = Environment.by_name.values()
    return Stack(
        outputs={output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())},
        airflow_options=environment.properties["AirflowConfigurationOptions"],
        resources=len(resources),
    )


def _bootstrap(aws: LocalAws) -> None:
    """What `cdk bootstrap` leaves in an account, as far as a template asks for it."""
    aws.client("ssm").put_parameter(
        Name="/cdk-bootstrap/hnb659fds/version", Value=_BOOTSTRAP_VERSION, Type="String", Overwrite=True
    )
    aws.client("s3").create_bucket(Bucket=_in_account("cdk-hnb659fds-assets-${AWS::AccountId}-${AWS::Region}"))


def _publish_assets(aws: LocalAws, cloud_assembly: Path, stack: str) -> None:
    """Upload the file assets. Container images stay: the local runtime has its own."""
    s3 = aws.client("s3")
    assets = json.loads((cloud_assembly / f"{stack}.assets.json").read_text())
    for asset in assets["files"].values():
        path = cloud_assembly / asset["source"]["path"]
        body = _zipped(path) if asset["source"]["packaging"] == "zip" else path.read_bytes()
        for destination in asset["destinations"].values():
            s3.put_object(Bucket=_in_account(destination["bucketName"]), Key=destination["objectKey"], Body=body)


def _zipped(folder: Path) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                members.write(path, path.relative_to(folder))
    return archive.getvalue()


def _in_account(name: str) -> str:
    return name.replace("${AWS::AccountId}", ACCOUNT).replace("${AWS::Region}", REGION)
