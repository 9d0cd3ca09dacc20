"""The task `submit`: start the one Batch job of the run's plan, or adopt it if it is there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from transcription import batch_jobs, claims, configuration, links, report
from transcription.bucket import Bucket
from transcription.errors import PlanMissing, PlanOvertaken
from transcription.plan_summary import PlanSummary
from transcription.tasks.no_retry import no_retry
from transcription.wording import counted
from transcription_contract import deployment, layout

_STORE_KEY = "batch_job"


def container_environment(bucket: str, manifest_prefix: str) -> list[dict[str, str]]:
    """The worker's variables for this run, as Batch's `environment` of a container's overrides.

    They only name the manifests, which have the run's options: ECS takes at most 8,192 characters of overrides.
    """
    variables = {deployment.BUCKET_VARIABLE: bucket, deployment.MANIFEST_PREFIX_VARIABLE: manifest_prefix}
    return [{"name": name, "value": value} for name, value in variables.items()]


class SubmitOnce(BatchOperator):
    """Submits the array job of the run's plan, or adopts the one that the plan already has.

    `SubmitJob` has no idempotency token. So it is sent once, and a retry, or a task whose worker died between the
    submission and its record, looks for the job first: in the task's state store, then by its name, which is made of
    the run and the plan's id. Only the very same plan adopts a job: another plan of the run can have other params,
    other models or other recordings. It stops a live job of an earlier plan, so that a run has at most one live job.

    Args:
        plan: What the `plan` task returned (templated).
    """

    template_fields = (*BatchOperator.template_fields, "plan")
    operator_extra_links = links.OF_JOB  # type: ignore[assignment]  # the operator's own lead nowhere

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

    @no_retry
    def execute(self, context: Context) -> str:
        """Return the id of the run's Batch job."""
        plan = PlanSummary.of_xcom(self.plan, "submit")
        if plan.dry_run:
            raise AirflowSkipException("A dry run: the plan is made, and nothing is submitted.")
        settings = configuration.load()
        self.job_queue = settings.job_queue
        self.job_definition = settings.job_definition
        self.job_name = batch_jobs.job_name(context["run_id"], plan.plan_id)
        environment = container_environment(settings.bucket, plan.manifest_prefix)
        self.ecs_properties_override = {
            "taskProperties": [{"containers": [{"name": deployment.CONTAINER, "environment": environment}]}]
        }
        if plan.children > 1:  # an array has two children at least
            self.array_properties = {"size": plan.children}
        bucket = Bucket(settings.bucket)
        self.job_id = self._existing_job(context, bucket, plan)
        if self.job_id:
            self.log.info("The plan already has the Batch job %s: adopting it.", self.job_id)
            links.note_job(context, self, self.hook, self.job_id)
        else:
            self._check_claims(bucket, plan, context)
            super().execute(context)
            self.log.info("Submitted the Batch job %s with %s.", self.job_id, counted(plan.children, "child"))
        context["task_state_store"].set(_STORE_KEY, {"name": self.job_name, "id": self.job_id})
        return str(self.job_id)

    def _existing_job(self, context: Context, bucket: Bucket, plan: PlanSummary) -> str | None:
        """Id of the plan's job that is live or has succeeded. Stops live jobs of the run's other plans.

        A job that failed counts, too, if `verify` has accounted for the plan and was then killed: its report stands.
        """
        client = boto3.client("batch")
        stored = context["task_state_store"].get(_STORE_KEY)
        if isinstance(stored, dict) and stored.get("name") == self.job_name:
            known = batch_jobs.describe(client, str(stored["id"]))
            if known and known["status"] != "FAILED":
                return str(stored["id"])
        adopted = None
        for job in batch_jobs.jobs_of_run(client, self.job_queue, context["run_id"]):
            if adopted is None and job["jobName"] == self.job_name and job["status"] != "FAILED":
                adopted = job["jobId"]
            elif job["status"] in batch_jobs.ACTIVE:
                self.log.warning("Stopping job %s of this run: another one takes its place.", job["jobId"])
                client.terminate_job(jobId=job["jobId"], reason="Another job of the run takes its place.")
        if adopted is None and _is_accounted_for(bucket, context["run_id"], plan):
            return batch_jobs.job_of_plan(client, self.job_queue, context["run_id"], plan.plan_id)
        return adopted

    def _check_claims(self, bucket: Bucket, plan: PlanSummary, context: Context) -> None:
        """See that the manifests are there, and put them again if their claims soon end.

        Raises:
            PlanMissing: the manifests are gone.
            PlanOvertaken: other runs have planned some of the recordings meanwhile.
        """
        prefix = plan.manifest_prefix
        manifests = sum(1 for _ in bucket.listing(prefix))
        if manifests != plan.children:
            raise PlanMissing(
                f"The plan has {plan.children} manifests, and under {prefix} are {manifests}: they were "
                "removed, most likely because the run was verified. "
                "Clear `plan` and what follows it to do what is left."
            )
        if datetime.now(UTC) - plan.planned < claims.DURATION / 2:
            return
        with bucket.plan_lock(context["run_id"]) as lock:
            others = bucket.claims_of_others(prefix, batch_jobs.live_runs(boto3.client("batch"), self.job_queue))
            shared = [item for item in bucket.planned_recordings(prefix) if item.name in others.runs]
            if shared:
                raise PlanOvertaken(
                    f"This run was planned at {plan.planned:%Y-%m-%d %H:%M} UTC, and now the run "
                    f"{others.runs[shared[0].name]} has {len(shared)} of its {plan.files} recordings, such as "
                    f"{shared[0].source_key!r}. Clear `plan` and what follows it: this run then takes what is left."
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


def _is_accounted_for(bucket: Bucket, run_id: str, plan: PlanSummary) -> bool:
    """Whether the plan has its final report, and still its manifests, which `verify` deletes last."""
    found = report.read(bucket.read(layout.report_key(run_id, plan.plan_id)))
    return bool(found and found["final"]) and any(bucket.listing(plan.manifest_prefix))
