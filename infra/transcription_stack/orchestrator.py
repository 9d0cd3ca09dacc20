"""Runs the DAG without Amazon MWAA: a schedule starts one small container of Batch, which ends with the run."""

from pathlib import Path

from aws_cdk import Duration, Stack
from aws_cdk import aws_batch as batch
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from transcription_contract import deployment

from .batch import SCRATCH, WORKER_USER, ecs_tasks
from .dag_tasks import DagTasks
from .logs import log_group
from .network import Network
from .schedule_expression import scheduler_expression
from .stack_settings import Settings

# The container exits with the run's result: 0 if it succeeded, 1 if it failed. Everything else interrupted it, and
# Batch starts it again: it then goes on with the run.
RESULTS = ("0", "1")
ATTEMPTS = 5

# The container's first process ends at once at SIGTERM.
STOP_TIMEOUT_SECONDS = 30

# vCPUs of all runs at the same time. A compute environment takes whole numbers only.
MAX_VCPUS = 2

# A run may take `deadline_hours` from its job's submission. What it does before and afterwards takes less than this.
BEYOND_DEADLINE_HOURS = 4

# How long the scheduler tries to start a run that Batch does not accept.
START_SECONDS = 6 * 3600


class Orchestrator(Construct):
    """The container that runs the DAG once, its own queue, and the schedule that starts it.

    The queue and the compute environment are apart from the children's. Otherwise a run could wait in the queue for
    children that wait for the run to end.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        network: Network,
        tasks: DagTasks,
        key: kms.IKey,
        image_directory: Path,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._stack = Stack.of(self)
        self.log_group = log_group(
            self, "Logs", name=f"/transcription/{settings.environment_name}/orchestrator", settings=settings, key=key
        )
        self.image = ecr_assets.DockerImageAsset(
            self,
            "Image",
            directory=str(image_directory),
            platform=ecr_assets.Platform.LINUX_AMD64,
            build_args={name: value for name, value in (settings.image_build_args or {}).items() if name == "PYTHON"},
            exclude=["**/__pycache__", "**/.*_cache"],
        )
        self.role = self._role(tasks, key)
        self.start_role = self._start_role()
        self.queue = self._queue(network)
        self.job_definition_name = f"{settings.environment_name}-run"
        self.job_definition = self._job_definition(network, tasks)
        # Starts that Batch did not accept.
        self.not_started = sqs.Queue(
            self,
            "NotStarted",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        self.schedule_role = self._schedule_role()
        self.schedule = self._schedule()

    def allow_start(self, role: iam.Role) -> None:
        """Allow a role to submit the container's job, and to note what Batch did not accept."""
        definition = self._definition_arn()
        role.add_to_policy(
            iam.PolicyStatement(
                sid="StartRuns",
                actions=["batch:SubmitJob"],
                resources=[self.queue.attr_job_queue_arn, definition, f"{definition}:*"],
            )
        )

    def _definition_arn(self) -> str:
        return self._stack.format_arn(
            service="batch", resource="job-definition", resource_name=self.job_definition_name
        )

    def _queue(self, network: Network) -> batch.CfnJobQueue:
        group = network.containers_group(self, "Runs", "The container that runs the DAG: HTTPS to AWS, nothing inbound")
        environment = batch.CfnComputeEnvironment(
            self,
            "Compute",
            type="MANAGED",
            state="ENABLED",
            replace_compute_environment=False,
            compute_resources=batch.CfnComputeEnvironment.ComputeResourcesProperty(
                type="FARGATE",
                maxv_cpus=max(MAX_VCPUS, round(self._settings.orchestrator_vcpus)),
                subnets=[subnet.subnet_id for subnet in network.container_subnets],
                security_group_ids=[group.security_group_id],
            ),
        )
        environment.node.add_dependency(network.ways_out)
        return batch.CfnJobQueue(
            self,
            "Queue",
            priority=1,
            state="ENABLED",
            compute_environment_order=[
                batch.CfnJobQueue.ComputeEnvironmentOrderProperty(
                    order=1, compute_environment=environment.attr_compute_environment_arn
                )
            ],
        )

    def _job_definition(self, network: Network, tasks: DagTasks) -> batch.CfnJobDefinition:
        settings = self._settings
        properties = batch.CfnJobDefinition
        section = deployment.CONFIG_SECTION.upper()
        variables = {f"AIRFLOW__{section}__{name.upper()}": value for name, value in tasks.options().items()}
        variables["AWS_DEFAULT_REGION"] = self._stack.region
        container = properties.TaskContainerPropertiesProperty(
            name=deployment.ORCHESTRATOR_CONTAINER,
            image=self.image.image_uri,
            command=[
                *deployment.ORCHESTRATOR_COMMAND,
                f"Ref::{deployment.RUN_TIME}",
                f"Ref::{deployment.RUN_CONF}",
            ],
            environment=[
                properties.EnvironmentProperty(name=name, value=value) for name, value in sorted(variables.items())
            ],
            essential=True,
            resource_requirements=[
                properties.ResourceRequirementProperty(type="VCPU", value=f"{settings.orchestrator_vcpus:g}"),
                properties.ResourceRequirementProperty(
                    type="MEMORY", value=str(round(settings.orchestrator_memory_gb * 1024))
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
                    "awslogs-region": self._stack.region,
                    "awslogs-stream-prefix": "run",
                },
            ),
        )
        task = properties.EcsTaskPropertiesProperty(
            containers=[container],
            task_role_arn=self.role.role_arn,
            execution_role_arn=self.start_role.role_arn,
            volumes=[properties.VolumesProperty(name="scratch")],
            network_configuration=properties.NetworkConfigurationProperty(assign_public_ip=network.assign_public_ip),
            platform_version="1.4.0",
            runtime_platform=properties.RuntimePlatformProperty(
                cpu_architecture="X86_64", operating_system_family="LINUX"
            ),
        )
        hours = settings.deadline_hours + BEYOND_DEADLINE_HOURS
        return batch.CfnJobDefinition(
            self,
            "Run",
            job_definition_name=self.job_definition_name,
            type="container",
            platform_capabilities=["FARGATE"],
            propagate_tags=True,
            parameters={deployment.RUN_TIME: deployment.TIME_OF_SUBMISSION, deployment.RUN_CONF: "{}"},
            ecs_properties=properties.EcsPropertiesProperty(task_properties=[task]),
            resource_retention_policy=properties.ResourceRetentionPolicyProperty(skip_deregister_on_update=True),
            timeout=properties.TimeoutProperty(attempt_duration_seconds=round(hours * 3600)),
            retry_strategy=properties.RetryStrategyProperty(
                attempts=ATTEMPTS,
                evaluate_on_exit=[
                    properties.EvaluateOnExitProperty(on_exit_code=code, action="EXIT") for code in RESULTS
                ],
            ),
        )

    def _schedule(self) -> scheduler.CfnSchedule:
        """The nightly start. It tells the container the scheduled time, of which the run's id is made."""
        call = {
            "JobName": deployment.RUN_JOB,
            "JobQueue": self.queue.attr_job_queue_arn,
            "JobDefinition": self.job_definition_name,
            "Parameters": {deployment.RUN_TIME: "<aws.scheduler.scheduled-time>"},
        }
        schedule = scheduler.CfnSchedule(
            self,
            "Schedule",
            description="Starts the nightly transcription run",
            schedule_expression=scheduler_expression(self._settings.schedule),
            schedule_expression_timezone="UTC",
            flexible_time_window=scheduler.CfnSchedule.FlexibleTimeWindowProperty(mode="OFF"),
            target=scheduler.CfnSchedule.TargetProperty(
                # Batch is no templated target. A universal target is any call of the SDK:
                # https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
                arn=f"arn:{self._stack.partition}:scheduler:::aws-sdk:batch:submitJob",
                role_arn=self.schedule_role.role_arn,
                input=self._stack.to_json_string(call),
                dead_letter_config=scheduler.CfnSchedule.DeadLetterConfigProperty(arn=self.not_started.queue_arn),
                retry_policy=scheduler.CfnSchedule.RetryPolicyProperty(
                    maximum_event_age_in_seconds=START_SECONDS, maximum_retry_attempts=30
                ),
            ),
        )
        schedule.node.add_dependency(self.job_definition, self.schedule_role.node.find_child("DefaultPolicy"))
        return schedule

    def _role(self, tasks: DagTasks, key: kms.IKey) -> iam.Role:
        role = iam.Role(
            self,
            "Role",
            description="The container that runs the DAG: plans, submits and verifies transcription runs",
            assumed_by=ecs_tasks(self),
        )
        tasks.allow(role)
        # The topic of the summaries is encrypted.
        role.add_to_policy(
            iam.PolicyStatement(
                sid="Key",
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=[key.key_arn],
                conditions={"StringEquals": {"kms:ViaService": f"sns.{self._stack.region}.{self._stack.url_suffix}"}},
            )
        )
        return role

    def _start_role(self) -> iam.Role:
        """Fargate's permissions to start the container: pull its image, write its log."""
        role = iam.Role(
            self,
            "StartRole",
            description="Fargate: pulls the orchestrator's image and writes its log",
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

    def _schedule_role(self) -> iam.Role:
        """The scheduler's permission to start runs.

        https://docs.aws.amazon.com/scheduler/latest/UserGuide/cross-service-confused-deputy-prevention.html
        """
        group = self._stack.format_arn(service="scheduler", resource="schedule-group", resource_name="default")
        role = iam.Role(
            self,
            "ScheduleRole",
            description="EventBridge Scheduler: starts the nightly run",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": self._stack.account, "aws:SourceArn": group}},
            ),
        )
        self.allow_start(role)
        role.add_to_policy(
            iam.PolicyStatement(
                sid="NoteWhatDidNotStart", actions=["sqs:SendMessage"], resources=[self.not_started.queue_arn]
            )
        )
        return role
