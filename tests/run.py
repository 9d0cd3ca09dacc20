"""Runs the tests, each suite in its own environment: `python -m tests.run [--coverage] [pytest's arguments]`.

Paths in the arguments select their suites. The run ends after the first failed suite.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
NO_TESTS_COLLECTED = 5


@dataclass(frozen=True)
class Suite:
    """The tests of one pytest process. A suite without folders has all tests that are in no other suite."""

    environment: str
    folders: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    """Folders of another suite that this suite also runs, in its own environment."""
    only_by_name: bool = False
    """It runs only if one of its paths is given."""


WORKER = Suite("worker", ("tests/worker", "tests/fine_tuning"), shared=("tests/contract",))
BATCHED_ENGINE = Suite(
    "batched-engine",
    ("tests/batched_engine",),
    ("-o", "pythonpath=. worker_image/engines worker_image/engines/deepspeech-batched"),
)
FAULTS = Suite("airflow", ("tests/faults",), ("-p", "no:logging"))
# It has a local AWS of its own, with another stack of the same name.
ON_DEMAND = Suite("airflow", ("tests/on_demand",), ("-p", "no:logging"))
# Playwright's loop would be in the way of tests with loops of their own.
PAGE = Suite("airflow", ("tests/page",))
IMAGE = Suite("airflow", ("tests/image",), only_by_name=True)
SPECIAL = (FAULTS, ON_DEMAND, PAGE, WORKER, BATCHED_ENGINE, IMAGE)
REST = Suite("airflow", (), tuple(f"--ignore={folder}" for suite in SPECIAL for folder in suite.folders))
SUITES = (REST, *SPECIAL)


def owner(test: str) -> Suite | None:
    """The suite of a test's path, which may end with `::name`. None if the path contains several suites."""
    path = Path(test.partition("::")[0]).resolve().relative_to(PROJECT)
    if len(path.parts) < 2:
        return None
    return next((suite for suite in SUITES if "/".join(path.parts[:2]) in suite.folders), REST)


def is_path(argument: str) -> bool:
    return argument.startswith("tests") and Path(argument.partition("::")[0]).exists()


def main(arguments: Sequence[str]) -> int:
    coverage = "--coverage" in arguments
    given = [argument for argument in arguments if argument != "--coverage"]
    paths = [argument for argument in given if is_path(argument)]
    options = [argument for argument in given if argument not in paths]
    owners = {path: owner(path) for path in paths}
    found = False
    for suite in SUITES:
        chosen = [path for path, its in owners.items() if its is suite]
        if (not paths or None in owners.values()) and not suite.only_by_name:
            chosen = [*suite.folders, *suite.shared] or ["tests"]
        if not chosen:
            continue
        python = str(PROJECT / ".venv" / suite.environment / "bin" / "python")
        program = ["-m", "coverage", "run", "-m", "pytest"] if coverage else ["-m", "pytest"]
        code = subprocess.run(
            [python, *program, *suite.options, *options, *chosen], cwd=PROJECT, check=False
        ).returncode
        if code and not (code == NO_TESTS_COLLECTED and given):
            return code
        found = found or code == 0
    if not found:
        print(f"No test was run: none matches {' '.join(given)}", file=sys.stderr)
        return NO_TESTS_COLLECTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
