"""What the DAG's tasks need, whoever runs them: options of Airflow's configuration, and permissions."""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from transcription_contract import layout

from .batch import TranscriptionBatch
from .stack_settings import Settings


@dataclass(frozen=True, kw_only=True)
class DagTasks:
    """The DAG's tasks in this deployment."""

    settings: Settings
    audio_bucket: s3.IBucket
    transcription: TranscriptionBatch
    notifications: sns.ITopic
    metrics_namespace: str

    @property
    def event_source(self) -> str:
        """Source of the deployment's events. AWS keeps sources that start with `aws` for itself."""
        return f"transcription.{self.settings.environment_name}"

    def options(self) -> dict[str, str]:
        """Options of the section `deployment.CONFIG_SECTION` of Airflow's configuration."""
        settings = self.settings
        return {
            "bucket": self.audio_bucket.bucket_name,
            "job_queue": self.transcription.queue.attr_job_queue_arn,
            "job_definition": self.transcription.job_definition_name,
            "vcpus_per_child": f"{settings.vcpus_per_child:g}",
            "memory_gb_per_child": f"{settings.memory_gb_per_child:g}",
            "max_instances_default": str(settings.max_instances),
            "max_usd": str(settings.max_usd),
            "built_in_models": " ".join(self.transcription.content.models),
            "engines": " ".join(self.transcription.content.engines),
            "usd_per_vcpu_hour": str(settings.usd_per_vcpu_hour),
            "usd_per_gb_hour": str(settings.usd_per_gb_hour),
            "notification_topic_arn": self.notifications.topic_arn,
            "metrics_namespace": self.metrics_namespace,
            "schedule": settings.schedule,
            "deadline_hours": f"{settings.deadline_hours:g}",
            "event_source": self.event_source,
        }

    def allow(self, role: iam.Role, *, other_namespaces: Sequence[str] = ()) -> None:
        """Give a role the permissions of the tasks.

        Args:
            role: The role that the tasks run with.
            other_namespaces: Metric namespaces beside the pipeline's that the role may publish to.
        """
        stack = Stack.of(role)

        def arn(service: str, resource: str, name: str) -> str:
            return stack.format_arn(
                service=service,
                resource=resource,
                resource_name=name,
                arn_format=ArnFormat.SLASH_RESOURCE_NAME,
            )

        def allow(sid: str, actions: list[str], resources: list[str], **condition: dict[str, object]) -> None:
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=condition))

        audio = self.audio_bucket
        allow("ListAudio", ["s3:ListBucket"], [audio.bucket_arn])
        allow(
            "SeeWhatBecameOfAudio",
            ["s3:GetObject", "s3:GetObjectVersion"],
            [
                audio.arn_for_objects(f"{prefix}*")
                for prefix in (
                    layout.INPUT,
                    layout.PROCESSED,
                    layout.OUTPUT,
                    layout.FAILED,
                    layout.RUNS,
                    layout.MANIFESTS,
                )
            ],
        )
        # `plan` checks a run's models before any child starts. It reads only their current versions.
        allow(
            "CheckModels",
            ["s3:GetObject"],
            [audio.arn_for_objects("models/*"), *(f"{arn}/*" for arn in self.settings.model_buckets)],
        )
        allow(
            "WriteManifestsAndReports",
            ["s3:PutObject"],
            [audio.arn_for_objects(f"{prefix}*") for prefix in (layout.MANIFESTS, layout.RUNS, layout.TABLE)],
        )
        allow("RemoveManifests", ["s3:DeleteObject"], [audio.arn_for_objects(f"{layout.MANIFESTS}*")])
        definition = arn("batch", "job-definition", self.transcription.job_definition_name)
        allow(
            "SubmitToOurQueueOnly",
            ["batch:SubmitJob"],
            [self.transcription.queue.attr_job_queue_arn, definition, f"{definition}:*"],
        )
        # AWS offers these three actions only for the whole account.
        allow("FollowJobs", ["batch:DescribeJobs", "batch:ListJobs", "batch:DescribeJobDefinitions"], ["*"])
        # AWS chooses a job's id at its submission, so the role may stop any job of this account and region. A condition
        # on tags would not help: to tag a job at its submission, the role needs batch:TagResource on job/*. With this
        # permission it could tag any job and then stop it. https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsbatch.html
        allow("StopJobs", ["batch:TerminateJob"], [arn("batch", "job", "*")])
        allow("ReadWorkerLogs", ["logs:GetLogEvents"], [self.transcription.log_group.log_group_arn])
        allow("Notify", ["sns:Publish"], [self.notifications.topic_arn])
        allow(
            "TellTheEndOfARun",
            ["events:PutEvents"],
            [arn("events", "event-bus", "default")],
            StringEquals={"events:source": self.event_source},
        )
        # Metrics have no resources. The condition allows these namespaces only.
        namespaces = [self.metrics_namespace, *other_namespaces]
        allow(
            "PublishMetrics",
            ["cloudwatch:PutMetricData"],
            ["*"],
            StringEquals={"cloudwatch:namespace": namespaces if other_namespaces else self.metrics_namespace},
        )
