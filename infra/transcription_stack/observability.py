"""The alarms and the dashboard."""

from collections.abc import Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_batch as batch
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
from .orchestrator import Orchestrator
from .stack_settings import Settings

DAG_ID = "transcription"

DAY = Duration.days(1)
HOUR = Duration.hours(1)
FIVE_MINUTES = Duration.minutes(5)


class Observability(Construct):
    """Alarms and a dashboard for the metrics of the DAG's tasks, of Batch, and of what runs the DAG."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        runner: Airflow | Orchestrator,
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
        waiting = self._metric(deployment.METRIC_OLDEST_WAITING, "Maximum")
        failed_runs, alarms = (
            self._mwaa_alarms(runner) if isinstance(runner, Airflow) else self._orchestrator_alarms(runner)
        )
        alarms += [
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
                "RunTooLong",
                self._metric(deployment.METRIC_RUN_HOURS, "Maximum", period=HOUR),
                settings.alarm_run_hours,
                f"The Batch job of a run has taken {settings.alarm_run_hours:g} hours or more. The log of its task "
                f"`wait` says how far it is. It is stopped after {settings.deadline_hours:g} hours.",
            ),
            self._alarm(
                "NoRun",
                self._metric(deployment.METRIC_RUNS, period=HOUR),
                1,
                f"No run of the DAG {DAG_ID} has started for {settings.alarm_no_run_hours} hours. {_why_none(runner)}",
                below=True,
                periods=settings.alarm_no_run_hours,
            ),
        ]
        if isinstance(runner, Airflow):
            for alarm in alarms:  # AWS needs half an hour to create the environment; until then there is no heartbeat
                alarm.node.add_dependency(runner.environment)
        if settings.has_dashboard:
            self._dashboard(alarms=alarms, failed_children=failed_children, waiting=waiting, failed_runs=failed_runs)

    def _mwaa_alarms(self, airflow: Airflow) -> tuple[cloudwatch.Metric, list[cloudwatch.Alarm]]:
        """The metric of failed runs, and the alarms that need Airflow's own metrics."""
        failed_runs = self._airflow_metric("DAGDurationFailed", statistic="SampleCount", DAG=DAG_ID)
        heartbeat = self._airflow_metric("SchedulerHeartbeat", statistic="Sum", Function="Scheduler")
        return failed_runs, [
            self._alarm(
                "RunFailed",
                failed_runs,
                1,
                f"A run of the DAG {DAG_ID} failed. The log of its task `verify` lists the files.",
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

    def _orchestrator_alarms(self, orchestrator: Orchestrator) -> tuple[cloudwatch.Metric, list[cloudwatch.Alarm]]:
        """The metric of failed runs, and the alarms on the container's jobs and on what did not start."""
        rule = self._failed_jobs_rule(
            "RunJobFailed", "Runs of the DAG that failed, or whose container could not run", orchestrator.queue
        )
        failed_runs = self._matches(rule)
        return failed_runs, [
            self._alarm(
                "RunFailed",
                failed_runs,
                1,
                f"A run of the DAG {DAG_ID} failed. The last lines of its log say why: log group "
                f"{orchestrator.log_group.log_group_name}.",
            ),
            self._alarm(
                "NotStarted",
                orchestrator.not_started.metric_approximate_number_of_messages_visible(
                    statistic="Maximum", period=FIVE_MINUTES
                ),
                1,
                "AWS Batch did not accept the start of a run. The messages of the queue "
                f"{orchestrator.not_started.queue_name} say why; delete them afterwards.",
            ),
        ]

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
        rule = self._failed_jobs_rule(
            "JobFailed", "Batch jobs of the transcription queue that failed", transcription.queue
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
        return self._matches(rule)

    def _failed_jobs_rule(self, construct_id: str, description: str, queue: batch.CfnJobQueue) -> events.CfnRule:
        """A rule that logs each failed job of a queue."""
        return events.CfnRule(
            self,
            construct_id,
            description=description,
            event_pattern={
                "source": ["aws.batch"],
                "detail-type": ["Batch Job State Change"],
                "detail": {"status": ["FAILED"], "jobQueue": [queue.attr_job_queue_arn]},
            },
            targets=[events.CfnRule.TargetProperty(id="Log", arn=self._log_arn(Stack.of(self)))],
        )

    def _matches(self, rule: events.CfnRule) -> cloudwatch.Metric:
        """How often a rule matched."""
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


def _why_none(runner: Airflow | Orchestrator) -> str:
    """Why no run may have started."""
    if isinstance(runner, Airflow):
        return "The DAG is paused, a run takes longer than that, or Airflow does not work."
    return (
        "The schedule is off, a run takes longer than that, or its container cannot start: see the job queue "
        f"{runner.queue.ref}."
    )
