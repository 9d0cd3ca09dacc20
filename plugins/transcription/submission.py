"""The one Batch job of a run: found if it is there, submitted if it is not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from transcription import array_job, planning, settings
from transcription.bucket import Bucket
from transcription.errors import PlanMissing, PlanOvertaken
from transcription_contract import deployment, layout

CLAIM = timedelta(minutes=10)
"""So long a run's manifests keep other runs off its recordings before its job is there to do it."""

_NAME = "transcription-"
_STORE_KEY = "batch_job"


def container_environment(bucket: str, manifest_prefix: str) -> list[dict[str, str]]:
    """The worker's variables for this run, as Batch's `environment` of a container's overrides.

    They only name the manifests, which have the run's options: ECS takes at most 8,192 characters of overrides.
    """
    variables = {deployment.BUCKET_VARIABLE: bucket, deployment.MANIFEST_PREFIX_VARIABLE: manifest_prefix}
    return [{"name": name, "value": value} for name, value in variables.items()]


def live_runs(client: Any, job_queue: str) -> set[str]:
    """Folders of the runs that have a live job in the queue (see `layout.run_folder`)."""
    start, end = len(_NAME), -len("-") - planning.DIGEST_LENGTH
    return {job["jobName"][start:end] for job in _jobs(client, job_queue, _NAME) if job["status"] in array_job.ACTIVE}


def claimed_by_others(bucket: Bucket, job_queue: str, manifest_prefix: str) -> set[str]:
    """Source keys that other runs have planned and have, or are about to have, a job for."""
    live = live_runs(boto3.client("batch"), job_queue)
    return bucket.claimed_by_others(manifest_prefix, live, fresh_since=datetime.now(UTC) - CLAIM)


def job_name(run_id: str, digest: str) -> str:
    """Name of the run's job: the same plan of the same run gives the same name, at most 103 characters."""
    return f"{_job_name_start(run_id)}{digest}"


def _job_name_start(run_id: str) -> str:
    return f"{_NAME}{layout.run_folder(run_id)}-"


def _jobs(client: Any, job_queue: str, name_start: str) -> Iterator[dict[str, Any]]:
    """Jobs whose name starts so, in every state; Batch forgets those that ended a week ago."""
    pages = client.get_paginator("list_jobs").paginate(
        jobQueue=job_queue, filters=[{"name": "JOB_NAME", "values": [f"{name_start}*"]}]
    )
    for page in pages:
        yield from page["jobSummaryList"]


class SubmitOnce(BatchOperator):
    """Submits the run's array job, or adopts the one that the run already has.

    `SubmitJob` has no idempotency token. So it is sent once, and a retry, or a task whose worker died
    between the submission and its record, looks for the job first: in the task's state store, then by
    its name, which is made of the run and the hash of its manifests. A live job of an earlier plan of
    the run is stopped before a new one starts: a run has one live job at most.

    Args:
        plan: What the `plan` task returned (templated).
    """

    template_fields = (*BatchOperator.template_fields, "plan")

    def __init__(self, *, plan: Any, **kwargs: Any) -> None:
        super().__init__(
            job_name="",
            job_queue="",
            job_definition="",
            aws_conn_id=None,
            deferrable=False,
            wait_for_completion=False,
            # Where an answer is lost botocore would ask again, and SubmitJob would start a second job.
            botocore_config={"retries": {"total_max_attempts": 1}},
            **kwargs,
        )
        self.plan = plan

    def execute(self, context: Context) -> str:
        """Return the id of the run's Batch job."""
        if not self.plan:
            raise PlanMissing(
                "The run has no plan, so there is nothing to submit. Run the whole DAG "
                "(`airflow dags test transcription`), or name a run whose `plan` has run: "
                "`airflow tasks test transcription submit RUN_ID` (`airflow dags list-runs transcription` lists them)."
            )
        if self.plan["dry_run"]:
            raise AirflowSkipException("A dry run: the plan is made, and nothing is submitted.")
        options = settings.load()
        self.job_queue = options.job_queue
        self.job_definition = options.job_definition
        self.job_name = job_name(context["run_id"], self.plan["digest"])
        environment = container_environment(options.bucket, self.plan["manifest_prefix"])
        self.ecs_properties_override = {
            "taskProperties": [{"containers": [{"name": deployment.CONTAINER, "environment": environment}]}]
        }
        if self.plan["children"] > 1:  # an array has two children at least
            self.array_properties = {"size": self.plan["children"]}
        self.job_id = self._existing_job(context)
        if self.job_id:
            self.log.info("The run already has the Batch job %s: adopting it.", self.job_id)
        else:
            self._claim(Bucket(options.bucket), context)
            super().execute(context)
            self.log.info("Submitted the Batch job %s with %d children.", self.job_id, self.plan["children"])
        context["task_state_store"].set(_STORE_KEY, {"name": self.job_name, "id": self.job_id})
        return str(self.job_id)

    def _existing_job(self, context: Context) -> str | None:
        """Id of the run's live or succeeded job of this very plan."""
        client = boto3.client("batch")
        stored = context["task_state_store"].get(_STORE_KEY)
        if isinstance(stored, dict) and stored.get("name") == self.job_name:
            known = array_job.describe(client, str(stored["id"]))
            if known and known["status"] != "FAILED":
                return str(stored["id"])
        adopted = None
        for job in _jobs(client, self.job_queue, _job_name_start(context["run_id"])):
            if adopted is None and job["jobName"] == self.job_name and job["status"] != "FAILED":
                adopted = job["jobId"]
            elif job["status"] in array_job.ACTIVE:
                self.log.warning("Stopping job %s of this run: another one takes its place.", job["jobId"])
                client.terminate_job(jobId=job["jobId"], reason="Another job of the run takes its place.")
        return adopted

    def _claim(self, bucket: Bucket, context: Context) -> None:
        """Claim the planned recordings anew if so much time has passed that other runs may soon take them.

        Raises:
            PlanMissing: the manifests are gone.
            PlanOvertaken: other runs have planned some of the recordings meanwhile.
        """
        planned = datetime.fromisoformat(self.plan["planned"])
        if datetime.now(UTC) - planned < CLAIM / 2:
            return
        prefix = self.plan["manifest_prefix"]
        with bucket.plan_lock(context["run_id"]) as lock:
            manifests = sum(1 for _ in bucket.objects(prefix))
            if manifests != self.plan["children"]:
                raise PlanMissing(
                    f"The plan has {self.plan['children']} manifests, and under {prefix} are {manifests}: they were "
                    f"removed, most likely because the run was verified (see {layout.report_key(context['run_id'])}). "
                    "Clear `plan` and what follows it to do what is left."
                )
            claimed = claimed_by_others(bucket, self.job_queue, prefix)
            shared = [line.source_key for line in bucket.manifests(prefix) if line.source_key in claimed]
            if shared:
                raise PlanOvertaken(
                    f"This run was planned at {planned:%Y-%m-%d %H:%M} UTC, and now another run has {len(shared)} of "
                    f"its {self.plan['files']} recordings, such as {shared[0]!r}. "
                    "Clear `plan` and what follows it: this run then takes what is left."
                )
            lock.renew()
            bucket.renew_manifests(prefix)
            lock.renew()

    def on_kill(self) -> None:
        """Stop the job that was just submitted when the task is killed."""
        if self.job_id:
            boto3.client("batch").terminate_job(
                jobId=self.job_id, reason="A user stopped the task `submit` in Airflow."
            )
