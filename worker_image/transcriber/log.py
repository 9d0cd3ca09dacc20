"""Structured logs: one JSON object a line on stdout.

Everything outside printable ASCII is escaped, so that no file name can end a line or forge another one.
"""

from __future__ import annotations

import json
import sys
import threading
from datetime import UTC, datetime

_one_line_at_a_time = threading.Lock()


def now() -> str:
    """The time as ISO-8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log(event: str, level: str = "info", **facts: object) -> None:
    """Write one event with its facts (JSON values; anything else as its text)."""
    line = json.dumps({"time": now(), "level": level, "event": event, **facts}, default=str)
    with _one_line_at_a_time:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
