"""What starts a run after uploads, if the setting `start_on_upload` is on."""

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from transcription_contract import deployment, layout

from .orchestrator import Orchestrator
from .stack_settings import Settings

# If uploads never rest, a run starts so many quiet times after the first one, as in `upload_watch.py`.
MOST_QUIET_TIMES = 6


class Uploads(Construct):
    """Each new object of `input/` becomes a message of a queue, by the bucket's events on EventBridge's default bus."""

    def __init__(self, scope: Construct, construct_id: str, *, audio_bucket: s3.IBucket) -> None:
        super().__init__(scope, construct_id)
        # A message is only a sign that something waits: it names an object of the bucket and nothing else. So the
        # queue has SQS's own encryption and no dead-letter queue; a message that is lost waits for the next night.
        self.queue = sqs.Queue(
            self,
            "Queue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(1),
        )
        self.rule = events.Rule(
            self,
            "Rule",
            description="Each new object of input/",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [audio_bucket.bucket_name]},
                    "object": {"key": [{"prefix": layout.INPUT}]},
                },
            ),
        )
        self.rule.add_target(targets.SqsQueue(self.queue))


class StartAfterUploads(Construct):
    """Starts the orchestrator's container when uploads have come to rest. Nothing runs or polls until then.

    CloudWatch counts the uploads, because EventBridge publishes how often the rule matches. One alarm is on as long as
    there was an upload within the quiet time: its end is the rest. Another one turns on if each of six quiet times had
    an upload. The ends and starts of alarms are events, which start the container. The alarms notify nobody.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, uploads: Uploads, orchestrator: Orchestrator
    ) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings
        self._rule = uploads.rule
        self._orchestrator = orchestrator
        self.role = self._role()
        minutes = round(settings.quiet_minutes)
        active = self._alarm("UploadsActive", "An upload within the quiet time", Duration.minutes(1), minutes, needed=1)
        endless = self._alarm(
            "UploadsEndless",
            "Uploads that do not rest",
            Duration.minutes(minutes),
            MOST_QUIET_TIMES,
            needed=MOST_QUIET_TIMES,
        )
        self._start_when("Rest", active, {"state": {"value": ["OK"]}, "previousState": {"value": ["ALARM"]}})
        self._start_when("NoRest", endless, {"state": {"value": ["ALARM"]}})

    def _alarm(
        self, construct_id: str, description: str, period: Duration, periods: int, *, needed: int
    ) -> cloudwatch.Alarm:
        matches = cloudwatch.Metric(
            namespace="AWS/Events",
            metric_name="TriggeredRules",
            dimensions_map={"RuleName": self._rule.rule_name},
            statistic="Sum",
            period=period,
        )
        return cloudwatch.Alarm(
            self,
            construct_id,
            alarm_name=f"{self._settings.environment_name}-{construct_id}",
            alarm_description=f"{description}. It starts runs and needs no attention.",
            # Without FILL, CloudWatch would look for older points in place of missing ones:
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
            metric=cloudwatch.MathExpression(
                expression="FILL(uploads, 0)", using_metrics={"uploads": matches}, period=period, label="Uploads"
            ),
            threshold=1,
            evaluation_periods=periods,
            datapoints_to_alarm=needed,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )

    def _start_when(self, construct_id: str, alarm: cloudwatch.Alarm, states: dict[str, object]) -> None:
        """Start a run at such an event of the alarm. The run's id is made of the event's time."""
        orchestrator = self._orchestrator
        rule = events.CfnRule(
            self,
            construct_id,
            description="Starts a transcription run after uploads",
            event_pattern={
                "source": ["aws.cloudwatch"],
                "detail-type": ["CloudWatch Alarm State Change"],
                "resources": [alarm.alarm_arn],
                "detail": states,
            },
            targets=[
                events.CfnRule.TargetProperty(
                    id="Run",
                    arn=orchestrator.queue.attr_job_queue_arn,
                    role_arn=self.role.role_arn,
                    batch_parameters=events.CfnRule.BatchParametersProperty(
                        job_definition=orchestrator.job_definition_name, job_name=deployment.RUN_JOB
                    ),
                    input_transformer=events.CfnRule.InputTransformerProperty(
                        input_paths_map={"time": "$.time"},
                        input_template=f'{{"Parameters": {{"{deployment.RUN_TIME}": <time>}}}}',
                    ),
                    dead_letter_config=events.CfnRule.DeadLetterConfigProperty(arn=orchestrator.not_started.queue_arn),
                )
            ],
        )
        rule.node.add_dependency(orchestrator.job_definition, self.role.node.find_child("DefaultPolicy"))
        orchestrator.not_started.add_to_resource_policy(
            iam.PolicyStatement(
                sid=f"{construct_id}MayNoteWhatDidNotStart",
                principals=[iam.ServicePrincipal("events.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[orchestrator.not_started.queue_arn],
                conditions={"ArnEquals": {"aws:SourceArn": rule.attr_arn}},
            )
        )

    def _role(self) -> iam.Role:
        role = iam.Role(
            self,
            "Role",
            description="EventBridge: starts runs after uploads",
            assumed_by=iam.ServicePrincipal(
                "events.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
            ),
        )
        self._orchestrator.allow_start(role)
        return role
