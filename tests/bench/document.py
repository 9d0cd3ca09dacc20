"""docs/benchmarks.md: prose by hand, and between two markers each what was measured."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
RESULTS = ROOT / ".local" / "bench"


def write(part: str, body: str, facts: Any) -> None:
    """Put a part's tables into the page and its figures beside the run's others."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{part}.json").write_text(json.dumps(facts, indent=1))
    page = PAGE.read_text("utf-8")
    found = re.sub(
        rf"(<!-- {part} -->\n).*?(<!-- end of {part} -->)",
        lambda parts: f"{parts[1]}{body.strip()}\n\n{parts[2]}",
        page,
        flags=re.DOTALL,
    )
    if f"<!-- {part} -->" not in page:
        raise ValueError(f"{PAGE} has no place for {part}")
    PAGE.write_text(found, "utf-8")
    print(f"\n## {part}\n\n{body}", flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def machine() -> str:
    """The processor, as the kernel names it, and how many of it."""
    found = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{len(found)} CPUs, {found[0] if found else platform.machine()}"
