"""Starts a run of a stack without Amazon MWAA, and follows it: it is a job of AWS Batch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from run_log import OwnMessages

from orchestrator import identity
from transcription_contract import deployment

ENDED = ("SUCCEEDED", "FAILED")
STATES = {
    "SUBMITTED": "The run waits for its container.",
    "RUNNABLE": "The run waits for its container.",
    "STARTING": "The container starts; its first message comes after about a minute.",
}

# ECS takes at most 8,192 characters of overrides, and the params are one:
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html
MOST_CHARACTERS = 6000


class TooLongError(Exception):
    """The params are longer than a container's arguments may be."""


class OnDemandRun:
    """A run of the DAG in a container.

    Args:
        clients: Makes a boto3 client, by the service's name.
        outputs: The stack's.
        say: Prints a message.
        poll_seconds: Time between two looks.
    """

    def __init__(
        self,
        clients: Callable[[str], Any],
        outputs: Mapping[str, str],
        say: Callable[[str], None],
        poll_seconds: float = 5.0,
    ) -> None:
        self._batch = clients("batch")
        self._logs = clients("logs")
        self._outputs = outputs
        self._say = say
        self._poll_seconds = poll_seconds
        self._job_id = ""
        self._stream = ""
        self._token: dict[str, str] = {}
        self._messages = OwnMessages()

    def start(self, params: Mapping[str, Any]) -> str:
        """Submit the job. Return the run's id.

        Raises:
            TooLongError: the params do not fit.
        """
        conf = json.dumps(params)
        if len(conf) > MOST_CHARACTERS:
            raise TooLongError(
                f"The params have {len(conf):,} characters, and a container's arguments may have {MOST_CHARACTERS:,}. "
                "Shorten the hot-words."
            )
        now = datetime.now(UTC)
        parameters = {deployment.RUN_TIME: now.isoformat(), deployment.RUN_CONF: conf}
        self._job_id = self._batch.submit_job(
            jobName=deployment.RUN_JOB,
            jobQueue=self._outputs["RunQueueArn"],
            jobDefinition=self._outputs["RunDefinitionName"],
            parameters=parameters,
        )["jobId"]
        return identity.run_id(now)

    def attach(self, job_id: str) -> None:
        """Follow a run that something else has started, by the id of its job."""
        self._job_id = job_id

    def follow(self) -> bool:
        """Print the run's messages until its end. Return whether it succeeded."""
        status = ""
        while status not in ENDED:
            job = self._batch.describe_jobs(jobs=[self._job_id])["jobs"][0]
            if job["status"] != status and job["status"] in STATES:
                self._say(STATES[job["status"]])
            status = job["status"]
            self._read(_log_stream(job))
            if status not in ENDED:
                time.sleep(self._poll_seconds)
        time.sleep(self._poll_seconds)  # the log's last lines come after the end
        self._read(_log_stream(job))
        return bool(status == "SUCCEEDED")

    def where_the_log_is(self) -> str:
        """Where the whole log is."""
        return f"log group {self._outputs['RunLogGroupName']}, stream {self._stream or 'none'}"

    def _read(self, stream: str) -> None:
        """Print the messages since the last look."""
        if not stream:
            return
        if stream != self._stream:
            if self._stream:
                self._say("The container was interrupted. Batch has started it again, and it goes on with the run.")
            self._stream, self._token, self._messages = stream, {}, OwnMessages()
        while True:
            try:
                answer = self._logs.get_log_events(
                    logGroupName=self._outputs["RunLogGroupName"],
                    logStreamName=stream,
                    startFromHead=True,
                    **self._token,
                )
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":  # nothing is written yet
                    return
                raise
            for event in answer["events"]:
                message = self._messages.feed(event["message"])
                if message:
                    self._say(message)
            token = {"nextToken": answer["nextForwardToken"]}
            if token == self._token or not answer["events"]:
                return
            self._token = token


def _log_stream(job: Mapping[str, Any]) -> str:
    """The log stream of the newest attempt; empty before there is one."""
    attempts = job.get("attempts", ())
    for part in (job.get("ecsProperties"), *reversed(attempts)):
        for task in (part or {}).get("taskProperties", ()):
            for container in task.get("containers", ()):
                if container.get("logStreamName"):
                    return str(container["logStreamName"])
    return ""
