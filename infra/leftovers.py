"""What `make destroy` leaves: the stack's buckets, with everything in them.

leftovers.py list ASSEMBLY   names those of the stack that was synthesised to this folder; call it before the
                             stack is gone, for its outputs go with it
leftovers.py delete BUCKET…  deletes them for good, every version of every object first
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

OUTPUTS = {
    "BucketName": "audio and transcripts",
    "AirflowCodeBucketName": "Airflow's code",
    "AccessLogsBucketName": "access logs",
}


def stack_of(assembly: Path) -> tuple[str, str | None]:
    """Name and region of the stack; no region: the one that the AWS profile names."""
    stack = json.loads((assembly / "manifest.json").read_text())["artifacts"]["Transcription"]
    region = stack["environment"].rpartition("/")[2]
    return stack["properties"].get("stackName", "Transcription"), None if region == "unknown-region" else region


def buckets_of(stack: str, cloudformation: Any) -> dict[str, str]:
    """What the stack's buckets hold, by bucket; none if there is no such stack."""
    try:
        [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # CloudFormation's word for "no such stack"
            return {}
        raise
    found = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}
    return {found[name]: content for name, content in OUTPUTS.items() if name in found}


def delete_bucket(name: str, s3: Any) -> int:
    """Deletes a bucket with every version of every object; gives their number."""
    deleted = 0
    while True:
        page = s3.list_object_versions(Bucket=name)  # 1,000 at most, as many as one deletion takes
        versions = [
            {"Key": version["Key"], "VersionId": version["VersionId"]}
            for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))
        ]
        if not versions:
            break
        answer = s3.delete_objects(Bucket=name, Delete={"Objects": versions, "Quiet": True})
        for error in answer.get("Errors", ()):
            raise RuntimeError(f"{name}: {error['Key']!r} cannot be deleted: {error.get('Message')}")
        deleted += len(versions)
    s3.delete_bucket(Bucket=name)
    return deleted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list").add_argument("assembly", type=Path)
    commands.add_parser("delete").add_argument("bucket", nargs="+")
    chosen = parser.parse_args(arguments)

    if chosen.command == "delete":
        for name in chosen.bucket:
            print(f"{name}: {delete_bucket(name, boto3.client('s3'))} objects and versions deleted, and the bucket")
        return

    stack, region = stack_of(chosen.assembly)
    buckets = buckets_of(stack, boto3.client("cloudformation", region_name=region))
    if not buckets:
        print(f"There is no stack {stack} in this account and region.")
        return
    print("These buckets stay, with what is in them, unless the stack was deployed with delete_everything = true:")
    for name, content in buckets.items():
        print(f"  {name}  ({content})")
    print(f"To delete them for good:\n  .venv/airflow/bin/python infra/leftovers.py delete {' '.join(buckets)}")


if __name__ == "__main__":
    main()
