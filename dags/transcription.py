"""Every night at 01:00 UTC: the recordings that wait in the bucket's `input/` become transcripts in `output/`.

    sense_input → plan → submit → wait → verify

The tasks' logic is in `plugins/transcription/tasks/`; docs/bucket.md describes the bucket's layout.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import TriggerRule, dag, task

from transcription import links
from transcription.params import PARAMS
from transcription.schedule import schedule
from transcription.tasks import guide
from transcription.tasks.plan import plan
from transcription.tasks.sense_input import sense_input
from transcription.tasks.submit import SubmitOnce
from transcription.tasks.verify import TRANSCRIPTS, verify
from transcription.tasks.wait import ArrayJobSensor


@dag(
    schedule=schedule(),
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    doc_md=guide.DAG,
    tags=["speech"],
)
def transcription() -> None:
    sensed = task.short_circuit(doc_md=guide.SENSE_INPUT)(sense_input)()
    planned = task(doc_md=guide.PLAN)(plan)()
    submitted = SubmitOnce(task_id="submit", plan=planned, doc_md=guide.SUBMIT)
    waited = ArrayJobSensor(task_id="wait", plan=planned, job_id=submitted.output, doc_md=guide.WAIT)
    # `verify` accounts for a failed job, too, and has nothing to do if `plan` failed.
    account = task(outlets=[TRANSCRIPTS], trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS, doc_md=guide.VERIFY)
    verified = account(verify)(planned, submitted.output)  # type: ignore[arg-type]
    verified.operator.operator_extra_links = links.OF_VERIFY  # type: ignore[attr-defined]
    sensed >> planned >> submitted >> waited >> verified  # type: ignore[arg-type]


transcription()
