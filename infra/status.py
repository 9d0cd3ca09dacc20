"""Prints what waits, what runs, what was done and what was rejected, of a deployed stack or of `make airflow`.

status.py ASSEMBLY            the stack on AWS
status.py --local FOLDER      the Airflow on this machine with this home folder
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from deployment_target import client, outputs_of, stack_of
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from transcription import batch_jobs, progress
from transcription.bucket import Bucket
from transcription.file_count import FileCount
from transcription.plan_summary import PlanSummary
from transcription.wording import counted
from transcription_contract import layout
from transcription_contract.results import ErrorDocument
from transcripts_page.catalogue import THREADS, Catalogue, RunRecord

SHOWN = 10
"""Runs, and rejected recordings, that are printed; the newest ones."""


class NoStatusError(Exception):
    """There is nothing to ask. The message says what to do."""


class Source(NamedTuple):
    """Where the pipeline is. boto3's default session is the one to ask it by."""

    bucket: str
    job_queue: str


class Rejected(NamedTuple):
    """A recording of `failed/`."""

    name: str
    code: str
    reason: str


def of_stack(assembly: Path) -> Source:
    """The deployed stack.

    Raises:
        NoStatusError: it does not exist.
    """
    stack, region = stack_of(assembly)
    cloudformation = client("cloudformation", region)
    outputs = outputs_of(stack, cloudformation)
    if outputs is None:
        raise NoStatusError(
            f"There is no stack {stack} in this account and region. Run `make deploy` first, or `make airflow` and "
            "`make status` for the pipeline on this machine."
        )
    boto3.setup_default_session(region_name=cloudformation.meta.region_name)
    return Source(outputs["BucketName"], outputs["JobQueueArn"])


def of_local(home: Path) -> Source:
    """The Airflow of `make airflow`, by the file of variables that it writes for a second terminal.

    Raises:
        NoStatusError: it does not run, or never ran.
    """
    try:
        lines = (home / "env").read_text("utf-8").splitlines()
    except FileNotFoundError:
        raise NoStatusError("`make airflow` does not run. Start it, or name a stack: make status CLOUD=stack") from None
    assigned = [shlex.split(line)[1].partition("=") for line in lines if not line.startswith("export PATH=")]
    variables = {name: value for name, _, value in assigned}
    os.environ |= {name: value for name, value in variables.items() if name.startswith("AWS_")}
    return Source(variables["BUCKET"], variables["AIRFLOW__TRANSCRIPTION__JOB_QUEUE"])


def waiting(bucket: Bucket) -> int:
    """How many recordings wait in `input/`."""
    return sum(layout.is_audio(item.key) for item in bucket.listing(layout.INPUT))


def running(bucket: Bucket, batch: Any, queue: str) -> list[tuple[str, str]]:
    """The run's folder and its progress, of each run with a live Batch job."""
    found = []
    for folder, job_id in batch_jobs.live_jobs(batch, queue).items():
        job = batch_jobs.describe(batch, job_id)
        plan = PlanSummary.read(bucket.read(layout.plan_key_of_folder(folder)))
        done = FileCount(bucket.name, plan.manifest_prefix, plan.files)() if plan else None
        lines = [progress.children_line(job)] if job else []
        if done:
            lines.append(progress.done_line(done, done))
        found.append((folder, "\n".join(lines)))
    return found


def rejected(bucket: Bucket) -> tuple[int, list[Rejected]]:
    """The number of rejected recordings, and the newest ones."""
    items = [item for item in bucket.listing(layout.FAILED) if item.key.endswith(layout.ERROR_SUFFIX)]
    items.sort(key=lambda item: item.uploaded, reverse=True)
    documents = (ErrorDocument.read(bucket.read(item.key) or b"") for item in items)
    newest = islice((document for document in documents if document), SHOWN)
    return len(items), [
        Rejected(layout.recording_name(document.source_key), document.code, document.reason) for document in newest
    ]


def runs_table(runs: Iterable[RunRecord]) -> Table:
    """A table of runs."""
    table = Table(title="Runs", title_justify="left", title_style="bold")
    for name in ("finished (UTC)", "run"):
        table.add_column(name, overflow="fold")
    for name in ("transcribed", "rejected", "replaced", "missing", "audio h", "USD"):
        table.add_column(name, justify="right")
    for run in runs:
        files: Mapping[str, int] = run.totals["files"]
        states = [str(files.get(state, 0)) for state in ("transcribed", "rejected", "replaced", "missing")]
        hours, usd = f"{run.totals['audio_hours']:.2f}", f"{run.estimated_usd:.2f}"
        style = "red" if files.get("missing") else None
        table.add_row(f"{run.finished[:16].replace('T', ' ')}", escape(run.run_id), *states, hours, usd, style=style)
    return table


def rejects_table(found: Iterable[Rejected]) -> Table:
    """A table of rejected recordings."""
    table = Table(title="Rejected, the newest", title_justify="left", title_style="bold")
    for name in ("recording", "code", "reason"):
        table.add_column(name, overflow="fold")
    for one in found:
        table.add_row(escape(_printable(one.name)), escape(one.code), escape(one.reason))
    return table


def _printable(name: str) -> str:
    """A name that cannot move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def show(source: Source, console: Console) -> None:
    """Print the status."""
    bucket = Bucket(source.bucket)
    s3 = boto3.client("s3", config=Config(max_pool_connections=THREADS))
    with tempfile.TemporaryDirectory() as folder:
        runs = Catalogue(s3, source.bucket, Path(folder)).runs()
    number, newest = rejected(bucket)
    console.print(f"Waiting in s3://{source.bucket}/{layout.INPUT}: {counted(waiting(bucket), 'recording')}")
    live = running(bucket, boto3.client("batch"), source.job_queue)
    for run, lines in live:
        console.print(f"[bold]Running:[/bold] {escape(run)}\n{escape(lines)}")
    if not live:
        console.print("No run has a Batch job now.")
    console.print(runs_table(runs[:SHOWN]) if runs else "No run was accounted for yet.")
    if len(runs) > SHOWN:
        console.print(f"and {counted(len(runs) - SHOWN, 'earlier run')}")
    if number:
        console.print(rejects_table(newest))
        console.print(f"All in s3://{source.bucket}/{layout.FAILED}: {counted(number, 'recording')}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("assembly", type=Path, nargs="?")
    where.add_argument("--local", type=Path, metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    try:
        show(of_local(chosen.local) if chosen.local else of_stack(chosen.assembly), Console())
    except NoStatusError as error:
        sys.exit(str(error))
    except (BotoCoreError, ClientError) as error:
        hint = "`make airflow` does not run any more: start it again." if chosen.local else ""
        sys.exit(f"AWS gives no answer: {error}\n{hint}".rstrip())


if __name__ == "__main__":
    main()
