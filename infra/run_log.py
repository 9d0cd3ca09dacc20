"""Picks the pipeline's own messages out of Airflow's log, which has many more. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BEGINNING = re.compile(r"\d{4}-\d\d-\d\dT\S+ \[\w+ *\] ")
_RECORD = re.compile(r"\S+ \[(?P<level>\w+) *\] (?P<text>.*?) *\[(?P<logger>[\w.]+)\](?: .*)?\bloc=\S+.*", re.DOTALL)
_OPERATORS = "airflow.task.operators."
_NOISE = "AWS Batch job"  # the provider's long lines


def _is_own(logger: str) -> bool:
    return logger.removeprefix(_OPERATORS).startswith("transcription.")


class OwnMessages:
    """Reads a log line by line. A message may have several lines."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def feed(self, line: str) -> str | None:
        """Take a line. Return the message that it completes, if that is the pipeline's."""
        if _BEGINNING.match(line):
            self._lines = []
        self._lines.append(line)
        found = _RECORD.fullmatch("\n".join(self._lines))
        if found is None or not _BEGINNING.match(self._lines[0]):
            return None
        self._lines = []
        if not _is_own(found["logger"]) or _NOISE in found["text"]:
            return None
        return found["text"].rstrip()


def own_event(event: Mapping[str, Any] | str) -> str | None:
    """The message of an event of a task's log as Airflow's REST API returns it, if it is the pipeline's."""
    if isinstance(event, str) or not _is_own(str(event.get("logger", ""))) or _NOISE in str(event["event"]):
        return None
    return str(event["event"])
