"""The alarms and the dashboard."""

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
from .stack_settings import Settings

DAG_ID = "transcription"

DAY = Duration.days(1)
HOUR = Duration.hours(1)
FIVE_MINUTES = Duration.minutes(5)


class Observability(Construct):
    """Alarms and a dashboard for the metrics of the DAG's tasks, Airflow and Batch."""

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
                "RunFailed",
                failed_runs,
                1,
                f"A run of the DAG {DAG_ID} failed. The log of its task `verify` lists the files.",
            ),
            self._alarm(
                "ChildrenFailed",
                failed_children,
                1,
                "Batch children failed, and Batch does not retry them. "
                f"Reasons: log group {self.failed_jobs.log_group_name}.",
            ),
            self._alarm(
                "ManyRejected",
                self._reject_share(),
                settings.alarm_reject_share,
                f"At least {settings.alarm_reject_share:.0%} of a day's files were rejected. "
                "The bucket has each file and its reason under failed/.",
            ),
            self._alarm(
                "AudioWaits",
                waiting,
                settings.alarm_waiting_hours,
                f"A file has waited in input/ for {settings.alarm_waiting_hours:g} hours or more.",
            ),
            self._alarm(
                "NoRun",
                self._metric(deployment.METRIC_RUNS, period=HOUR),
                1,
                f"No run of the DAG {DAG_ID} has started for {settings.alarm_no_run_hours} hours. "
                "The DAG is paused, a run takes longer than that, or Airflow does not work.",
                below=True,
                periods=settings.alarm_no_run_hours,
            ),
            self._alarm(
                "SchedulerSilent",
                heartbeat,
                1,
                "Airflow's scheduler sends no heartbeat, so nothing is transcribed.",
                below=True,
                periods=3,
            ),
        ]
        for alarm in alarms:  # AWS needs half an hour to create the environment; until then there is no heartbeat
            alarm.node.add_dependency(airflow.environment)
        self._dashboard(alarms=alarms, failed_children=failed_children, waiting=waiting, failed_runs=failed_runs)

    def _failed_children(self, *, transcription: TranscriptionBatch, key: kms.IKey) -> cloudwatch.Metric:
        """Log each failed job (child or parent) of the queue; return the metric that counts these jobs."""
        stack = Stack.of(self)
        self.failed_jobs = log_group(
            self,
            "FailedJobs",
            name=f"/aws/events/{self._settings.environment_name}/failed-jobs",  # EventBridge requires this prefix
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
        # The L2 target would add a Lambda function that sets this policy.
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
        """The log group's ARN without the final `:*`, as EventBridge requires."""
        return f"arn:{stack.partition}:logs:{stack.region}:{stack.account}:log-group:{self.failed_jobs.log_group_name}"

    def _metric(
        self, name: str, statistic: str = "Sum", *, period: Duration = DAY, label: str | None = None
    ) -> cloudwatch.Metric:
        """A metric that the tasks `sense_input`, `plan` and `verify` publish."""
        return cloudwatch.Metric(
            namespace=self._namespace, metric_name=name, statistic=statistic, period=period, label=label
        )

    def _airflow_metric(self, name: str, *, statistic: str, **dimensions: str) -> cloudwatch.Metric:
        """A metric that Airflow publishes, with Amazon MWAA's name and dimensions.

        https://docs.aws.amazon.com/mwaa/latest/userguide/access-metrics-cw.html lists them for Airflow 2 and 3.
        DAGDurationFailed has one sample for each failed run (`dagrun.duration.failed`), so its sample count is the
        number of failed runs.
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
            # No data means that nothing happened. That is well, unless something must happen.
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
            self,
            "Dashboard",
            # Dashboards of all regions of an account share their names.
            dashboard_name=f"{self._settings.environment_name}-{Stack.of(self).region}",
            default_interval=Duration.days(30),
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
