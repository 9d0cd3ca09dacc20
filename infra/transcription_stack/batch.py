"""AWS Batch on Fargate: compute environments, queue, job definition and roles of the children."""

import json
from collections.abc import Mapping
from pathlib import Path

from aws_cdk import Stack
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from transcription_contract import deployment, layout
from transcription_contract.model_files import BuiltInModel
from transcription_contract.results import ExitCode
from transcription_contract.speech_engines import SpeechEngine

from .image import content_of
from .logs import log_group
from .network import Network
from .stack_settings import Settings

# Batch retries what matches no condition: https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html
# Only the worker can know that a new attempt cannot help, and says so by its exit code. Everything else is retried:
# Spot interruptions, lack of memory, and Fargate's many reasons why a task did not start (network interface, storage,
# image pull). Finished recordings stay finished, so a new attempt continues with the rest.
EVALUATE_ON_EXIT = [{"on_exit_code": str(ExitCode.PERMANENT.value), "action": "EXIT"}]

# Batch's reasons why it cannot place the first job of the queue:
# https://docs.aws.amazon.com/batch/latest/userguide/job_stuck_in_runnable_time_limit_actions.html
STUCK_REASONS = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
)

# The worker's scratch folder, for the current recording. It is the only folder that the worker can write to.
SCRATCH = "/tmp"  # noqa: S108  (a private mount of the container)

# The user in worker_image/Dockerfile. It is a number, because Fargate cannot look up a user's name in the image.
WORKER_USER = "1000:1000"

# Seconds between SIGTERM and SIGKILL: Fargate's maximum, and the time that Fargate gives an interrupted Spot task.
STOP_TIMEOUT_SECONDS = 120


class TranscriptionBatch(Construct):
    """Compute environments, queue and job definition for the worker image."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        network: Network,
        audio_bucket: s3.IBucket,
        key: kms.IKey,
        image_directory: Path,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self.content = content_of(image_directory, settings.image_build_args or {})
        self.log_group = log_group(
            self, "Logs", name=f"/transcription/{settings.environment_name}/worker", settings=settings, key=key
        )
        self.image = ecr_assets.DockerImageAsset(
            self,
            "Image",
            directory=str(image_directory),
            platform=ecr_assets.Platform.LINUX_AMD64,  # DeepSpeech has wheels for x86_64 only
            build_args=dict(settings.image_build_args or {}),
            exclude=["**/__pycache__", "**/.*_cache"],
        )
        self.worker_role = self._worker_role(audio_bucket)
        self.start_role = self._start_role()
        self.queue = self._queue(self._compute_environments(network))
        # Airflow's configuration contains this fixed name without a revision, so Airflow uses the newest revision.
        # A new image or model then needs no update of the Airflow environment, which takes half an hour.
        self.job_definition_name = f"{settings.environment_name}-worker"
        self.job_definition = self._job_definition(audio_bucket, network)

    def _compute_environments(self, network: Network) -> list[batch.CfnComputeEnvironment]:
        """The Spot and the on-demand compute environment, in this order. Their vCPUs add up to max_vcpus."""
        group = network.containers_group(self, "Children", "Batch children: HTTPS to AWS, nothing inbound")
        environments = []
        for construct_id, kind, vcpus in (
            ("Spot", "FARGATE_SPOT", self._settings.spot_vcpus),
            ("OnDemand", "FARGATE", self._settings.on_demand_vcpus),
        ):
            if vcpus:
                environment = batch.CfnComputeEnvironment(
                    self,
                    construct_id,
                    type="MANAGED",
                    state="ENABLED",
                    replace_compute_environment=False,  # update in place; jobs keep running
                    compute_resources=batch.CfnComputeEnvironment.ComputeResourcesProperty(
                        type=kind,
                        maxv_cpus=vcpus,
                        subnets=[subnet.subnet_id for subnet in network.container_subnets],
                        security_group_ids=[group.security_group_id],
                    ),
                )
                environment.node.add_dependency(network.ways_out)  # children need it to pull their image
                environments.append(environment)
        return environments

    def _queue(self, environments: list[batch.CfnComputeEnvironment]) -> batch.CfnJobQueue:
        return batch.CfnJobQueue(
            self,
            "Queue",
            priority=1,
            state="ENABLED",
            compute_environment_order=[
                batch.CfnJobQueue.ComputeEnvironmentOrderProperty(
                    order=order, compute_environment=environment.attr_compute_environment_arn
                )
                for order, environment in enumerate(environments, start=1)
            ],
            job_state_time_limit_actions=[
                batch.CfnJobQueue.JobStateTimeLimitActionProperty(
                    action="CANCEL",
                    state="RUNNABLE",
                    reason=reason,
                    max_time_seconds=round(self._settings.stuck_in_queue_hours * 3600),
                )
                for reason in STUCK_REASONS
            ],
        )

    def _job_definition(self, audio_bucket: s3.IBucket, network: Network) -> batch.CfnJobDefinition:
        """The job definition has one container in `ecsProperties`, because `containerProperties` has no stop timeout.

        Fargate rejects `privileged`, and accepts only the init process among the Linux parameters. Neither form has an
        option that forbids new privileges:
        https://docs.aws.amazon.com/batch/latest/APIReference/API_TaskContainerProperties.html
        https://docs.aws.amazon.com/batch/latest/APIReference/API_LinuxParameters.html
        """
        settings = self._settings
        properties = batch.CfnJobDefinition
        variables = {
            deployment.BUCKET_VARIABLE: audio_bucket.bucket_name,
            deployment.MODEL_VARIABLE: settings.model,
            deployment.SCORER_VARIABLE: settings.scorer,
        }
        container = properties.TaskContainerPropertiesProperty(
            name=deployment.CONTAINER,
            image=self.image.image_uri,
            command=list(deployment.COMMAND),
            environment=[
                properties.EnvironmentProperty(name=name, value=value)
                for name, value in variables.items()
                if value is not None
            ],
            essential=True,
            resource_requirements=[
                properties.ResourceRequirementProperty(type="VCPU", value=f"{settings.vcpus_per_child:g}"),
                properties.ResourceRequirementProperty(
                    type="MEMORY", value=str(round(settings.memory_gb_per_child * 1024))
                ),
            ],
            user=WORKER_USER,
            readonly_root_filesystem=True,
            mount_points=[
                properties.MountPointProperty(source_volume="scratch", container_path=SCRATCH, read_only=False)
            ],
            linux_parameters=properties.LinuxParametersProperty(init_process_enabled=True),
            stop_timeout=STOP_TIMEOUT_SECONDS,
            log_configuration=properties.LogConfigurationProperty(
                log_driver="awslogs",
                options={
                    "awslogs-group": self.log_group.log_group_name,
                    "awslogs-region": Stack.of(self).region,
                    "awslogs-stream-prefix": "child",
                },
            ),
        )
        task = properties.EcsTaskPropertiesProperty(
            containers=[container],
            task_role_arn=self.worker_role.role_arn,
            execution_role_arn=self.start_role.role_arn,
            # Fargate mounts an empty volume from the task's storage. The volume belongs to root, unless the image
            # declares `VOLUME /tmp`: then the volume gets the mode of the image's /tmp.
            volumes=[properties.VolumesProperty(name="scratch")],
            ephemeral_storage=properties.EphemeralStorageProperty(size_in_gib=settings.scratch_gib),
            network_configuration=properties.NetworkConfigurationProperty(assign_public_ip=network.assign_public_ip),
            platform_version="1.4.0",
            runtime_platform=properties.RuntimePlatformProperty(
                cpu_architecture="X86_64", operating_system_family="LINUX"
            ),
        )
        return batch.CfnJobDefinition(
            self,
            "Worker",
            job_definition_name=self.job_definition_name,
            type="container",
            platform_capabilities=["FARGATE"],
            propagate_tags=True,
            # The command uses no parameter. The task `plan` reads them to know the image's models and engines.
            parameters={
                deployment.IMAGE_MODEL: self.content.model,
                deployment.BUILT_IN_MODELS: _json(self.content.models),
                deployment.ENGINES: _json(self.content.engines),
            },
            ecs_properties=properties.EcsPropertiesProperty(task_properties=[task]),
            # Children that wait in the queue during a deployment keep the revision of their submission.
            resource_retention_policy=properties.ResourceRetentionPolicyProperty(skip_deregister_on_update=True),
            timeout=properties.TimeoutProperty(attempt_duration_seconds=round(settings.attempt_timeout_hours * 3600)),
            retry_strategy=properties.RetryStrategyProperty(
                attempts=settings.attempts,
                evaluate_on_exit=[properties.EvaluateOnExitProperty(**condition) for condition in EVALUATE_ON_EXIT],
            ),
        )

    def _worker_role(self, audio_bucket: s3.IBucket) -> iam.Role:
        """The worker's permissions: read and write objects under the bucket's prefixes, nothing else."""
        role = iam.Role(
            self,
            "WorkerRole",
            description="Transcription worker: reads audio, writes transcripts, moves finished recordings",
            assumed_by=ecs_tasks(self),
        )

        def allow(sid: str, actions: list[str], *prefixes: str) -> None:
            resources = [audio_bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes]
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources))

        role.add_to_policy(
            iam.PolicyStatement(
                sid="MissingKeysAre404",
                # Without this permission S3 answers 403 for a missing key, not 404. With a condition on the prefix S3
                # also answers 403, because a request for an object has no prefix to compare.
                actions=["s3:ListBucket"],
                resources=[audio_bucket.bucket_arn],
            )
        )
        allow(
            "ReadAudioManifestsModels",
            ["s3:GetObject", "s3:GetObjectVersion"],
            layout.INPUT, layout.PROCESSED, layout.MANIFESTS, layout.MODELS,
        )  # fmt: skip
        allow("SeeExistingResults", ["s3:GetObject"], layout.OUTPUT, layout.FAILED)
        allow(
            "WriteResults",
            ["s3:PutObject", "s3:AbortMultipartUpload"],
            layout.OUTPUT,
            layout.PROCESSED,
            layout.FAILED,
        )
        # A copy includes the source's tags. Without these two permissions S3 refuses to copy a tagged object. Only
        # audio is copied.
        allow("ReadTagsOfAudio", ["s3:GetObjectTagging"], layout.INPUT, layout.PROCESSED)
        allow("KeepTagsOfAudio", ["s3:PutObjectTagging"], layout.PROCESSED, layout.FAILED)
        # The bucket keeps versions, which the worker cannot delete: what it removes can be restored.
        allow("RemoveMovedAudioAndStaleResults", ["s3:DeleteObject"], layout.INPUT, layout.OUTPUT, layout.FAILED)
        if self._settings.model_buckets:
            role.add_to_policy(
                iam.PolicyStatement(
                    sid="ReadModelsElsewhere",
                    actions=["s3:GetObject", "s3:GetObjectVersion"],
                    resources=[f"{arn}/*" for arn in self._settings.model_buckets],
                )
            )
        return role

    def _start_role(self) -> iam.Role:
        """Fargate's permissions to start a child: pull its image, write its log."""
        role = iam.Role(
            self,
            "StartRole",
            description="Fargate: pulls the worker's image and writes its log",
            assumed_by=ecs_tasks(self),
        )
        self.image.repository.grant_pull(role)
        role.add_to_policy(
            iam.PolicyStatement(
                sid="WriteLog",
                actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                resources=[self.log_group.log_group_arn],
            )
        )
        return role


def _json(named: Mapping[str, BuiltInModel] | Mapping[str, SpeechEngine]) -> str:
    return json.dumps({name: item.to_json() for name, item in named.items()}, separators=(",", ":"))


def ecs_tasks(scope: Construct) -> iam.ServicePrincipal:
    """The principal of this account's Fargate tasks, so that another account's task cannot get the role."""
    return iam.ServicePrincipal(
        "ecs-tasks.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Stack.of(scope).account}}
    )
