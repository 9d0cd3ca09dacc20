"""Mutation tests: `python -m tests.mutants [FILTER]`.

The command makes each change of `changes.py` separately, in a copy of the project, and runs the tests of this change
there. A change that no test notices survives: the command prints it and exits with 1. It writes docs/mutants.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.changes import CHANGES, Change

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "mutants.md"
PARALLEL = 2
TIMEOUT = 600  # seconds for the tests of one change; a change that makes them hang counts as noticed


def copy_of_project(folder: Path) -> Path:
    """Copy the tracked files. Link to the environments and the synthesised template."""
    tree = folder / "tree"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True)
    for name in filter(None, tracked.stdout.split("\0")):
        if (PROJECT / name).exists():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, tree / name)
    (tree / "build").mkdir()
    for shared in (".venv", "build/cdk.out", "build/local", "build/models", "build/on_upload"):
        (tree / shared).symlink_to(PROJECT / shared)
    return tree


def survives(change: Change, tree: Path) -> bool:
    """Whether the change's tests pass on the changed code."""
    path = tree / change.file
    original = path.read_text("utf-8")
    if original.count(change.before) != 1:
        raise SystemExit(
            f"{change.file} must contain this exactly once: {change.before!r}. Update tests/mutants/changes.py."
        )
    path.write_text(original.replace(change.before, change.after), "utf-8")
    try:
        return tests_pass(change, tree)
    finally:
        path.write_text(original, "utf-8")


def tests_pass(change: Change, tree: Path) -> bool:
    """Whether the change's tests pass on the code in this folder."""
    # The copy must come before the editable install, which points to the project itself.
    path = os.pathsep.join(str(tree / name) for name in ("plugins", "worker_image", "infra"))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    python = str(PROJECT / ".venv" / change.environment / "bin" / "python")
    command = [python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *change.tests]
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):  # 1: a test failed; others: no test ran
        raise SystemExit(f"{change.file}: {' '.join(command)} exited with {done.returncode}:\n{done.stdout[-2000:]}")
    return done.returncode == 0


def check_unchanged(selected: list[Change], tree: Path) -> None:
    """Check that the tests pass without a change. Otherwise a failing test would seem to notice every change."""
    for change in {change.tests: change for change in selected}.values():
        if not tests_pass(change, tree):
            raise SystemExit(f"These tests fail without a change: {' '.join(change.tests)}")


def table(survivors: list[Change]) -> str:
    """A table of the noticed changes per module, and the survivors."""
    tried = Counter(change.file for change in CHANGES)
    left = Counter(change.file for change in survivors)
    rows = [f"| [`{file}`](../{file}) | {count} | {count - left[file]} |" for file, count in sorted(tried.items())]
    rows.append(f"| **all** | {len(CHANGES)} | {len(CHANGES) - len(survivors)} |")
    listed = [f"- `{change.file}`: `{change.after.strip()}`" for change in survivors]
    head = "| module | changes | noticed |\n| --- | ---: | ---: |\n"
    return head + "\n".join(rows) + "\n\n" + ("\n".join(["Survivors:", "", *listed]) if listed else "None survives.")


def write(text: str) -> None:
    """Write the table between the page's markers."""
    start, end = "<!-- mutants -->\n", "<!-- end of mutants -->"
    before, _, rest = PAGE.read_text("utf-8").partition(start)
    PAGE.write_text(f"{before}{start}{text}\n{end}{rest.partition(end)[2]}", "utf-8")


def main(name: str = "") -> int:
    selected = [change for change in CHANGES if name in change.file]
    survivors: list[Change] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(PARALLEL) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(PARALLEL):
            trees.put(copy_of_project(Path(folder) / str(number)))
        check_unchanged(selected, Path(folder) / "0" / "tree")

        def tried(change: Change) -> tuple[Change, bool]:
            tree = trees.get()
            try:
                return change, survives(change, tree)
            finally:
                trees.put(tree)

        for number, (change, survived) in enumerate(pool.map(tried, selected), start=1):
            result = "SURVIVES" if survived else "noticed"
            print(f"{number} of {len(selected)}: {result}: {change.file}: {change.after.strip()!r}", flush=True)
            survivors += [change] * survived
    print(f"{len(selected) - len(survivors)} of {len(selected)} changes are noticed.")
    if not name:
        write(table(survivors))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
