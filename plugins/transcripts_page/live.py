"""How far a running run is: its children, what is done, and when the rest will be."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from transcription import batch_jobs, progress
from transcription.bucket import Bucket
from transcription.configuration import Configuration
from transcription.errors import ManifestUnreadable
from transcription.file_count import FileCount
from transcription.plan_summary import PlanSummary
from transcription.progress import Done
from transcription_contract import layout

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""AWS is asked about a run at most that often, however many people watch it."""

_KNOWN_RUNS = 20  # whose planned names stay in memory


@dataclass
class _Watched:
    """A run that somebody watches."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    looked: float = 0.0
    answer: dict[str, Any] = field(default_factory=dict)
    plan_id: str = ""
    count: FileCount | None = None


class LiveRuns:
    """The progress of runs that have not ended. Its method may be called by several threads.

    Args:
        settings: The Airflow side's.
        bucket: The audio bucket.
        batch: A boto3 client of Batch.
    """

    def __init__(self, settings: Configuration, bucket: Bucket, batch: Any) -> None:
        self._settings = settings
        self._bucket = bucket
        self._batch = batch
        self._watched: dict[str, _Watched] = {}

    def progress(self, run_id: str) -> dict[str, Any]:
        """What is known of a run.

        Returns:
            `plan`: its summary; None before there is one.
            `job`: its `id`, `status` and `children` (numbers by what they do); None before it is submitted.
            `done`: `files`, `of_files`, `audio_hours`, `of_audio_hours`; None if that cannot be counted.
            `end`: when the rest will be done, ISO 8601; None if nothing is done yet.

        Raises:
            botocore.exceptions.ClientError: S3 or Batch refuses to tell.
        """
        while len(self._watched) > _KNOWN_RUNS:
            self._watched.pop(next(iter(self._watched)))
        watched = self._watched.setdefault(run_id, _Watched())
        with watched.lock:
            if not watched.answer or time.monotonic() - watched.looked > LOOK_SECONDS:
                watched.answer = self._look(run_id, watched)
                watched.looked = time.monotonic()
            return watched.answer

    def _look(self, run_id: str, watched: _Watched) -> dict[str, Any]:
        plan = PlanSummary.read(self._bucket.read(layout.plan_key(run_id)))
        if plan is None:
            return {"plan": None, "job": None, "done": None, "end": None}
        job_id = batch_jobs.job_of_plan(self._batch, self._settings.job_queue, run_id, plan.plan_id)
        job = batch_jobs.describe(self._batch, job_id) if job_id else None
        done = self._done(plan, watched)
        return {
            "plan": plan.to_json(),
            "job": {"id": job["jobId"], "status": job["status"], "children": progress.children(job)} if job else None,
            "done": _in_hours(done) if done else None,
            "end": _end(job, done) if job and done else None,
        }

    def _done(self, plan: PlanSummary, watched: _Watched) -> Done | None:
        if watched.plan_id != plan.plan_id:
            watched.plan_id = plan.plan_id
            watched.count = FileCount(self._bucket.name, plan.manifest_prefix, plan.files)
        try:
            return watched.count() if watched.count else None
        except (ClientError, ManifestUnreadable) as error:
            log.warning("The files of a run cannot be counted: %s", error)
            return None


def _in_hours(done: Done) -> dict[str, Any]:
    return {
        "files": done.files,
        "of_files": done.of_files,
        "audio_hours": done.audio_seconds / 3600,
        "of_audio_hours": done.of_audio_seconds / 3600,
    }


def _end(job: dict[str, Any], done: Done) -> str | None:
    """When all will be done at the rate since the job's submission."""
    start = Done(batch_jobs.submitted(job), 0, done.of_files, 0.0, done.of_audio_seconds)
    end = progress.estimated_end(start, done)
    return end.isoformat() if end else None
