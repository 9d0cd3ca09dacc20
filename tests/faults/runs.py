"""Complete runs of the pipeline without a scheduler: one process calls the functions of the tasks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from tests.task_context import task_context
from transcription import batch_jobs, configuration
from transcription.tasks.plan import plan
from transcription.tasks.submit import SubmitOnce
from transcription.tasks.verify import verify
from transcription_contract import layout

ENDED = ("SUCCEEDED", "FAILED")


class Run:
    """A run of the DAG. The test calls each task.

    Args:
        name: a part of the run's id.
        backfill: the interval of a backfill run. None means a manual run.
        params: the run's params that differ from the defaults.
    """

    def __init__(
        self, aws: Any, name: str, *, backfill: tuple[datetime, datetime] | None = None, **params: Any
    ) -> None:
        self.batch = aws.client("batch")
        kind = "backfill" if backfill else "manual"
        self.context = task_context(f"{kind}__{name}", backfill=backfill, **params)
        self.planned: dict[str, Any] | None = None
        self.job_id: str | None = None

    @property
    def manifest_prefix(self) -> str:
        return layout.manifest_prefix(self.context["run_id"])

    def plan(self) -> int:
        """Plan, and return the number of recordings. Return 0 if the run is skipped because no recording is left."""
        try:
            self.planned = plan(**self.context)
        except AirflowSkipException:
            return 0
        return int(self.planned["files"])

    def submit(self) -> None:
        self.job_id = SubmitOnce(task_id="submit", plan=self.planned).execute(self.context)  # type: ignore[arg-type]

    def verify(self) -> dict[str, int]:
        """Verify, and return the number of files by state. It fails when the task fails."""
        return verify(self.planned, self.job_id, **self.context)["totals"]["files"]

    def start(self) -> int:
        files = self.plan()
        if files:
            self.submit()
        return files

    def job(self) -> dict[str, Any]:
        return self.batch.describe_jobs(jobs=[self.job_id])["jobs"][0]

    def attempts(self) -> list[int]:
        """The exit codes of the job's attempts in order. For an array, those of its children."""
        job = self.job()
        size = job.get("arrayProperties", {}).get("size")
        ids = [self.job_id] if not size else [f"{self.job_id}:{index}" for index in range(size)]
        described = self.batch.describe_jobs(jobs=ids)["jobs"]
        attempts = [attempt for job in described for attempt in job["attempts"]]
        return [attempt["taskProperties"][0]["containers"][0]["exitCode"] for attempt in attempts]


def wait_for_all(runs: Iterable[Run], seconds: float = 300) -> None:
    """Wait until the runs' jobs have ended. Check that no run has two active jobs at the same time."""
    deadline = time.monotonic() + seconds
    left = {run.job_id: run for run in runs}
    queue, names = configuration.load().job_queue, [{"name": "JOB_NAME", "values": ["transcription-*"]}]
    while left:
        assert time.monotonic() < deadline, f"these runs do not end: {[run.context['run_id'] for run in left.values()]}"
        time.sleep(0.5)
        pages = next(iter(left.values())).batch.get_paginator("list_jobs").paginate(jobQueue=queue, filters=names)
        jobs = [job for page in pages for job in page["jobSummaryList"]]
        active = Counter(job["jobName"].rpartition("-")[0] for job in jobs if job["status"] in batch_jobs.ACTIVE)
        assert max(active.values(), default=0) <= 1, f"a run has two active jobs: {active}"
        for job in jobs:
            if job["status"] in ENDED:
                left.pop(job["jobId"], None)
