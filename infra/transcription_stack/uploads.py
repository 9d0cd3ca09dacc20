"""The queue that tells Airflow of each upload, if the setting `start_on_upload` is on."""

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from transcription_contract import layout


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
        rule = events.Rule(
            self,
            "Rule",
            description="Tells Airflow of each upload",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [audio_bucket.bucket_name]},
                    "object": {"key": [{"prefix": layout.INPUT}]},
                },
            ),
        )
        rule.add_target(targets.SqsQueue(self.queue))
