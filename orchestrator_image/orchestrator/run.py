"""Runs the DAG once.

python -m orchestrator.run TIME CONF

TIME makes the run's id: ISO 8601, or `submission`, the time at which Batch got the job. CONF has the run's params as
JSON. A start that was killed is repeated with the same arguments, on an empty database: the bucket and Batch have all
that the run needs to go on.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any

import boto3
from airflow.dag_processing.dagbag import DagBag

from orchestrator import finished, identity
from orchestrator.exit_codes import RUN_FAILED
from transcription import batch_jobs, configuration
from transcription.bucket import Bucket
from transcription_contract import deployment

DAG_ID = "transcription"


def main(time_text: str, conf_text: str) -> int:
    """Run the DAG, unless that run has ended or another container works for it. Return the process's exit code."""
    try:
        batch = boto3.client("batch")
        job = own_job(batch)
        time, params = identity.run_time(time_text, job), identity.run_params(conf_text)
    except identity.BadStartError as error:
        print(f"Nothing was started. {error}", flush=True)
        return RUN_FAILED
    run_id = identity.run_id(time)
    other = identity.earlier_job(job, live_jobs(batch, job["jobQueue"]))
    if other:
        print(f"The Batch job {other['jobId']} works for the run {run_id} already. Nothing is left to do.", flush=True)
        return 0
    report = finished.final_report(Bucket(configuration.load().bucket), run_id)
    if report:
        files = report["totals"]["files"]
        print(f"The run {run_id} has ended with {files}. Nothing is left to do.", flush=True)
        return RUN_FAILED if files["missing"] else 0
    return 0 if run_dag(time, params) else RUN_FAILED


def own_job(batch: Any) -> dict[str, Any]:
    """The description of this container's job.

    Raises:
        RuntimeError: Batch does not know it.
    """
    job_id = os.environ["AWS_BATCH_JOB_ID"]
    job = batch_jobs.describe(batch, job_id)
    if job is None:
        raise RuntimeError(f"AWS Batch knows no job {job_id}.")
    return job


def live_jobs(batch: Any, queue: str) -> list[dict[str, Any]]:
    """The descriptions of the live jobs of the orchestrator's queue."""
    pages = batch.get_paginator("list_jobs").paginate(
        jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [deployment.RUN_JOB]}]
    )
    summaries = (job for page in pages for job in page["jobSummaryList"] if job["status"] in batch_jobs.ACTIVE)
    return list(batch_jobs.described(batch, summaries))


def run_dag(time: datetime, params: dict[str, Any]) -> bool:
    """Run the DAG to its end in this process, with its retries and delays. Return whether it succeeded.

    Raises:
        RuntimeError: the DAG file cannot be imported.
    """
    bag = DagBag()
    if DAG_ID not in bag.dags:
        raise RuntimeError(f"The DAG {DAG_ID} cannot be imported: {bag.import_errors}")
    run = bag.dags[DAG_ID].test(run_after=time, logical_date=time, run_conf=params)
    return str(run.state) == "success"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
