"""Starts a run of a stack with Amazon MWAA, and follows it, by Airflow's REST API.

https://docs.aws.amazon.com/mwaa/latest/userguide/access-mwaa-apache-airflow-rest-api.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from run_log import own_event

DAG = "/dags/transcription"
ENDED = ("success", "failed")
NOT_STARTED = (None, "none", "scheduled", "queued", "skipped", "upstream_failed", "removed")


class PausedError(Exception):
    """The DAG is paused, so a run would never start."""


class MwaaRun:
    """A run of the DAG on Amazon MWAA.

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
        self._mwaa = clients("mwaa")
        self._environment = outputs["AirflowEnvironmentName"]
        self._url = outputs["AirflowUrl"]
        self._say = say
        self._poll_seconds = poll_seconds
        self._run_id = ""
        self._said: set[tuple[str, str]] = set()

    def start(self, params: Mapping[str, Any]) -> str:
        """Trigger the DAG. Return the run's id.

        Raises:
            PausedError: the DAG is paused.
        """
        if self._ask("GET", DAG)["is_paused"]:
            raise PausedError(f"The DAG is paused. Switch it on in Airflow's UI first: {self._url}")
        answer = self._ask("POST", f"{DAG}/dagRuns", {"logical_date": None, "conf": dict(params)})
        self._run_id = str(answer["dag_run_id"])
        return self._run_id

    def follow(self) -> bool:
        """Print the run's messages until its end. Return whether it succeeded."""
        run = f"{DAG}/dagRuns/{quote(self._run_id, safe=':+')}"
        while True:
            state = self._ask("GET", run)["state"]
            for task in self._ask("GET", f"{run}/taskInstances")["task_instances"]:
                if task["state"] not in NOT_STARTED:
                    self._read(f"{run}/taskInstances", task["task_id"], max(1, task["try_number"]))
            if state in ENDED:
                return bool(state == "success")
            time.sleep(self._poll_seconds)

    def where_the_log_is(self) -> str:
        """Where the whole log is."""
        return f"{self._url}{DAG}/runs/{quote(self._run_id, safe='')}"

    def _read(self, tasks: str, task: str, attempt: int) -> None:
        """Print the new messages of a task's attempt. Airflow may return one twice, from a file and from a worker."""
        content = self._ask("GET", f"{tasks}/{task}/logs/{attempt}", query={"full_content": "true"})["content"]
        for message in filter(None, map(own_event, content)):
            if (task, message) not in self._said:
                self._said.add((task, message))
                self._say(message)

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {"Body": body, "QueryParameters": query}
        return self._mwaa.invoke_rest_api(
            Name=self._environment,
            Path=path,
            Method=method,
            **{name: value for name, value in given.items() if value is not None},
        )["RestApiResponse"]
