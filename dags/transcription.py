"""Every night at 01:00 UTC: the recordings that wait in the bucket's `input/` become transcripts in `output/`.

    sense_input → plan → submit → wait → verify

The tasks' logic is in `plugins/transcription/`; the bucket's layout is in the README.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Asset, CronDataIntervalTimetable, TriggerRule, dag, task

from transcription import settings, stages
from transcription.params import PARAMS
from transcription.submission import SubmitOnce
from transcription.waiting import ArrayJobSensor

TRANSCRIPTS = Asset("transcripts")


@dag(
    schedule=CronDataIntervalTimetable(settings.option("schedule"), timezone="UTC"),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    doc_md=__doc__,
    tags=["speech"],
)
def transcription() -> None:
    @task.short_circuit
    def sense_input(**context: Any) -> bool:
        """Skip the run, and all cost, if no recording waits."""
        return stages.has_input(context)

    @task
    def plan(**context: Any) -> dict[str, Any]:
        """Share the recordings out over the children and write their manifests."""
        return stages.make_plan(context)

    @task(outlets=[TRANSCRIPTS], trigger_rule=TriggerRule.NONE_SKIPPED)
    def verify(plan: dict[str, Any], job_id: str, **context: Any) -> dict[str, Any]:
        """Account for every planned recording, also when the job failed; write the report."""
        report = stages.account(plan, job_id, context)
        context["outlet_events"][TRANSCRIPTS].extra = report["totals"]["files"]
        return report

    planned = plan()
    submit = SubmitOnce(task_id="submit", plan=planned)
    wait = ArrayJobSensor(task_id="wait", plan=planned, job_id=submit.output)
    sense_input() >> planned >> submit >> wait >> verify(planned, submit.output)  # type: ignore[arg-type]


transcription()
