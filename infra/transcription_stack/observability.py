"""Alarms that ask a person to look, and a dashboard that shows where."""

from collections.abc import Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from constructs import Construct

from transcription_contract import deployment

from .airflow import Airflow
from .batch import TranscriptionBatch
from .logs import log_group
from .settings import Settings

DAG_ID = "transcription"

DAY = Duration.days(1)
FIVE_MINUTES = Duration.minutes(5)


class Observability(Construct):
    """What the DAG's tasks publish, what Airflow and Batch publish, and when that is bad news."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        airflow: Airflow,
        transcription: TranscriptionBatch,
        notifications: sns.ITopic,
        metrics_namespace: str,
        key: kms.IKey,
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._namespace = metrics_namespace
        self._notify = actions.SnsAction(notifications)

        failed_children = self._failed_children(transcription=transcription, key=key)
        failed_runs = self._airflow_metric("DAGDurationFailed", statistic="SampleCount", DAG=DAG_ID)
        heartbeat = self._airflow_metric("SchedulerHeartbeat", statistic="Sum", Function="Scheduler")
        waiting = self._metric(deployment.METRIC_OLDEST_WAITING, "Maximum")

        alarms = [
            self._alarm(
                "RunFailed", failed_runs, 1, f"A run of the DAG {DAG_ID} failed. Its task `verify` says which files."
            ),
            self._alarm(
                "ChildrenFailed",
                failed_children,
                1,
                f"Batch children failed for good. Reasons: log group {self.failed_jobs.log_group_name}.",
            ),
            self._alarm(
                "ManyRejected",
                self._reject_share(),
                settings.alarm_reject_share,
                f"At least {settings.alarm_reject_share:.0%} of a day's files were rejected. "
                "failed/ in the bucket has each with its reason.",
            ),
            self._alarm(
                "AudioWaits",
                waiting,
                settings.alarm_waiting_hours,
                f"A file has waited in input/ for {settings.alarm_waiting_hours:g} hours or more.",
            ),
            self._alarm(
                "SchedulerSilent",
                heartbeat,
                1,
                "Airflow's scheduler gives no sign of life, so nothing is transcribed.",
                below=True,
                periods=3,
            ),
        ]
        for alarm in alarms:  # an environment takes half an hour to make; before that all is silent
            alarm.node.add_dependency(airflow.environment)
        self._dashboard(alarms=alarms, failed_children=failed_children, waiting=waiting, failed_runs=failed_runs)

    def _failed_children(self, *, transcription: TranscriptionBatch, key: kms.IKey) -> cloudwatch.Metric:
        """Children (and parents) of our queue that Batch gave up on: each in a log, their number as a metric."""
        stack = Stack.of(self)
        self.failed_jobs = log_group(
            self,
            "FailedJobs",
            name=f"/aws/events/{self._settings.environment_name}/failed-jobs",  # EventBridge wants this prefix
            settings=self._settings,
            key=key,
        )
        rule = events.CfnRule(
            self,
            "JobFailed",
            description="Batch jobs of the transcription queue that failed",
            event_pattern={
                "source": ["aws.batch"],
                "detail-type": ["Batch Job State Change"],
                "detail": {"status": ["FAILED"], "jobQueue": [transcription.queue.attr_job_queue_arn]},
            },
            targets=[events.CfnRule.TargetProperty(id="Log", arn=self._log_arn(stack))],
        )
        # The L2 target would bring a Lambda function to set this policy.
        logs.CfnResourcePolicy(
            self,
            "FailedJobsMayBeLogged",
            policy_name=f"{self._settings.environment_name}-failed-jobs",
            policy_document=stack.to_json_string(
                iam.PolicyDocument(
                    statements=[
                        iam.PolicyStatement(
                            principals=[iam.ServicePrincipal("events.amazonaws.com")],
                            actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                            resources=[self.failed_jobs.log_group_arn],
                        )
                    ]
                ).to_json()
            ),
        )
        return cloudwatch.Metric(
            namespace="AWS/Events",
            metric_name="TriggeredRules",
            dimensions_map={"RuleName": rule.ref},
            statistic="Sum",
            period=FIVE_MINUTES,
        )

    def _log_arn(self, stack: Stack) -> str:
        """The log group's ARN as EventBridge wants it, without the `:*` at its end."""
        return f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:log-group:{self.failed_jobs.log_group_name}"

    def _metric(self, name: str, statistic: str = "Sum", *, label: str | None = None) -> cloudwatch.Metric:
        """A metric that the tasks `sense_input` and `verify` publish, by the day."""
        return cloudwatch.Metric(
            namespace=self._namespace, metric_name=name, statistic=statistic, period=DAY, label=label
        )

    def _airflow_metric(self, name: str, *, statistic: str, **dimensions: str) -> cloudwatch.Metric:
        """A metric of Airflow's own, under the name and the dimensions that Amazon MWAA gives it.

        https://docs.aws.amazon.com/mwaa/latest/userguide/access-metrics-cw.html lists them for Airflow 2 and 3.
        DAGDurationFailed is a timer of each failed run (`dagrun.duration.failed`), so its samples are the failed runs.
        """
        return cloudwatch.Metric(
            namespace="AmazonMWAA",
            metric_name=name,
            dimensions_map={"Environment": self._settings.environment_name, **dimensions},
            statistic=statistic,
            period=FIVE_MINUTES,
        )

    def _reject_share(self) -> cloudwatch.MathExpression:
        return cloudwatch.MathExpression(
            expression="IF(rejected + transcribed > 0, rejected / (rejected + transcribed), 0)",
            using_metrics={
                "rejected": self._metric(deployment.METRIC_FILES_REJECTED),
                "transcribed": self._metric(deployment.METRIC_FILES_TRANSCRIBED),
            },
            period=DAY,
            label="Share of files rejected",
        )

    def _alarm(
        self,
        construct_id: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        description: str,
        *,
        below: bool = False,
        periods: int = 1,
    ) -> cloudwatch.Alarm:
        compare = cloudwatch.ComparisonOperator
        treat = cloudwatch.TreatMissingData
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            alarm_name=f"{self._settings.environment_name}-{construct_id}",
            alarm_description=description,
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=compare.LESS_THAN_THRESHOLD if below else compare.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            # No data means that nothing happened, except where a sign of life is what we wait for.
            treat_missing_data=treat.BREACHING if below else treat.NOT_BREACHING,
        )
        alarm.add_alarm_action(self._notify)
        return alarm

    def _dashboard(
        self,
        *,
        alarms: Sequence[cloudwatch.IAlarm],
        failed_children: cloudwatch.IMetric,
        waiting: cloudwatch.IMetric,
        failed_runs: cloudwatch.IMetric,
    ) -> None:
        def graph(title: str, *metrics: cloudwatch.IMetric, stacked: bool = False) -> cloudwatch.GraphWidget:
            return cloudwatch.GraphWidget(
                title=title,
                left=list(metrics),
                width=8,
                height=6,
                stacked=stacked,
                left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
            )

        dashboard = cloudwatch.Dashboard(
            self, "Dashboard", dashboard_name=self._settings.environment_name, default_interval=Duration.days(30)
        )
        dashboard.add_widgets(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=24, height=3))
        dashboard.add_widgets(
            graph(
                "Files a day",
                self._metric(deployment.METRIC_FILES_TRANSCRIBED, label="Transcribed"),
                self._metric(deployment.METRIC_FILES_REJECTED, label="Rejected"),
                self._metric(deployment.METRIC_FILES_MISSING, label="Missing"),
                stacked=True,
            ),
            graph("Audio hours a day", self._metric(deployment.METRIC_AUDIO_HOURS, label="Hours of audio")),
            graph("Cost estimate a day, USD (children only)", self._metric(deployment.METRIC_COST, label="USD")),
        )
        dashboard.add_widgets(
            graph("Oldest file waiting, hours", waiting),
            graph("Failed children and runs", failed_children, failed_runs),
            graph("Share of files rejected", self._reject_share()),
        )
        dashboard.add_widgets(
            cloudwatch.LogQueryWidget(
                title="Children that failed",
                log_group_names=[self.failed_jobs.log_group_name],
                query_lines=[
                    "fields @timestamp, detail.jobName, detail.statusReason, "
                    "detail.ecsProperties.taskProperties.0.containers.0.exitCode",
                    "sort @timestamp desc",
                    "limit 20",
                ],
                width=24,
                height=6,
            )
        )
