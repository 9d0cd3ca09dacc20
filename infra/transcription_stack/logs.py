"""Log groups, all made alike."""

from typing import cast

from aws_cdk import RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from .settings import Settings


def log_group(scope: Construct, construct_id: str, *, name: str, settings: Settings, key: kms.IKey) -> logs.LogGroup:
    """A log group under its own name, encrypted, kept for the set number of days."""
    group = logs.LogGroup(
        scope,
        construct_id,
        log_group_name=name,
        encryption_key=key,
        removal_policy=RemovalPolicy.DESTROY,
    )
    # The enumeration of the L2 construct has a word for each number; CloudFormation takes the number.
    cast(logs.CfnLogGroup, group.node.default_child).retention_in_days = settings.log_retention_days
    return group
