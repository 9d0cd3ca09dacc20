"""The Amazon MWAA environment and the permissions of Airflow's tasks."""

from typing import Any

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_mwaa as mwaa
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from transcription_contract import layout
from transcription_contract.deployment import CONFIG_SECTION

from .airflow_code import AirflowCode
from .dag_tasks import DagTasks
from .logs import log_group
from .network import Network
from .stack_settings import Settings

# Amazon MWAA writes to log groups named `airflow-<environment>-<kind>` for these kinds.
LOG_KINDS = ("DAGProcessing", "Scheduler", "Task", "WebServer", "Worker")


class Airflow(Construct):
    """Airflow 3 as a managed service. Its configuration names the pipeline's bucket, queue and worker."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        network: Network,
        code_bucket: s3.IBucket,
        code: AirflowCode,
        tasks: DagTasks,
        uploads: sqs.IQueue | None,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._stack = Stack.of(self)
        security_group = self._security_group(network)

        # Otherwise Amazon MWAA creates these log groups itself, and their logs never expire.
        groups = [
            log_group(
                self, f"{kind}Logs", name=f"airflow-{settings.environment_name}-{kind}", settings=settings, key=key
            )
            for kind in LOG_KINDS
        ]
        self.role = self._execution_role(code_bucket=code_bucket, tasks=tasks, uploads=uploads, key=key)
        self.environment = mwaa.CfnEnvironment(
            self,
            "Environment",
            name=settings.environment_name,
            airflow_version=settings.airflow_version,
            environment_class=settings.airflow_class,
            **self._size(),
            execution_role_arn=self.role.role_arn,
            kms_key=key.key_arn,
            source_bucket_arn=code_bucket.bucket_arn,
            dag_s3_path=code.keys.dags,
            plugins_s3_path=code.keys.plugins,
            # Without internet access Airflow cannot install from PyPI. Its image already has the needed packages.
            requirements_s3_path=code.keys.requirements if settings.egress != "endpoints" else None,
            network_configuration=mwaa.CfnEnvironment.NetworkConfigurationProperty(
                subnet_ids=[subnet.subnet_id for subnet in network.airflow_subnets],
                security_group_ids=[security_group.security_group_id],
            ),
            webserver_access_mode=settings.airflow_ui,
            weekly_maintenance_window_start=settings.maintenance_window,
            logging_configuration=_logging(),
            airflow_configuration_options={
                f"{CONFIG_SECTION}.{option}": value
                for option, value in {**tasks.options(), **self._options_of_uploads(uploads)}.items()
            },
        )
        # The environment needs these during its creation: it reads its code, calls AWS services, and its parts talk to
        # each other. A separate resource allows that.
        [among_itself] = (
            rule for rule in security_group.node.find_all() if isinstance(rule, ec2.CfnSecurityGroupIngress)
        )
        rights = self.role.node.find_child("DefaultPolicy")
        self.environment.node.add_dependency(code.plugins, code.dags, rights, network.ways_out, among_itself, *groups)

    def _options_of_uploads(self, queue: sqs.IQueue | None) -> dict[str, str]:
        if queue is None:
            return {}
        return {
            "upload_queue_url": queue.queue_url,
            "quiet_minutes": f"{self._settings.quiet_minutes:g}",
        }

    def _size(self) -> dict[str, Any]:
        """Numbers of schedulers, web servers and workers: mw1.micro has one of each, larger classes have more."""
        if self._settings.airflow_class == "mw1.micro":
            return {"schedulers": 1, "min_webservers": 1, "max_webservers": 1, "min_workers": 1, "max_workers": 1}
        return {
            "schedulers": 2,
            "min_webservers": 2,
            "max_webservers": 2,
            "min_workers": 1,
            "max_workers": self._settings.airflow_max_workers,
        }

    def _security_group(self, network: Network) -> ec2.SecurityGroup:
        """The group allows traffic from itself, as Amazon MWAA requires: Airflow's components talk to each other."""
        group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=network.vpc,
            description="Airflow: among its own parts, and out to AWS and PyPI",
            allow_all_outbound=True,
        )
        group.add_ingress_rule(group, ec2.Port.all_traffic(), "Airflow's parts among themselves")
        return group

    def _arn(self, service: str, resource: str, name: str, *, colon: bool = False) -> str:
        return self._stack.format_arn(
            service=service,
            resource=resource,
            resource_name=name,
            arn_format=ArnFormat.COLON_RESOURCE_NAME if colon else ArnFormat.SLASH_RESOURCE_NAME,
        )

    def _execution_role(
        self, *, code_bucket: s3.IBucket, tasks: DagTasks, uploads: sqs.IQueue | None, key: kms.IKey
    ) -> iam.Role:
        name = self._settings.environment_name
        # https://docs.aws.amazon.com/mwaa/latest/userguide/cross-service-confused-deputy-prevention.html
        for_this_environment = {
            "StringEquals": {"aws:SourceAccount": self._stack.account},
            "ArnLike": {"aws:SourceArn": self._arn("airflow", "environment", name)},
        }
        role = iam.Role(
            self,
            "Role",
            description="Airflow: plans, submits and verifies transcription runs",
            assumed_by=iam.CompositePrincipal(
                *(
                    iam.ServicePrincipal(f"{service}.amazonaws.com", conditions=for_this_environment)
                    for service in ("airflow", "airflow-env")
                )
            ),
        )

        def allow(sid: str, actions: list[str], resources: list[str], **condition: dict[str, object]) -> None:
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources, conditions=condition))

        # --- Permissions for Amazon MWAA itself: https://docs.aws.amazon.com/mwaa/latest/userguide/mwaa-create-role.html
        allow("PublishHealth", ["airflow:PublishMetrics"], [self._arn("airflow", "environment", name)])
        allow(
            "ReadCode",
            ["s3:GetObject", "s3:GetObjectVersion"],
            [code_bucket.arn_for_objects("*")],
        )
        allow(
            "InspectCodeBucket",
            [
                "s3:ListBucket",
                "s3:ListBucketVersions",
                "s3:GetBucketLocation",
                "s3:GetBucketVersioning",
                "s3:GetBucketPublicAccessBlock",
                "s3:GetEncryptionConfiguration",
            ],
            [code_bucket.bucket_arn],
        )
        # AWS offers this action only for the whole account, without a resource.
        allow("CheckPublicAccess", ["s3:GetAccountPublicAccessBlock"], ["*"])
        allow(
            "WriteLogs",
            [
                "logs:CreateLogStream",
                "logs:CreateLogGroup",
                "logs:PutLogEvents",
                "logs:GetLogEvents",
                "logs:GetLogRecord",
                "logs:GetLogGroupFields",
                "logs:GetQueryResults",
            ],
            [self._arn("logs", "log-group", f"airflow-{name}-*", colon=True)],
        )
        allow("FindLogGroups", ["logs:DescribeLogGroups"], ["*"])
        # The log of a deferred task is in the triggerer's stream, which the UI finds by its name.
        allow(
            "FindTriggererLogs",
            ["logs:DescribeLogStreams"],
            [self._arn("logs", "log-group", f"airflow-{name}-*", colon=True)],
        )
        # The queue belongs to an AWS account of Amazon MWAA, and Amazon does not publish its id. So allow any account.
        allow(
            "CeleryQueue",
            [
                "sqs:ChangeMessageVisibility",
                "sqs:DeleteMessage",
                "sqs:GetQueueAttributes",
                "sqs:GetQueueUrl",
                "sqs:ReceiveMessage",
                "sqs:SendMessage",
            ],
            [f"arn:{self._stack.partition}:sqs:{self._stack.region}:*:airflow-celery-*"],
        )
        allow(
            "Key",
            ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"],
            [key.key_arn],
            StringEquals={
                "kms:ViaService": [
                    f"{service}.{self._stack.region}.{self._stack.url_suffix}" for service in ("sqs", "s3", "sns")
                ]
            },
        )

        # --- Permissions for the DAG and its tasks
        if uploads is not None:
            allow("WatchUploads", ["sqs:ReceiveMessage", "sqs:DeleteMessage"], [uploads.queue_arn])
        # For the Transcripts page.
        corrections = tasks.audio_bucket.arn_for_objects(f"{layout.CORRECTIONS}*")
        allow("Correct", ["s3:GetObject", "s3:PutObject"], [corrections])
        tasks.allow(role, other_namespaces=["AmazonMWAA"])
        # --- Permissions for the Transcripts page in the UI, which signs uploads and puts rejected recordings back. The
        # tags belong to a recording and go where it goes.
        audio = tasks.audio_bucket
        waiting, failed = (audio.arn_for_objects(f"{prefix}*") for prefix in (layout.INPUT, layout.FAILED))
        allow("Upload", ["s3:PutObject", "s3:PutObjectTagging"], [waiting])
        allow("PutBack", ["s3:GetObjectTagging"], [failed])
        return role


def _logging() -> mwaa.CfnEnvironment.LoggingConfigurationProperty:
    """Log levels: WARNING, but INFO for tasks, because the task log is the user's report of a run."""
    module = mwaa.CfnEnvironment.ModuleLoggingConfigurationProperty
    warnings = module(enabled=True, log_level="WARNING")
    return mwaa.CfnEnvironment.LoggingConfigurationProperty(
        dag_processing_logs=warnings,
        scheduler_logs=warnings,
        webserver_logs=warnings,
        worker_logs=warnings,
        task_logs=module(enabled=True, log_level="INFO"),
    )
