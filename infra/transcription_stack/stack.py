"""The stack: creates all constructs and connects them."""

from pathlib import Path
from tempfile import TemporaryDirectory

from aws_cdk import App, CfnOutput, Environment, Stack, Tags, Validations
from aws_cdk import aws_kms as kms
from cdk_nag import AwsSolutionsChecks
from constructs import Construct

from . import build_context, nag
from .airflow import Airflow
from .airflow_code import AirflowCode
from .batch import TranscriptionBatch
from .dag_tasks import DagTasks
from .encryption import EncryptionKey
from .network import Network
from .notifications import Notifications
from .observability import Observability
from .orchestrator import Orchestrator
from .sql import Sql
from .stack_settings import Settings
from .storage import Storage
from .uploads import StartAfterUploads, Uploads

# The CDK feature flags that this stack needs. They are in the code, so that `cdk` and `python app.py` use the same.
FEATURE_FLAGS = {
    "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy": True,
}


class TranscriptionStack(Stack):
    """Audio in, transcripts out: bucket, network, Batch, what runs the DAG, alarms."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, project: Path, staging: Path
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            stack_name=settings.stack_name,
            description="Transcribes audio in a bucket with DeepSpeech on AWS Batch, scheduled by Apache Airflow",
            env=Environment(region=settings.region),
            analytics_reporting=False,
        )
        metrics_namespace = settings.stack_name
        key = EncryptionKey(self, "Encryption").key
        storage = Storage(self, "Storage", settings=settings)
        sql = Sql(self, "Sql", settings=settings, audio_bucket=storage.audio)
        network = Network(self, "Network", settings=settings, key=key)
        notifications = Notifications(self, "Notifications", settings=settings, key=key)
        transcription = TranscriptionBatch(
            self,
            "Batch",
            settings=settings,
            network=network,
            audio_bucket=storage.audio,
            key=key,
            image_directory=build_context.stage(staging / "worker-image", project),
        )
        tasks = DagTasks(
            settings=settings,
            audio_bucket=storage.audio,
            transcription=transcription,
            notifications=notifications.topic,
            metrics_namespace=metrics_namespace,
        )
        uploads = Uploads(self, "Uploads", audio_bucket=storage.audio) if settings.start_on_upload else None
        runner: Airflow | Orchestrator
        if settings.runs_on_demand:
            runner = self._orchestrator(settings, network, tasks, uploads, key, project, staging)
        else:
            runner = self._airflow(settings, network, storage, tasks, uploads, key, project, staging)
        Observability(
            self,
            "Observability",
            settings=settings,
            runner=runner,
            transcription=transcription,
            notifications=notifications.topic,
            metrics_namespace=metrics_namespace,
            key=key,
        )
        nag.acknowledge_stack(self, settings=settings, storage=storage, transcription=transcription, uploads=uploads)
        Tags.of(self).add("project", "transcription")
        # The scanning is a setting of the whole registry, which infra/preflight.py changes.
        self.template_options.metadata = {"ImageScanning": settings.image_scanning}

        self._outputs(
            ("BucketName", storage.audio.bucket_name, "Put audio under input/; transcripts appear under output/"),
            ("AccessLogsBucketName", storage.access_logs.bucket_name, "Who read and wrote the other buckets"),
            ("JobQueueArn", transcription.queue.attr_job_queue_arn, "Batch queue of the children"),
            ("JobDefinitionArn", transcription.job_definition.attr_job_definition_arn, "The worker's newest revision"),
            ("JobDefinitionName", transcription.job_definition_name, "The worker, without a revision"),
            ("WorkerLogGroupName", transcription.log_group.log_group_name, "Logs of the children"),
            ("SqlWorkGroup", sql.workgroup.name, "Amazon Athena's workgroup with the saved queries"),
            ("NotificationTopicArn", notifications.topic.topic_arn, "Subscribe for summaries and alarms"),
        )

    def _airflow(
        self,
        settings: Settings,
        network: Network,
        storage: Storage,
        tasks: DagTasks,
        uploads: Uploads | None,
        key: kms.IKey,
        project: Path,
        staging: Path,
    ) -> Airflow:
        """Amazon MWAA, and the bucket and files that it reads its code from."""
        bucket = storage.airflow_code_bucket()
        code = AirflowCode(
            self,
            "AirflowCode",
            settings=settings,
            bucket=bucket,
            key=key,
            dags=project / "dags",
            plugins=project / "plugins",
            requirements=project / "requirements.txt",
            staging=staging / "airflow-code",
        )
        airflow = Airflow(
            self,
            "Airflow",
            settings=settings,
            network=network,
            code_bucket=bucket,
            code=code,
            tasks=tasks,
            uploads=uploads.queue if uploads else None,
            key=key,
        )
        nag.acknowledge_airflow(self, settings=settings, code=code, code_bucket=bucket, tasks=tasks, airflow=airflow)
        self._outputs(
            ("AirflowUrl", f"https://{airflow.environment.attr_webserver_url}", "Airflow's UI"),
            ("AirflowEnvironmentName", settings.environment_name, "For `aws mwaa`"),
            ("AirflowCodeBucketName", bucket.bucket_name, "DAGs, plugins, requirements"),
        )
        return airflow

    def _orchestrator(
        self,
        settings: Settings,
        network: Network,
        tasks: DagTasks,
        uploads: Uploads | None,
        key: kms.IKey,
        project: Path,
        staging: Path,
    ) -> Orchestrator:
        """The container that runs the DAG, and what starts it."""
        orchestrator = Orchestrator(
            self,
            "Orchestrator",
            settings=settings,
            network=network,
            tasks=tasks,
            key=key,
            image_directory=build_context.stage_orchestrator(staging / "orchestrator-image", project),
        )
        if uploads:
            start = StartAfterUploads(
                self, "StartAfterUploads", settings=settings, uploads=uploads, orchestrator=orchestrator
            )
            nag.acknowledge_start(self, settings=settings, role=start.role, orchestrator=orchestrator)
        nag.acknowledge_orchestrator(self, settings=settings, tasks=tasks, orchestrator=orchestrator)
        self._outputs(
            ("RunQueueArn", orchestrator.queue.attr_job_queue_arn, "Batch queue of the container that runs the DAG"),
            ("RunDefinitionName", orchestrator.job_definition_name, "The container that runs the DAG"),
            ("RunLogGroupName", orchestrator.log_group.log_group_name, "Logs of the runs"),
            ("ScheduleName", orchestrator.schedule.ref, "The nightly start, in EventBridge Scheduler"),
        )
        return orchestrator

    def _outputs(self, *outputs: tuple[str, str, str]) -> None:
        for name, value, description in outputs:
            CfnOutput(self, name, value=value, description=description)


def synthesise(*, settings: Settings, project: Path, outdir: Path) -> None:
    """Writes the template and its assets to the output folder `outdir`. Fails on a finding of cdk-nag."""
    app = App(outdir=str(outdir), context=FEATURE_FLAGS)
    with TemporaryDirectory() as staging:  # the CDK copies an asset when it creates the construct
        TranscriptionStack(app, "Transcription", settings=settings, project=project, staging=Path(staging))
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    app.synth()
