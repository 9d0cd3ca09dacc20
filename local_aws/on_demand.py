"""A night without Amazon MWAA on the local AWS: fires the schedule by hand, and shows the container's messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runs_on_demand import OnDemandRun

from local_aws import airflow
from local_aws.deployment import Stack
from local_aws.server import LocalAws
from transcription_contract import deployment

_POLL_SECONDS = 0.5


def run_night(
    aws: LocalAws, stack: Stack, params: Mapping[str, Any], say: Callable[[str], None], log_file: Path
) -> bool:
    """Fire the stack's schedule, and wait for the end of the run. Return whether it succeeded.

    Args:
        aws: The local AWS.
        stack: A stack with a schedule.
        params: The run's params, which a night on AWS has not.
        say: Prints a message.
        log_file: Gets the container's whole log.
    """
    airflow.migrate_empty()
    assert stack.schedule is not None
    run = OnDemandRun(aws.client, stack.outputs, say, _POLL_SECONDS)
    run.attach(stack.schedule.fire(datetime.now(UTC), **{deployment.RUN_CONF: json.dumps(params)}))
    succeeded = run.follow()
    _write_log(aws, stack, log_file)
    return succeeded


def _write_log(aws: LocalAws, stack: Stack, path: Path) -> None:
    logs, group = aws.client("logs"), stack.outputs["RunLogGroupName"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=group, logStreamNames=[stream["logStreamName"]]
            )
            file.writelines(f"{event['message']}\n" for page in pages for event in page["events"])
