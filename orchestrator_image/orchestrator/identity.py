"""Which run a container works for, and whether another container does so already. Pure functions.

A run's id is made of a time that is the same at every start: manifests, claims and the Batch job's name are made of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from transcription_contract import deployment


class BadStartError(Exception):
    """The container was started with arguments that make no run. The message says which ones it takes."""


def run_time(text: str, job: Mapping[str, Any]) -> datetime:
    """The time that the run's id is made of.

    Args:
        text: The argument: ISO 8601 with an offset, or `deployment.TIME_OF_SUBMISSION`.
        job: The description of this container's Batch job. Batch keeps the time of submission for all attempts.

    Raises:
        BadStartError: the text is no time.
    """
    if text == deployment.TIME_OF_SUBMISSION:
        return datetime.fromtimestamp(job["createdAt"] / 1000, UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadStartError(
            f"The parameter {deployment.RUN_TIME} is {text!r}. It must be a time such as 2026-11-25T01:00:00Z, or "
            f"{deployment.TIME_OF_SUBMISSION!r}."
        ) from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def run_params(text: str) -> dict[str, Any]:
    """The run's params.

    Args:
        text: The argument: a JSON object.

    Raises:
        BadStartError: the text is no JSON object.
    """
    try:
        params = json.loads(text)
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise BadStartError(
            f'The parameter {deployment.RUN_CONF} is {text!r}. It must be a JSON object such as {{"prefix": "calls/"}}.'
        )
    return params


def run_id(time: datetime) -> str:
    """The id that Airflow gives to a manual run of this logical date."""
    return f"manual__{time.isoformat()}"


def earlier_job(own: Mapping[str, Any], live: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The live job that works for the same run and was submitted before this one; None if this one is the first.

    Args:
        own: The description of this container's job.
        live: The descriptions of the live jobs of its queue.
    """
    time = _time_of(own)

    def order(job: Mapping[str, Any]) -> tuple[int, str]:
        return job["createdAt"], job["jobId"]

    others = [job for job in live if order(job) < order(own) and _is_for(job, time)]
    return min(others, key=order, default=None)


def _is_for(job: Mapping[str, Any], time: datetime) -> bool:
    try:
        return _time_of(job) == time
    except BadStartError:
        return False


def _time_of(job: Mapping[str, Any]) -> datetime:
    return run_time(job["parameters"].get(deployment.RUN_TIME, deployment.TIME_OF_SUBMISSION), job)
