"""The accepted findings of cdk-nag and cfn-lint, each with its resource and reason.

Any other finding of cdk-nag fails the synthesis.
"""

from collections.abc import Mapping

from aws_cdk import Acknowledgment, CfnResource, Stack, Validations
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct

from transcription_contract import layout

from .airflow import Airflow
from .airflow_code import AirflowCode
from .batch import TranscriptionBatch
from .stack_settings import Settings
from .storage import Storage
from .uploads import Uploads


def acknowledge(
    stack: Stack,
    *,
    settings: Settings,
    storage: Storage,
    code: AirflowCode,
    transcription: TranscriptionBatch,
    airflow: Airflow,
    uploads: Uploads | None,
) -> None:
    audio, code_objects = _arn(stack, storage.audio), _arn(stack, storage.airflow_code)
    region = settings.region or "<AWS::Region>"
    account = f"{region}:<AWS::AccountId>"
    name = settings.environment_name

    _allow(
        transcription.worker_role,
        {
            f"Resource::{audio}/{prefix}*": f"WorkerRole: any object under {prefix}, whose names the user chooses."
            for prefix in (
                layout.INPUT,
                layout.PROCESSED,
                layout.MANIFESTS,
                layout.MODELS,
                layout.OUTPUT,
                layout.FAILED,
            )
        }
        | {f"Resource::{arn}/*": f"WorkerRole: models anywhere in {arn}." for arn in settings.model_buckets},
    )
    _allow(
        transcription.start_role,
        {"Resource::*": "StartRole: ecr:GetAuthorizationToken, which AWS grants for the whole registry only."},
    )
    _allow(
        code,
        {
            f"Resource::{code_objects}/*": "AirflowCode/Role: writes every file of Airflow's code.",
            "Resource::arn:<AWS::Partition>:s3:::cdk-"
            f"{stack.synthesizer.bootstrap_qualifier}-assets-<AWS::AccountId>-<AWS::Region>/*": (
                "AirflowCode/Role: an asset's key is the hash of its content, another one at each deployment."
            ),
        },
    )
    _allow(
        airflow.role,
        {
            f"Resource::{audio}/{prefix}*": f"Airflow/Role: any object under {prefix}, whose names the user chooses."
            for prefix in (
                layout.INPUT,
                layout.PROCESSED,
                layout.OUTPUT,
                layout.FAILED,
                layout.RUNS,
                layout.MANIFESTS,
                layout.MODELS,
            )
        }
        | {f"Resource::{arn}/*": f"Airflow/Role: models anywhere in {arn}." for arn in settings.model_buckets}
        | {
            f"Resource::{code_objects}/*": "Airflow/Role: reads every file of Airflow's code.",
            "Resource::*": (
                "Airflow/Role: s3:GetAccountPublicAccessBlock, logs:DescribeLogGroups, batch:DescribeJobs, "
                "batch:ListJobs, batch:DescribeJobDefinitions and cloudwatch:PutMetricData (limited to two "
                "namespaces) have no resource."
            ),
            f"Resource::arn:<AWS::Partition>:logs:{account}:log-group:airflow-{name}-*": (
                "Airflow/Role: the five log groups of this environment."
            ),
            f"Resource::arn:<AWS::Partition>:sqs:{region}:*:airflow-celery-*": (
                "Airflow/Role: the queue belongs to an AWS account whose id Amazon does not publish."
            ),
            f"Resource::arn:<AWS::Partition>:batch:{account}:job-definition/{transcription.job_definition_name}:*": (
                "Airflow/Role: every revision of the worker's job definition."
            ),
            f"Resource::arn:<AWS::Partition>:batch:{account}:job/*": (
                "Airflow/Role: AWS chooses a job's id at its submission."
            ),
        },
    )
    if uploads:
        Validations.of(uploads.queue).acknowledge(
            Acknowledgment(
                id="AwsSolutions-SQS3",
                reason="Uploads/Queue: a message says only that something waits, which the next run finds anyhow.",
            )
        )
    for child in stack.node.children:
        if child.node.id.startswith("Custom::CDKBucketDeployment"):
            Validations.of(child).acknowledge(
                Acknowledgment(
                    id="AwsSolutions-L1",
                    reason=f"{child.node.id}: the CDK's own function, with the runtime that the CDK tests it with.",
                )
            )
        if child.node.id.startswith("Custom::"):
            # cfn-lint reports the CDK's dependency on the function's role, because the function already refers to it.
            for function in child.node.find_all():
                if isinstance(function, CfnResource) and function.cfn_resource_type == "AWS::Lambda::Function":
                    function.add_metadata("cfn-lint", {"config": {"ignore_checks": ["W3005"]}})


def _arn(stack: Stack, bucket: s3.Bucket) -> str:
    """A bucket's ARN in cdk-nag's notation."""
    element = bucket.node.default_child
    assert isinstance(element, s3.CfnBucket)
    return f"<{stack.get_logical_id(element)}.Arn>"


def _allow(construct: IConstruct | Construct, reasons: Mapping[str, str]) -> None:
    """Acknowledges the wildcards in the resources of a role's policy. `reasons` maps each finding to its reason."""
    for finding, reason in reasons.items():
        Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions-IAM5[{finding}]", reason=reason))
