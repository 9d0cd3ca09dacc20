"""Runs the tests, each suite in its own environment: `python -m tests.run [--coverage] [--jobs N] [ARGUMENT ...]`.

The arguments are pytest's. Paths in them select their suites. N suites run at the same time, by default one for two
CPUs, because a suite itself runs containers side by side. The output of a suite then appears after its end: everything
if it failed, else its summary. A suite that runs alone prints its output at once. All suites run to their end, even
after one failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

PROJECT = Path(__file__).resolve().parents[1]
OUTPUTS = PROJECT / "build" / "test-output"
NO_TESTS_COLLECTED = 5
PROGRESS_SECONDS = 60


@dataclass(frozen=True)
class Suite:
    """The tests of one pytest process: those under its paths that are in no other suite.

    Suites may run at the same time. So each has an Airflow home of its own (tests/conftest.py), and takes free ports.
    """

    name: str
    environment: str
    paths: tuple[str, ...]
    options: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    """Folders of another suite that this suite also runs, in its own environment."""
    only_by_name: bool = False
    """It runs only if one of its paths is given."""


# Long suites come first, so that no CPU is idle at the end.
SUITES = (
    Suite("pipeline", "airflow", ("tests/pipeline",)),
    Suite("infra", "airflow", ("tests/infra",)),
    Suite("worker", "worker", ("tests/worker", "tests/fine_tuning"), shared=("tests/contract",)),
    Suite("image", "airflow", ("tests/image",), only_by_name=True),
    # Playwright's loop would be in the way of tests with loops of their own.
    Suite("page", "airflow", ("tests/page",)),
    Suite("faults", "airflow", ("tests/faults",), ("-p", "no:logging")),
    # It has a local AWS of its own, with another stack of the same name.
    Suite("on-demand", "airflow", ("tests/on_demand",), ("-p", "no:logging")),
    Suite("ui", "airflow", ("tests/pipeline/test_ui.py", "tests/pipeline/test_first_run.py")),
    Suite("rest", "airflow", ("tests",)),
    Suite(
        "batched-engine",
        "batched-engine",
        ("tests/batched_engine",),
        ("-o", "pythonpath=. worker_image/engines worker_image/engines/deepspeech-batched"),
    ),
)


def is_in(path: str, folder: str) -> bool:
    return PurePath(path).is_relative_to(folder)


def file_of(test: str) -> str:
    """The path in the project of a test's file or folder, which may end with `::name`."""
    return Path(test.partition("::")[0]).resolve().relative_to(PROJECT).as_posix()


def owner(path: str) -> Suite:
    """The suite with the tests of this file, or most of those of this folder."""
    holders = [(len(own), suite) for suite in SUITES for own in suite.paths if is_in(path, own)]
    return max(holders, key=lambda holder: holder[0])[1]


def selected(suite: Suite, given: Sequence[str]) -> list[str]:
    """The paths that a suite runs if these are given. Without any, all suites run but those that run only by name."""
    if not given:
        return [] if suite.only_by_name else [*suite.paths, *suite.shared]
    own = [test for test in given if owner(file_of(test)) is suite]
    if suite.only_by_name:
        return own
    folders = [file_of(test) for test in given]
    inside = [path for path in suite.paths if any(path != folder and is_in(path, folder) for folder in folders)]
    return [*own, *inside, *(suite.shared if inside == [*suite.paths] else ())]


def ignored(suite: Suite) -> list[str]:
    """The paths of other suites under those of this suite."""
    others = (path for other in SUITES if other is not suite for path in other.paths)
    return [path for path in others if any(path != own and is_in(path, own) for own in suite.paths)]


def command(suite: Suite, paths: Iterable[str], options: Sequence[str], *, coverage: bool) -> list[str]:
    """The command line of a suite's pytest."""
    python = str(PROJECT / ".venv" / suite.environment / "bin" / "python")
    program = ["-m", "coverage", "run", "-m", "pytest"] if coverage else ["-m", "pytest"]
    # Suites that end at the same time must not overwrite each other's list of failed tests.
    apart = ["-o", f"cache_dir=.pytest_cache/{suite.name}", *(f"--ignore={path}" for path in ignored(suite))]
    return [python, *program, *apart, *suite.options, *options, *paths]


def variables(suite: Suite) -> Mapping[str, str]:
    """The environment variables of a suite's process."""
    return {**os.environ, "TEST_SUITE": suite.name}


def percentage(output: str) -> str:
    """How far pytest is, by its output, such as `[ 34%]`."""
    return (re.findall(r"\[ *\d+%\]", output) or ["[  0%]"])[-1]


def summary(output: str) -> str:
    """The end of pytest's output: which tests were skipped, and why, and how many passed."""
    lines = output.rstrip().splitlines()
    start = next((number for number, line in enumerate(lines) if "short test summary info" in line), len(lines) - 1)
    return "\n".join(lines[max(start, 0) :])


@dataclass(frozen=True)
class Running:
    """A suite that runs, whose output goes to a file."""

    suite: Suite
    process: subprocess.Popen[bytes]
    output: Path
    started: float

    def read(self) -> str:
        """What pytest printed so far."""
        return self.output.read_text("utf-8", errors="replace")

    def say_end(self) -> None:
        """Print what a reader needs of the output after the end."""
        code = self.process.returncode
        results = {0: "passed", NO_TESTS_COLLECTED: "has none of these tests"}
        text = summary(self.read()) if code in results else self.read().rstrip()
        seconds = time.monotonic() - self.started
        result = results.get(code, f"FAILED (exit code {code})")
        print(f"\n{text}\n{self.suite.name}: {result} after {seconds:.0f} s\n", flush=True)


def start(suite: Suite, arguments: Sequence[str]) -> Running:
    """Start the command of a suite, which cannot ask the user anything."""
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    path = OUTPUTS / f"{suite.name}.txt"
    with path.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=PROJECT,
            env=variables(suite),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    print(f"{suite.name}: starts; its output: {path.relative_to(PROJECT)}", flush=True)
    return Running(suite, process, path, time.monotonic())


def run_together(commands: Mapping[Suite, Sequence[str]], jobs: int) -> Iterator[tuple[Suite, int]]:
    """Run the suites' commands, so many at the same time. Yield each suite with its exit code when it has ended."""
    waiting = [*commands.items()]
    running: list[Running] = []
    said = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(start(*waiting.pop(0)))
            time.sleep(0.2)
            for ended in [each for each in running if each.process.poll() is not None]:
                running.remove(ended)
                ended.say_end()
                yield ended.suite, ended.process.returncode
            if running and time.monotonic() - said >= PROGRESS_SECONDS:
                said = time.monotonic()
                print(", ".join(f"{each.suite.name} {percentage(each.read())}" for each in running), flush=True)
    finally:  # after Ctrl-C, which the terminal also sends to the suites
        for each in running:
            each.process.wait()


def run_in_turn(commands: Mapping[Suite, Sequence[str]]) -> Iterator[tuple[Suite, int]]:
    """Run the suites' commands one after the other. They print their output themselves."""
    for suite, arguments in commands.items():
        yield suite, subprocess.run(arguments, cwd=PROJECT, env=variables(suite), check=False).returncode


def verdict(codes: Mapping[Suite, int], *, chosen: bool) -> int:
    """The exit code of all suites: of the first that failed, or else 0.

    Args:
        codes: The suites' exit codes.
        chosen: Whether the arguments choose tests, so that suites without any of them are no failure.
    """
    failed = [code for code in codes.values() if code and not (code == NO_TESTS_COLLECTED and chosen)]
    if failed:
        return failed[0]
    return 0 if 0 in codes.values() else NO_TESTS_COLLECTED


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 2))
    own, given = parser.parse_known_args(arguments)
    paths = [
        argument for argument in given if argument.startswith("tests") and Path(argument.partition("::")[0]).exists()
    ]
    options = [argument for argument in given if argument not in paths]
    chosen = {suite: selected(suite, paths) for suite in SUITES}
    commands = {
        suite: command(suite, folders, options, coverage=own.coverage) for suite, folders in chosen.items() if folders
    }
    alone = own.jobs == 1 or len(commands) == 1
    codes = dict(run_in_turn(commands) if alone else run_together(commands, own.jobs))
    code = verdict(codes, chosen=bool(given))
    if code == NO_TESTS_COLLECTED:
        print(f"No test was run: none matches {' '.join(given)}", file=sys.stderr)
    elif code:
        failed = [suite.name for suite, its in codes.items() if its not in (0, NO_TESTS_COLLECTED)]
        print(f"These suites failed: {', '.join(failed)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
