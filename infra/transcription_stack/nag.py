"""The accepted findings of cdk-nag and cfn-lint, each with its resource and reason.

Any other finding of cdk-nag fails the synthesis.
"""

from collections.abc import Mapping

from aws_cdk import Acknowledgment, CfnResource, Stack, Validations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from constructs import Construct, IConstruct

from transcription_contract import layout

from .airflow import Airflow
from .airflow_code import AirflowCode
from .batch import TranscriptionBatch
from .dag_tasks import DagTasks
from .orchestrator import Orchestrator
from .stack_settings import Settings
from .storage import Storage
from .uploads import Uploads


def acknowledge_stack(
    stack: Stack, *, settings: Settings, storage: Storage, transcription: TranscriptionBatch, uploads: Uploads | None
) -> None:
    """The findings of what every deployment has."""
    audio = _arn(stack, storage.audio)
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
    _allow(transcription.start_role, {"Resource::*": _REGISTRY})
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


def acknowledge_airflow(
    stack: Stack, *, settings: Settings, code: AirflowCode, code_bucket: s3.Bucket, tasks: DagTasks, airflow: Airflow
) -> None:
    """The findings of Amazon MWAA's environment and its code."""
    assert isinstance(tasks.audio_bucket, s3.Bucket)
    code_objects = _arn(stack, code_bucket)
    region = settings.region or "<AWS::Region>"
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
        _of_tasks(stack, settings, tasks, "Airflow/Role")
        | {
            f"Resource::{code_objects}/*": "Airflow/Role: reads every file of Airflow's code.",
            f"Resource::{_arn(stack, tasks.audio_bucket)}/{layout.CORRECTIONS}*": (
                "Airflow/Role: corrections of any recording, whose names the user chooses."
            ),
            "Resource::*": (
                "Airflow/Role: s3:GetAccountPublicAccessBlock, logs:DescribeLogGroups, batch:DescribeJobs, "
                "batch:ListJobs, batch:DescribeJobDefinitions and cloudwatch:PutMetricData (limited to two "
                "namespaces) have no resource."
            ),
            f"Resource::arn:<AWS::Partition>:logs:{region}:<AWS::AccountId>:log-group:"
            f"airflow-{settings.environment_name}-*": "Airflow/Role: the five log groups of this environment.",
            f"Resource::arn:<AWS::Partition>:sqs:{region}:*:airflow-celery-*": (
                "Airflow/Role: the queue belongs to an AWS account whose id Amazon does not publish."
            ),
        },
    )


def acknowledge_orchestrator(stack: Stack, *, settings: Settings, tasks: DagTasks, orchestrator: Orchestrator) -> None:
    """The findings of the container that runs the DAG, and of its schedule."""
    _allow(
        orchestrator.role,
        _of_tasks(stack, settings, tasks, "Orchestrator/Role")
        | {
            "Resource::*": (
                "Orchestrator/Role: batch:DescribeJobs, batch:ListJobs, batch:DescribeJobDefinitions and "
                "cloudwatch:PutMetricData (limited to one namespace) have no resource."
            )
        },
    )
    _allow(orchestrator.start_role, {"Resource::*": _REGISTRY})
    acknowledge_start(stack, settings=settings, role=orchestrator.schedule_role, orchestrator=orchestrator)
    Validations.of(orchestrator.not_started).acknowledge(
        Acknowledgment(id="AwsSolutions-SQS3", reason="Orchestrator/NotStarted: it is a dead-letter queue itself.")
    )


def acknowledge_start(stack: Stack, *, settings: Settings, role: iam.Role, orchestrator: Orchestrator) -> None:
    """The findings of a role that starts runs."""
    definition = f"{_batch_arn(settings)}:job-definition/{orchestrator.job_definition_name}:*"
    _allow(role, {f"Resource::{definition}": "Every revision of the orchestrator's job definition."})


_REGISTRY = "StartRole: ecr:GetAuthorizationToken, which AWS grants for the whole registry only."


def _batch_arn(settings: Settings) -> str:
    return f"arn:<AWS::Partition>:batch:{settings.region or '<AWS::Region>'}:<AWS::AccountId>"


def _of_tasks(stack: Stack, settings: Settings, tasks: DagTasks, role: str) -> dict[str, str]:
    """The findings of a role that has the permissions of the DAG's tasks."""
    assert isinstance(tasks.audio_bucket, s3.Bucket)
    audio, batch = _arn(stack, tasks.audio_bucket), _batch_arn(settings)
    return (
        {
            f"Resource::{audio}/{prefix}*": f"{role}: any object under {prefix}, whose names the user chooses."
            for prefix in (
                layout.INPUT,
                layout.PROCESSED,
                layout.OUTPUT,
                layout.FAILED,
                layout.RUNS,
                layout.TABLE,
                layout.MANIFESTS,
                layout.MODELS,
            )
        }
        | {f"Resource::{arn}/*": f"{role}: models anywhere in {arn}." for arn in settings.model_buckets}
        | {
            f"Resource::{batch}:job-definition/{tasks.transcription.job_definition_name}:*": (
                f"{role}: every revision of the worker's job definition."
            ),
            f"Resource::{batch}:job/*": f"{role}: AWS chooses a job's id at its submission.",
        }
    )


def _arn(stack: Stack, bucket: s3.Bucket) -> str:
    """A bucket's ARN in cdk-nag's notation."""
    element = bucket.node.default_child
    assert isinstance(element, s3.CfnBucket)
    return f"<{stack.get_logical_id(element)}.Arn>"


def _allow(construct: IConstruct | Construct, reasons: Mapping[str, str]) -> None:
    """Acknowledges the wildcards in the resources of a role's policy. `reasons` maps each finding to its reason."""
    for finding, reason in reasons.items():
        Validations.of(construct).acknowledge(Acknowledgment(id=f"AwsSolutions-IAM5[{finding}]", reason=reason))
