"""The task `wait`: wait for the array job without holding a worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

from airflow.providers.amazon.aws.hooks.batch_client import BatchClientHook
from airflow.sdk import BaseSensorOperator, Context
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError

from transcription import batch_jobs, configuration, links, notifications, progress
from transcription.errors import JobFailed, ManifestUnreadable, PlanMissing
from transcription.file_count import FileCount
from transcription.plan_summary import PlanSummary
from transcription.progress import Done
from transcription.tasks.no_retry import no_retry
from transcription_contract import deployment

_FAILED_LOOKS = 20  # so many in a row, and waiting gives up; the job itself goes on
_NAMED_CHILDREN = 50
PROGRESS_SECONDS = 300.0  # between two log lines if nothing changes


class ArrayJobSensor(BaseSensorOperator):
    """Waits until the Batch job has ended; deferred from the first look on.

    Args:
        plan: What the `plan` task returned (templated).
        job_id: Id of the job (templated).
    """

    template_fields = ("plan", "job_id")
    operator_extra_links = links.OF_JOB

    def __init__(self, *, plan: Any, job_id: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.job_id = job_id

    @no_retry
    def execute(self, context: Context) -> None:
        """Defer to the triggerer. The deadline counts from the job's submission, however often the task starts."""
        plan = PlanSummary.of_xcom(self.plan, "wait")
        if not self.job_id:
            raise PlanMissing(
                "The run has no Batch job to wait for. Run the whole DAG (`airflow dags test transcription`), or "
                "name a run whose `submit` has run: `airflow tasks test transcription wait RUN_ID` "
                "(`airflow dags list-runs transcription` lists them)."
            )
        settings = configuration.load()
        hook = BatchClientHook(aws_conn_id=None)
        links.note_job(context, self, hook, self.job_id)
        job = batch_jobs.describe(hook.client, self.job_id)
        since = batch_jobs.submitted(job) if job else datetime.now(UTC)
        self.defer(
            trigger=ArrayJobTrigger(
                job_id=self.job_id,
                bucket=settings.bucket,
                manifest_prefix=plan.manifest_prefix,
                files=plan.files,
                poll_seconds=settings.poll_seconds,
                deadline=(since + timedelta(hours=settings.deadline_hours)).isoformat(),
            ),
            method_name="execute_complete",
        )

    @no_retry
    def execute_complete(self, context: Context, event: dict[str, str]) -> None:
        """Name each failed child, and fail if the job did.

        Raises:
            JobFailed: the job failed, vanished, or did not end before the deadline.
        """
        if event["status"] == "SUCCEEDED":
            self.log.info("The Batch job %s is done.", self.job_id)
            return
        client = BatchClientHook(aws_conn_id=None).client
        job = batch_jobs.describe(client, self.job_id)
        for named, failure in enumerate(batch_jobs.failures(client, job) if job else ()):
            if named == _NAMED_CHILDREN:
                self.log.error("… and more: see the job %s in the AWS Batch console.", self.job_id)
                break
            self.log.error("%s", failure)
        raise JobFailed(
            f"The Batch job {self.job_id} ended as {event['status']}: {event['reason']} "
            "The task `verify` says which recordings are left; clear the run to do just those."
        )


class ArrayJobTrigger(BaseTrigger):
    """Looks at the Batch job until it has ended, and logs how far it is.

    It may be restarted, or run twice, at any time without harm to the job. Only a user's kill of the
    task stops the job. It never raises for what AWS answers: the event says how the job ended.

    Args:
        job_id: Id of the job.
        bucket: The audio bucket.
        manifest_prefix: The run's.
        files: Number of planned files.
        poll_seconds: Time between two looks.
        deadline: When to give up and stop the job, ISO 8601 with offset.
    """

    def __init__(
        self, *, job_id: str, bucket: str, manifest_prefix: str, files: int, poll_seconds: float, deadline: str
    ) -> None:
        super().__init__()
        self.job_id = job_id
        self.bucket = bucket
        self.manifest_prefix = manifest_prefix
        self.files = files
        self.poll_seconds = poll_seconds
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, for the triggerer that takes over."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "job_id": self.job_id,
                "bucket": self.bucket,
                "manifest_prefix": self.manifest_prefix,
                "files": self.files,
                "poll_seconds": self.poll_seconds,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the job's last status with its reason."""
        async with await self._hook().get_async_conn() as client:
            failed_looks = 0
            progress_log = _ProgressLog(self)
            while True:
                try:
                    jobs = (await client.describe_jobs(jobs=[self.job_id]))["jobs"]
                    failed_looks = 0
                except (ClientError, BotoCoreError) as error:
                    failed_looks += 1
                    self.log.warning("Look %d at job %s failed: %s", failed_looks, self.job_id, error)
                    if failed_looks == _FAILED_LOOKS:
                        yield self._event("UNKNOWN", f"AWS Batch could not be asked: {error}.")
                        return
                else:
                    if not jobs:
                        yield self._event("UNKNOWN", "AWS Batch knows no such job.")
                        return
                    job = jobs[0]
                    if job["status"] in batch_jobs.FINAL:
                        yield self._event(job["status"], job.get("statusReason", "no reason given."))
                        return
                    await progress_log.look(job)
                if datetime.now(UTC) > datetime.fromisoformat(self.deadline):
                    yield await self._stopped(client)
                    return
                await asyncio.sleep(self.poll_seconds)

    async def _stopped(self, client: Any) -> TriggerEvent:
        late = f"it had not ended by {self.deadline}, the deadline"
        try:
            await client.terminate_job(jobId=self.job_id, reason="The deadline passed.")
        except (ClientError, BotoCoreError) as error:
            return self._event("UNKNOWN", f"{late}, and it may still be at work, for stopping it failed: {error}.")
        return self._event("STOPPED", f"{late}.")

    async def on_kill(self) -> None:
        """Stop the job and its children when a user kills the task."""
        async with await self._hook().get_async_conn() as client:
            await client.terminate_job(jobId=self.job_id, reason="A user stopped the task `wait` in Airflow.")
        self.log.info("Stopped the Batch job %s.", self.job_id)

    def _hook(self) -> BatchClientHook:
        return BatchClientHook(aws_conn_id=None)

    def _event(self, status: str, reason: str) -> TriggerEvent:
        return TriggerEvent({"status": status, "reason": reason})


class _ProgressLog:
    """Logs how far the run is when its children change, and once in a while."""

    def __init__(self, trigger: ArrayJobTrigger) -> None:
        self._log = trigger.log
        self._count = FileCount(trigger.bucket, trigger.manifest_prefix, trigger.files)
        self._children = ""
        self._logged = 0.0
        self._first: Done | None = None

    async def look(self, job: dict[str, Any]) -> None:
        """Log a line about the job if there is news, or if the last line is old."""
        children = progress.children_line(job)
        if children == self._children and monotonic() - self._logged < PROGRESS_SECONDS:
            return
        self._children, self._logged = children, monotonic()
        self._log.info("%s%s", children, await asyncio.to_thread(self._done))
        await asyncio.to_thread(_publish_hours, job)

    def _done(self) -> str:
        try:
            done = self._count()
        except (ClientError, BotoCoreError, ManifestUnreadable) as error:
            return f"; the files could not be counted: {error}"
        if done is None:
            return ""
        self._first = self._first or done
        return f"; {progress.done_line(self._first, done)}"


def _publish_hours(job: dict[str, Any]) -> None:
    """Publish for how long the job has been at work, for an alarm."""
    hours = (datetime.now(UTC) - batch_jobs.submitted(job)).total_seconds() / 3600
    notifications.put_metrics(configuration.load(), {deployment.METRIC_RUN_HOURS: hours})
