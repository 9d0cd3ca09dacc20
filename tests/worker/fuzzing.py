"""How much is fuzzed: little with the other tests, FUZZ times as much by `make fuzz`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import settings

from tests.worker.harness import ROOT

FUZZ = int(os.environ.get("FUZZ", "1"))


def bounded(examples: int) -> Any:
    """Settings of a hypothesis test with that many examples in a usual run."""
    return settings(max_examples=examples * FUZZ, deadline=None)


def keep(content: bytes) -> None:
    """Leave the input at hand behind for whoever looks into a native crash, which ends the test process."""
    if FUZZ > 1:
        folder: Path = ROOT / ".local" / "fuzz"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "last").write_bytes(content)
