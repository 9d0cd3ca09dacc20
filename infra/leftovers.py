"""Lists and deletes the buckets that `make destroy` or a failed first creation leaves, with everything in them.

leftovers.py list ASSEMBLY   lists the buckets of the stack that was synthesised to the folder ASSEMBLY. Run it
                             before the stack is deleted: it reads the stack's resources
leftovers.py delete BUCKET…  deletes the buckets permanently, with every version of every object
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from deployment_target import client, stack_of

CONTENTS = {
    "StorageAudio": "audio and transcripts",
    "StorageAirflowCode": "Airflow's code",
    "StorageAccessLogs": "access logs",
}


def buckets_of(stack: str, cloudformation: Any) -> dict[str, str]:
    """Map each of the stack's buckets to a description of its content. Empty if the stack does not exist.

    A failed stack has no outputs, so this reads the resources.
    """
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
    try:
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # the stack does not exist
            return {}
        raise
    return {
        resource["PhysicalResourceId"]: _content(resource["LogicalResourceId"])
        for resource in resources
        if resource["ResourceType"] == "AWS::S3::Bucket"
        and resource.get("PhysicalResourceId")
        and resource["ResourceStatus"] != "DELETE_COMPLETE"
    }


def _content(logical_id: str) -> str:
    return next((content for start, content in CONTENTS.items() if logical_id.startswith(start)), logical_id)


def existing(buckets: Iterable[str], s3: Any) -> list[str]:
    """Those of the buckets that exist in the account."""
    found = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    return [name for name in buckets if name in found]


def deletion_of(buckets: Iterable[str]) -> str:
    """The command that deletes the buckets."""
    return f".venv/airflow/bin/python infra/leftovers.py delete {' '.join(buckets)}"


def delete_bucket(name: str, s3: Any) -> int:
    """Deletes a bucket with every version of every object.

    Returns:
        the number of deleted versions and delete markers.

    Raises:
        RuntimeError: S3 refuses to delete an object.
    """
    deleted = 0
    while True:
        page = s3.list_object_versions(Bucket=name)  # at most 1,000, the limit of one deletion
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
    try:
        if chosen.command == "delete":
            _delete(chosen.bucket)
        else:
            _list(chosen.assembly)
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"AWS could not be asked: {error}")


def _delete(buckets: Iterable[str]) -> None:
    for name in buckets:
        print(f"{name}: {delete_bucket(name, client('s3'))} versions deleted, and the bucket")


def _list(assembly: Path) -> None:
    stack, region = stack_of(assembly)
    buckets = buckets_of(stack, client("cloudformation", region))
    if not buckets:
        print(f"The stack {stack} does not exist in this account and region.")
        return
    print("`destroy` keeps these buckets and their content, unless the stack has the setting delete_everything = true:")
    for name, content in buckets.items():
        print(f"  {name}  ({content})")
    print(f"To delete them permanently:\n  {deletion_of(buckets)}")


if __name__ == "__main__":
    main()
