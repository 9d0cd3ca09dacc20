"""Whole runs of the pipeline without a scheduler: the tasks' own functions, in one process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from transcription import array_job, settings, stages
from transcription.params import PARAMS
from transcription.submission import SubmitOnce
from transcription_contract import layout

ENDED = ("SUCCEEDED", "FAILED")


class Store(dict[str, Any]):
    """Airflow's task state store, as far as it is a mapping."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


class Run:
    """A run of the DAG: plan, submit, wait and verify, each when it is told to.

    Args:
        name: becomes part of the run's id.
        backfill: the interval, for a backfill run.
        params: the run's, beside the defaults.
    """

    def __init__(
        self, aws: Any, name: str, *, backfill: tuple[datetime, datetime] | None = None, **params: Any
    ) -> None:
        self.batch = aws.client("batch")
        start, end = backfill or (None, None)
        kind = "backfill" if backfill else "manual"
        self.context: dict[str, Any] = {
            "run_id": f"{kind}__{name}",
            "dag_run": SimpleNamespace(run_type=kind, data_interval_start=start, data_interval_end=end),
            "params": {**{key: param.value for key, param in PARAMS.items()}, **params},
            "task_state_store": Store(),
            "ti": None,
            "task_instance": None,
        }
        self.planned: dict[str, Any] | None = None
        self.job_id: str | None = None

    @property
    def manifest_prefix(self) -> str:
        return layout.manifest_prefix(self.context["run_id"])

    def plan(self) -> int:
        """Plan, and return how many recordings; 0 if the run is skipped since none is left."""
        try:
            self.planned = stages.make_plan(self.context)
        except AirflowSkipException:
            return 0
        return int(self.planned["files"])

    def submit(self) -> None:
        self.job_id = SubmitOnce(task_id="submit", plan=self.planned).execute(self.context)  # type: ignore[arg-type]

    def verify(self) -> dict[str, int]:
        """Counts by state; FilesMissing as `account` raises it."""
        return stages.account(self.planned, self.job_id, self.context)["totals"]["files"]

    def start(self) -> int:
        files = self.plan()
        if files:
            self.submit()
        return files

    def job(self) -> dict[str, Any]:
        return self.batch.describe_jobs(jobs=[self.job_id])["jobs"][0]

    def attempts(self) -> list[int]:
        """Exit codes of the job's attempts, in order; of an array, those of its children."""
        job = self.job()
        size = job.get("arrayProperties", {}).get("size")
        ids = [self.job_id] if not size else [f"{self.job_id}:{index}" for index in range(size)]
        described = self.batch.describe_jobs(jobs=ids)["jobs"]
        attempts = [attempt for job in described for attempt in job["attempts"]]
        return [attempt["taskProperties"][0]["containers"][0]["exitCode"] for attempt in attempts]


def wait_for_all(runs: Iterable[Run], seconds: float = 300) -> None:
    """Wait until the runs' jobs have ended, and see that none has two at any time."""
    deadline = time.monotonic() + seconds
    left = {run.job_id: run for run in runs}
    queue, names = settings.load().job_queue, [{"name": "JOB_NAME", "values": ["transcription-*"]}]
    while left:
        assert time.monotonic() < deadline, f"these do not end: {[run.context['run_id'] for run in left.values()]}"
        time.sleep(0.5)
        pages = next(iter(left.values())).batch.get_paginator("list_jobs").paginate(jobQueue=queue, filters=names)
        jobs = [job for page in pages for job in page["jobSummaryList"]]
        live = Counter(job["jobName"].rpartition("-")[0] for job in jobs if job["status"] in array_job.ACTIVE)
        assert max(live.values(), default=0) <= 1, f"a run has two live jobs: {live}"
        for job in jobs:
            if job["status"] in ENDED:
                left.pop(job["jobId"], None)
