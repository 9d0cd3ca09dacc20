"""What accounting leaves in the bucket: the report of each plan of a run, and the totals of the whole run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

SCHEMA = 3


def to_bytes(summary: Mapping[str, Any]) -> bytes:
    """A report, or the totals of a run, as it stands in the bucket."""
    return json.dumps({"schema": SCHEMA, **summary}, indent=1).encode()


def read(body: bytes | None) -> dict[str, Any] | None:
    """The report without its schema, or None if it does not exist or has another version."""
    report = json.loads(body) if body else {}
    return report if report.pop("schema", None) == SCHEMA else None
