"""Where a deployment goes: the stack of a cloud assembly, and clients for its region."""

import json
import os
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError


def stack_of(assembly: Path) -> tuple[str, str | None]:
    """Name and region of the stack. The region is None if the settings do not name one."""
    stack = json.loads((assembly / "manifest.json").read_text())["artifacts"]["Transcription"]
    region = stack["environment"].rpartition("/")[2]
    return stack["properties"].get("stackName", "Transcription"), None if region == "unknown-region" else region


def outputs_of(stack: str, cloudformation: Any) -> dict[str, str] | None:
    """The outputs of a stack; None if it does not exist."""
    try:
        [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}


def client(service: str, region: str | None = None) -> Any:
    """A boto3 client for the region that the CDK uses, too.

    The region of the settings comes first, then AWS_REGION, then AWS_DEFAULT_REGION, then the AWS profile's. boto3
    alone ignores AWS_REGION: https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
    """
    return boto3.client(service, region_name=region or os.environ.get("AWS_REGION") or None)
