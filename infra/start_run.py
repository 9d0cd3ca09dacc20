"""Starts a run of a deployed stack now, prints its messages until its end, then its report.

start_run.py ASSEMBLY [--params JSON] [--uploaded-from TIME] [--uploaded-to TIME]

With --uploaded-from or --uploaded-to it does what a backfill does: it transcribes again what was uploaded in this time.
It is the same for both ways to run the DAG.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError
from deployment_target import client, outputs_of, stack_of
from runs_on_demand import OnDemandRun, TooLongError
from runs_on_mwaa import MwaaRun, PausedError

from transcription import report
from transcription_contract import layout, run_options
from transcription_contract.run_options import OptionError, RunOptions


class CannotStartError(Exception):
    """Nothing was started. The message says why and what to do."""


class Run(Protocol):
    """A run of the DAG, wherever that runs."""

    def start(self, params: Mapping[str, Any]) -> str:
        """Start it. Return the run's id."""

    def follow(self) -> bool:
        """Print the run's messages until its end. Return whether it succeeded."""

    def where_the_log_is(self) -> str:
        """Where the whole log is."""


def say(message: str) -> None:
    """Print a message at once."""
    print(message, flush=True)


def params_of(text: str | None, uploaded_from: str | None, uploaded_to: str | None) -> dict[str, Any]:
    """The run's params, checked as the tasks check them.

    Args:
        text: A JSON object; None for no params.
        uploaded_from: The start of the uploads that the run transcribes again; None for no limit.
        uploaded_to: Their end, excluded.

    Raises:
        CannotStartError: a param is unknown or out of range.
    """
    try:
        params = json.loads(text) if text else {}
    except ValueError as error:
        raise CannotStartError(f'PARAMS is no JSON: {error}. Write it as PARAMS=\'{{"prefix": "calls/"}}\'.') from None
    if not isinstance(params, dict):
        raise CannotStartError('PARAMS must be a JSON object such as \'{"prefix": "calls/"}\'.')
    if uploaded_from or uploaded_to:
        times = {"uploaded_from": uploaded_from, "uploaded_to": uploaded_to}
        params = {"again": True, **{name: time for name, time in times.items() if time}, **params}
    try:
        run_options.parse(RunOptions, params)
    except OptionError as error:
        raise CannotStartError(f"{error}.") from None
    return params


def newest_report(s3: Any, bucket: str, run_id: str) -> tuple[dict[str, Any], str] | None:
    """The newest report of a run, and its URI; None if it has none."""
    listed = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=layout.run_prefix(run_id))
    found = [item for page in listed for item in page.get("Contents", ()) if layout.is_report(item["Key"])]
    if not found:
        return None
    key = max(found, key=lambda item: item["LastModified"])["Key"]
    body = report.read(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    return (body, f"s3://{bucket}/{key}") if body else None


def run(assembly: Path, params: Mapping[str, Any]) -> int:
    """Start a run, and follow it to its end. Return the exit code: 0 if it succeeded."""
    stack, region = stack_of(assembly)
    outputs = outputs_of(stack, client("cloudformation", region))
    if outputs is None:
        raise CannotStartError(f"There is no stack {stack} in this account and region. Run `make deploy` first.")
    clients = partial(client, region=region)
    started: Run = OnDemandRun(clients, outputs, say) if "RunQueueArn" in outputs else MwaaRun(clients, outputs, say)
    run_id = started.start(params)
    say(f"Started the run {run_id}. Ctrl-C ends only these messages; the run goes on.")
    succeeded = started.follow()
    say(f"The run {'succeeded' if succeeded else 'failed'}. Its whole log: {started.where_the_log_is()}")
    found = newest_report(client("s3", region), outputs["BucketName"], run_id)
    if found:
        subject, text = report.message_of(*found)
        say(f"\n{subject}\n{text}")
    else:
        say("It has no report, because it transcribed nothing.")
    return 0 if succeeded else 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assembly", type=Path)
    parser.add_argument("--params")
    parser.add_argument("--uploaded-from")
    parser.add_argument("--uploaded-to")
    chosen = parser.parse_args(arguments)
    try:
        return run(chosen.assembly, params_of(chosen.params, chosen.uploaded_from, chosen.uploaded_to))
    except (CannotStartError, PausedError, TooLongError) as error:
        sys.exit(f"Nothing was started. {error}")
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"AWS refuses: {error}")
    except KeyboardInterrupt:
        sys.exit("\nThe run goes on.")


if __name__ == "__main__":
    sys.exit(main())
