"""Checks the AWS account before `make deploy` changes the stack, then switches image scanning on: preflight.py ASSEMBLY

It stops a deployment that CloudFormation would start and could not finish. The scanning of images is a setting of the
account's whole registry in a region. So it is not in the stack: a second stack could not be created beside it.
"""

import json
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from deployment_target import client, stack_of
from leftovers import buckets_of, deletion_of, existing

FREQUENCIES = {"BASIC": "SCAN_ON_PUSH", "ENHANCED": "CONTINUOUS_SCAN"}

# The zones with Fargate, in regions where some zones lack it:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html
FARGATE_ZONES = {
    "us-west-1": {"usw1-az1", "usw1-az3"},
    "ap-northeast-1": {"apne1-az1", "apne1-az2", "apne1-az4"},
    "cn-north-1": {"cnn1-az1", "cnn1-az2"},
}


class CannotDeployError(Exception):
    """The deployment would fail, or would change what others use. The message says what to do."""


def live_template(stack: str, cloudformation: Any) -> dict[str, Any] | None:
    """The template of the stack; None if the stack does not exist or its first creation was rolled back."""
    status = _status(stack, cloudformation)
    if status is None or status in ("REVIEW_IN_PROGRESS", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        return None
    template = cloudformation.get_template(StackName=stack, TemplateStage="Original")["TemplateBody"]
    return dict(json.loads(template) if isinstance(template, str) else template)


def _status(stack: str, cloudformation: Any) -> str | None:
    try:
        [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":  # the stack does not exist
            return None
        raise
    return str(described["StackStatus"])


def check_failed_creation(stack: str, cloudformation: Any, s3: Any) -> None:
    """CloudFormation deletes only empty buckets. The CDK then forgets the failed stack and the buckets that it left.

    Raises:
        CannotDeployError: buckets of a failed first creation exist.
    """
    if _status(stack, cloudformation) != "ROLLBACK_FAILED":
        return
    left = existing(buckets_of(stack, cloudformation), s3)
    if left:
        raise CannotDeployError(
            f"The first creation of the stack {stack} failed and left buckets that are not empty. Delete them, then "
            f"deploy again:\n  {deletion_of(left)}"
        )


def check_network(live: Mapping[str, Any], template: Mapping[str, Any]) -> None:
    """The subnets of an MWAA environment cannot change, and new subnets must not overlap live ones.

    https://docs.aws.amazon.com/mwaa/latest/API/API_UpdateEnvironment.html

    Raises:
        CannotDeployError: CloudFormation could not make this change of the live stack's network.
    """
    elsewhere = "Set it back, or deploy a second stack with another stack_name and environment_name."
    if _cidrs(live, "AWS::EC2::VPC") != _cidrs(template, "AWS::EC2::VPC"):
        raise CannotDeployError(
            f"The setting vpc_cidr differs from the live stack, whose network cannot be replaced. {elsewhere}"
        )
    before, after = _cidrs(live, "AWS::EC2::Subnet"), _cidrs(template, "AWS::EC2::Subnet")
    if _has_mwaa(live) and _has_mwaa(template):
        if before != after:
            raise CannotDeployError(
                "The setting egress differs from the live stack, and the subnets of a live Airflow environment "
                f"cannot change. {elsewhere}"
            )
        return
    new = [ip_network(cidr) for name, cidr in after.items() if before.get(name) != cidr]
    if any(subnet.overlaps(ip_network(cidr)) for subnet in new for cidr in before.values()):
        # CloudFormation creates a subnet before it deletes the one that it replaces.
        raise CannotDeployError(
            "The setting egress differs from the live stack, and the addresses of the new subnets overlap those of the "
            f"live ones. {elsewhere}"
        )


def _has_mwaa(template: Mapping[str, Any]) -> bool:
    return any(resource["Type"] == "AWS::MWAA::Environment" for resource in template["Resources"].values())


def _cidrs(template: Mapping[str, Any], kind: str) -> dict[str, str]:
    return {
        name: resource["Properties"]["CidrBlock"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


def check_zones(ec2: Any) -> None:
    """The stack uses the first two zones of the region.

    Raises:
        CannotDeployError: Fargate is not offered in one of them.
    """
    offered = FARGATE_ZONES.get(ec2.meta.region_name)
    if offered is None:
        return
    filters = [{"Name": "zone-type", "Values": ["availability-zone"]}]
    zones = ec2.describe_availability_zones(Filters=filters)["AvailabilityZones"]
    for zone in sorted(zones, key=lambda zone: str(zone["ZoneName"]))[:2]:
        if zone["ZoneId"] not in offered:
            raise CannotDeployError(
                f"The stack would use the zone {zone['ZoneName']} ({zone['ZoneId']}), and AWS Fargate is not offered "
                "there. Choose another region."
            )


def image_repository(assembly: Path, account: str, region: str) -> str:
    """Name of the repository to which the CDK pushes all images."""
    [assets] = assembly.glob("*.assets.json")
    images = json.loads(assets.read_text())["dockerImages"].values()
    [name] = {str(place["repositoryName"]) for image in images for place in image["destinations"].values()}
    return name.replace("${AWS::AccountId}", account).replace("${AWS::Region}", region)


def scanning_rules(current: Mapping[str, Any], scan_type: str, repository: str) -> list[dict[str, Any]] | None:
    """The registry's rules with one for the repository, or None if a present rule scans it.

    Args:
        current: The registry's scanning configuration.
        scan_type: BASIC or ENHANCED, which counts for the whole registry.
        repository: The worker's repository.

    Raises:
        CannotDeployError: rules for other repositories have the other scan type.
    """
    own = {"filter": repository, "filterType": "WILDCARD"}
    rules = [dict(rule) for rule in current.get("rules", ())]
    filters = [item["filter"] for rule in rules for item in rule["repositoryFilters"]]
    others = sorted(set(filters) - {repository})
    if current["scanType"] != scan_type:
        if others:
            raise CannotDeployError(
                f"The account's registry has rules of the type {current['scanType']} for other images "
                f'({", ".join(others)}), and a registry has one type. Set image_scanning = "{current["scanType"]}", '
                'or "OFF" to leave the registry as it is.'
            )
        rules = []
    elif any(fnmatchcase(repository, pattern) for pattern in filters):
        return None
    frequency = FREQUENCIES[scan_type]
    same = [rule for rule in rules if rule["scanFrequency"] == frequency]
    if same:
        same[0]["repositoryFilters"] = [*same[0]["repositoryFilters"], own]
        return rules
    return [*rules, {"scanFrequency": frequency, "repositoryFilters": [own]}]


def scan_images(assembly: Path, scan_type: str, ecr: Any) -> None:
    """Make the registry scan the stack's images, beside what it scans already.

    AWS deprecated the setting of a single repository:
    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImageScanningConfiguration.html

    Raises:
        CannotDeployError: as `scanning_rules`.
    """
    if scan_type == "OFF":
        return
    answer = ecr.get_registry_scanning_configuration()
    repository = image_repository(assembly, answer["registryId"], ecr.meta.region_name)
    rules = scanning_rules(answer["scanningConfiguration"], scan_type, repository)
    if rules is not None:
        ecr.put_registry_scanning_configuration(scanType=scan_type, rules=rules)


def check(assembly: Path) -> None:
    stack, region = stack_of(assembly)
    template = json.loads((assembly / "Transcription.template.json").read_text())
    cloudformation = client("cloudformation", region)
    check_failed_creation(stack, cloudformation, client("s3", region))
    live = live_template(stack, cloudformation)
    if live is None:
        check_zones(client("ec2", region))
    else:
        check_network(live, template)
    scan_images(assembly, template["Metadata"]["ImageScanning"], client("ecr", region))


def main(assembly: Path) -> None:
    try:
        check(assembly)
    except CannotDeployError as error:
        sys.exit(f"Nothing was deployed. {error}")
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"Nothing was deployed. The AWS account could not be checked: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
