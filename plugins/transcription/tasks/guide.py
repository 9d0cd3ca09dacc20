"""What each task does and what to do when it is red, as Airflow's UI shows it."""

from __future__ import annotations

DAG = """
Every night at 01:00 UTC the recordings that wait in the bucket's `input/` become transcripts in `output/`. If the
deployment has `start_on_upload`, a run also starts when uploads have come to rest.

| task | what it does |
| --- | --- |
| `sense_input` | skips the run, and all cost, if no recording waits |
| `plan` | shares the recordings out over the children of one Batch job |
| `submit` | starts the job |
| `wait` | waits for its end, and logs how far it is |
| `verify` | accounts for every recording, writes the report to `runs/`, and sends it |

**Start it by hand** with *Trigger*; the form explains every param. *Dry run* shows in the log of `plan` what a run
would do and cost. *Uploaded from*, *Uploaded before* and *Again* repeat any recordings, today's too.

**See and hear the results** on *Transcripts*, in the navigation and as a tab on each run: search, correct, try a
rejected recording again. The tasks have links to it, to the Batch job and to the report.

**Repeat a month** with *Trigger* and those params, or with *Run backfill*. A backfill runs without the params of its
form unless *Override parameters on existing runs* is ticked, also for runs that do not exist yet.

**A red run** has lost nothing. Open the red task: its log says what happened, its documentation what to do. Clearing
the run goes on where it stands; recordings that are done stay done.
"""

SENSE_INPUT = """
Looks for recordings of the run in `input/`, and in `processed/` if the run repeats. Without any, the run is
skipped.

**When it is red**, the bucket cannot be listed or a param is wrong. The log names the param, or the right that the
environment's role lacks. Correct it and clear the task.
"""

PLAN = """
Chooses the recordings and their models, shares them out, and writes a manifest for each child. Its log names what it
leaves alone and why, and what the run will take and cost. A run that is cleared while its job is at work goes on with
its plan.

**When it is red**, nothing was started and nothing is paid. The log names the model that cannot be used, or the param
that is wrong. Upload the model, or trigger a run with other params; clear the task if it was S3 or Batch that failed.

**When it is skipped**, every recording is in another run's plan, or is no recording. The log names the run, and until
when it keeps them.
"""

SUBMIT = """
Starts the Batch job of the plan once. A second attempt adopts the job that is there.

**When it is red**, Batch refuses the job, or another run has planned the same recordings meanwhile. The log says
which. Clear `plan` and what follows it.
"""

WAIT = """
Waits for the job without a worker slot. It logs the children, and the files and audio hours that are done with the
time at which the rest will be. Marking it failed stops the job.

**When it is red**, children failed, or the job did not end before the deadline. The log names each failed child with
its reason and log stream. `verify` still accounts for what is done. Then clear the run: it does just what is left.
"""

VERIFY = """
Looks up what became of every planned recording and writes `runs/<run>/<plan>/report.json` with the totals and
`entries.jsonl` with a line for each recording: state, transcript, child, log stream, and the reason if there is no
transcript. `runs/<run>/totals.json` adds up all plans of the run. Then it writes the search index and the run's part of
the data set for SQL; its log says if that fails. It may be cleared at any time, and writes what is missing.

**When it is red**, some recordings have no transcript and no reason; they wait where they were. The log names them,
and the report has the log streams of their children. Clear the run to do just those.
"""
