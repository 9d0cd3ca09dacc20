"""The buckets: audio and transcripts, the code of Amazon MWAA's Airflow, and the access logs of these two."""

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_s3 as s3
from constructs import Construct

from transcription_contract import layout

from .stack_settings import Settings

QUERY_RESULT_DAYS = 7


class Storage(Construct):
    """Private, encrypted buckets that accept TLS only.

    Airflow's code has a separate bucket, so that a user who may upload audio cannot change Airflow's code.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        super().__init__(scope, construct_id)
        self._settings = settings

        self.access_logs = self._bucket(
            "AccessLogs",
            versioned=False,
            lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(settings.keep_access_logs_days))],
        )
        self.audio = self._bucket(
            "Audio",
            versioned=True,
            server_access_logs_bucket=self.access_logs,
            server_access_logs_prefix="audio/",
            cors=[self._uploads_from_the_page()],
            lifecycle_rules=[
                self._old_versions_expire(),
                s3.LifecycleRule(
                    id="LeftManifests",
                    prefix=layout.MANIFESTS,
                    expiration=Duration.days(settings.keep_manifests_days),
                ),
                # A result can be had again by the same query, and it has words and names, so it is soon gone.
                s3.LifecycleRule(
                    id="QueryResults",
                    prefix=layout.QUERY_RESULTS,
                    expiration=Duration.days(QUERY_RESULT_DAYS),
                    noncurrent_version_expiration=Duration.days(1),
                ),
                *self._kept_for("Processed", layout.PROCESSED, settings.keep_processed_days),
                *self._kept_for("Transcripts", layout.OUTPUT, settings.keep_transcripts_days),
            ],
        )
        # So that users can act on each transcript. The CDK's own option would add a Lambda function.
        element = self.audio.node.default_child
        assert isinstance(element, s3.CfnBucket)
        element.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
        )

    def airflow_code_bucket(self) -> s3.Bucket:
        """A bucket for the code of Amazon MWAA's Airflow."""
        return self._bucket(
            "AirflowCode",
            versioned=True,  # Amazon MWAA requires a versioned bucket
            server_access_logs_bucket=self.access_logs,
            server_access_logs_prefix="airflow-code/",
            lifecycle_rules=[self._old_versions_expire()],
        )

    def _uploads_from_the_page(self) -> s3.CorsRule:
        """Browsers may upload from the Transcripts page, in Amazon MWAA's UI or in `make airflow CLOUD=stack`.

        The rule gives nobody a right: an upload needs a signed address, which only Airflow's server makes. The bucket
        cannot name the host of the environment's UI, because the environment is created after the bucket.
        """
        stack = Stack.of(self)
        return s3.CorsRule(
            allowed_methods=[s3.HttpMethods.PUT],
            allowed_origins=[
                f"https://*.airflow.{stack.region}.on.aws",
                f"https://*.{stack.region}.airflow.{stack.url_suffix}",
                "http://127.0.0.1:*",
            ],
            allowed_headers=["content-type", "if-none-match"],
            max_age=300,
        )

    def _old_versions_expire(self) -> s3.LifecycleRule:
        return s3.LifecycleRule(
            id="OldVersionsAndAbortedUploads",
            noncurrent_version_expiration=Duration.days(self._settings.keep_old_versions_days),
            expired_object_delete_marker=True,
            abort_incomplete_multipart_upload_after=Duration.days(7),
        )

    def _kept_for(self, rule_id: str, prefix: str, days: int | None) -> tuple[s3.LifecycleRule, ...]:
        """The rule that deletes what is older, or no rule if it is kept for ever."""
        if days is None:
            return ()
        return (s3.LifecycleRule(id=rule_id, prefix=prefix, expiration=Duration.days(days)),)

    def _bucket(self, construct_id: str, **options: object) -> s3.Bucket:
        delete = self._settings.delete_everything
        return s3.Bucket(
            self,
            construct_id,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            # A bucket of a first creation that failed is deleted, unless it has objects.
            removal_policy=RemovalPolicy.DESTROY if delete else RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
            auto_delete_objects=delete,
            **options,  # type: ignore[arg-type]
        )
