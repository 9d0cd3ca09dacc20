"""Creates the log groups."""

from typing import cast

from aws_cdk import RemovalPolicy
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from constructs import Construct

from .stack_settings import Settings


def log_group(scope: Construct, construct_id: str, *, name: str, settings: Settings, key: kms.IKey) -> logs.LogGroup:
    """An encrypted log group with the given name. Its logs expire after `log_retention_days`."""
    group = logs.LogGroup(
        scope,
        construct_id,
        log_group_name=name,
        encryption_key=key,
        removal_policy=RemovalPolicy.DESTROY,
    )
    # The L2 construct takes an enumeration of words such as ONE_WEEK. CloudFormation takes the number.
    cast(logs.CfnLogGroup, group.node.default_child).retention_in_days = settings.log_retention_days
    return group
