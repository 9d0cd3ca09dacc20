"""Writes measured tables into pages of docs/, between the two markers of each part."""

from __future__ import annotations

import json
import platform
import re
import resource
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
COSTS = ROOT / "docs" / "costs.md"
ENGINES_PAGE = ROOT / "docs" / "engines.md"
BATCHED = ROOT / "docs" / "batched-engine.md"
RESULTS = ROOT / ".local" / "bench"


def write(part: str, body: str, facts: Any, page: Path = PAGE) -> None:
    """Write a part's tables into the page, and its figures to a JSON file in RESULTS.

    Raises:
        ValueError: the page has no markers for the part.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{part}.json").write_text(json.dumps(facts, indent=1))
    text = page.read_text("utf-8")
    found = re.sub(
        rf"(<!-- {part} -->\n).*?(<!-- end of {part} -->)",
        lambda parts: f"{parts[1]}{body.strip()}\n\n{parts[2]}",
        text,
        flags=re.DOTALL,
    )
    if f"<!-- {part} -->" not in text:
        raise ValueError(
            f"{page} has no markers <!-- {part} --> and <!-- end of {part} -->. Add them where the tables belong."
        )
    page.write_text(found, "utf-8")
    print(f"\n## {part}\n\n{body}", flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def machine() -> str:
    """The CPUs, and the share that other programs used since this program's start: their load distorts wall times."""
    found = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    busy, total, own = (now - before for now, before in zip(_cpu_seconds(), _AT_START, strict=True))
    others = max(0.0, busy - own) / max(total, 1e-9)
    return (
        f"{len(found)} CPUs ({found[0] if found else platform.machine()}), {others:.0%} of them taken by other programs"
    )


def _cpu_seconds() -> tuple[float, float, float]:
    """CPU seconds: busy and total of all CPUs, and of this program with its finished child processes."""
    fields = [int(field) / 100 for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(fields) - idle, sum(fields), sum(one.ru_utime + one.ru_stime for one in used)


_AT_START = _cpu_seconds()
