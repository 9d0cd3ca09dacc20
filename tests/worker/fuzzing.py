"""The number of fuzzing examples: few in a normal test run, FUZZ times as many with `make fuzz`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import settings

from tests.worker.harness import ROOT

FUZZ = int(os.environ.get("FUZZ", "1"))


def bounded(examples: int) -> Any:
    """Settings of a Hypothesis test with this number of examples in a normal run."""
    return settings(max_examples=examples * FUZZ, deadline=None)


def keep(content: bytes) -> None:
    """Write the input to a file for debugging, because a native crash ends the test process."""
    if FUZZ > 1:
        folder: Path = ROOT / ".local" / "fuzz"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "last").write_bytes(content)
