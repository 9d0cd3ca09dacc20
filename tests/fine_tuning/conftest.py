"""Fine-tuning but for the training itself, whose environment `make test` does without."""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
sys.path[:0] = [str(PROJECT), str(PROJECT / "worker_image"), str(PROJECT / "tests" / "bench")]
