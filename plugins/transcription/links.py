"""Links on the tasks in Airflow's UI: to the Batch job, to the report, and to the Transcripts page."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import boto3
from airflow.providers.amazon.aws.hooks.batch_client import BatchClientHook
from airflow.providers.amazon.aws.links.batch import BatchJobDetailsLink
from airflow.sdk import BaseOperatorLink, Context, conf

from transcription import configuration
from transcription_contract import layout

PAGE = "transcripts/"
"""Where the Transcripts page is, below Airflow's address."""


class PageLink(BaseOperatorLink):
    """The run's recordings on the Transcripts page."""

    name = "Transcripts"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The page's address.

        Args:
            operator: The task.
            ti_key: The task's instance in the run.
        """
        base = conf.get("api", "base_url", fallback="").rstrip("/")
        return f"{base}/{PAGE}?run={quote(ti_key.run_id, safe='')}"


class ReportLink(BaseOperatorLink):
    """The report of the run's plan in the console of S3."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The console's address of the report; empty if the run has no plan.

        Args:
            operator: The task `verify`, whose first argument is the plan.
            ti_key: The task's instance in the run.
        """
        plan = operator.op_args[0]
        if not isinstance(plan, dict):
            return ""
        key = layout.report_key(ti_key.run_id, plan["plan_id"])
        session = boto3.Session()
        domain = BatchJobDetailsLink.get_aws_domain(session.get_partition_for_region(session.region_name))
        return f"https://console.{domain}/s3/object/{configuration.option('bucket')}?prefix={quote(key)}"


OF_VERIFY = (PageLink(), ReportLink())
OF_JOB = (BatchJobDetailsLink(), PageLink())


def note_job(context: Context, operator: Any, hook: BatchClientHook, job_id: str) -> None:
    """Make the link to a Batch job work.

    Args:
        context: The task's.
        operator: A task with `OF_JOB`.
        hook: What calls Batch.
        job_id: The job's.
    """
    BatchJobDetailsLink.persist(
        context=context,
        operator=operator,
        region_name=hook.conn_region_name,
        aws_partition=hook.conn_partition,
        job_id=job_id,
    )
