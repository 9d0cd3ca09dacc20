"""What starts Batch jobs on moto 5.2.5: schedules of EventBridge Scheduler, and rules of EventBridge.

moto knows no schedule in a template, never fires one, and its rules have no Batch targets. This module keeps schedules
and fires them by hand, and gives rules such targets. Both submit with the rights of the role that the template names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import boto3
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.core.common_models import CloudFormationModel
from moto.core.utils import iso_8601_datetime_without_milliseconds, utcfromtimestamp
from moto.events import models as events

from local_aws import authorization

_SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
_SUBMIT_JOB = ":scheduler:::aws-sdk:batch:submitJob"

_endpoint = ""


class Schedule(CloudFormationModel):
    """AWS::Scheduler::Schedule, which moto lacks.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-scheduler-schedule.html
    """

    live: ClassVar[dict[tuple[str, str], Schedule]] = {}
    """By region and name."""

    def __init__(self, name: str, region: str, properties: dict[str, Any]) -> None:
        self.name = name
        self.region = region
        self.properties = properties

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::Scheduler::Schedule"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> Schedule:
        properties = cloudformation_json["Properties"]
        json.loads(properties["Target"]["Input"])  # the scheduler refuses what is no JSON
        cls.live[region_name, resource_name] = cls(resource_name, region_name, properties)
        return cls.live[region_name, resource_name]

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Schedule,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Schedule:
        return cls.create_from_cloudformation_json(original_resource.name, cloudformation_json, account_id, region_name)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        cls.live.pop((region_name, resource_name), None)

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return f"arn:aws:scheduler:{self.region}:{ACCOUNT}:schedule/default/{self.name}"

    def fire(self, time: datetime, **parameters: str) -> str:
        """Do what the schedule does at this time. Return the Batch job's id.

        Args:
            time: The scheduled time.
            parameters: Further parameters of the job, which a schedule of the stack does not have.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html

        Raises:
            NotImplementedError: its target is another one than SubmitJob.
            botocore.exceptions.ClientError: its role may not do so, or Batch refuses.
        """
        target = self.properties["Target"]
        if not target["Arn"].endswith(_SUBMIT_JOB):
            raise NotImplementedError(f"The local scheduler has no target {target['Arn']}.")
        call = json.loads(target["Input"].replace(_SCHEDULED_TIME, f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"))
        call["Parameters"] |= parameters
        # The API's names begin with small letters, a universal target's with capitals.
        return _submit(
            target["RoleArn"], self.region, {name[0].lower() + name[1:]: part for name, part in call.items()}
        )


def change_alarm(arn: str, previous: str, state: str, time: datetime) -> None:
    """Tell EventBridge that an alarm has changed its state, which moto's alarms never do.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
    """
    region = arn.split(":")[3]
    event = {
        "source": "aws.cloudwatch",
        "detail-type": "CloudWatch Alarm State Change",
        "resources": [arn],
        "account": ACCOUNT,
        "region": region,
        "time": time.timestamp(),
        "detail": {
            "alarmName": arn.rpartition(":")[2],
            "state": {"value": state},
            "previousState": {"value": previous},
        },
    }
    for rule in events.events_backends[ACCOUNT][region]._get_event_bus("default").rules.values():
        rule.send_to_targets(event)


def _send_to_targets(rule: Any, event: Any, *args: Any, **kwargs: Any) -> None:
    """Send an event to a rule's targets. A Batch queue gets a job with the parameters of the transformed event.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html
    """
    queues = [target for target in rule.targets if ":job-queue/" in target["Arn"]]
    if not queues:
        _moto_send_to_targets(rule, event, *args, **kwargs)
    elif rule.event_pattern.matches_event(event):
        time = iso_8601_datetime_without_milliseconds(utcfromtimestamp(event["time"]))
        for target in queues:
            _start(target, {**event, "time": time}, rule.region_name)


def _start(target: Mapping[str, Any], event: Mapping[str, Any], region: str) -> None:
    named = target["BatchParameters"]
    call = {"jobName": named["JobName"], "jobQueue": target["Arn"], "jobDefinition": named["JobDefinition"]}
    if "InputTransformer" in target:
        call["parameters"] = _transformed(event, target["InputTransformer"])["Parameters"]
    _submit(target["RoleArn"], region, call)


def _transformed(event: Mapping[str, Any], transformer: Mapping[str, Any]) -> Any:
    """The JSON that a template makes of an event. EventBridge puts strings into quotes itself, which moto does not.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
    """
    text = transformer["InputTemplate"]
    for name, path in transformer["InputPathsMap"].items():
        value: Any = event
        for part in path.removeprefix("$.").split("."):
            value = value[part]
        text = text.replace(f"<{name}>", json.dumps(value))
    return json.loads(text)


def _submit(role_arn: str, region: str, call: Mapping[str, Any]) -> str:
    """Submit a job as a role. Return the job's id."""
    credentials = authorization.credentials_of(role_arn, region)
    client = boto3.client(
        "batch",
        endpoint_url=_endpoint,
        region_name=region,
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=credentials["AWS_SESSION_TOKEN"],
    )
    return str(client.submit_job(**call)["jobId"])


_moto_send_to_targets = events.Rule.send_to_targets


def install(endpoint: str) -> None:
    """Add both. Call it when the local AWS has its address."""
    global _endpoint
    _endpoint = endpoint
    events.Rule.send_to_targets = _send_to_targets
