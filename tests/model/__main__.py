"""Plays many sequences and prints the shortest sequence for each broken promise.

python -m tests.model --sequences 10000 --seed 1
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings

import tests.conftest  # noqa: F401, sets Airflow's home
from tests.model import pipeline
from tests.model.ledger import Broken
from tests.model.sequences import Play, Sequence, sequences

PROGRESS_SECONDS = 10.0


@dataclass
class Search:
    """The number of played sequences and the broken promises so far."""

    without: list[str]
    started: float = field(default_factory=time.monotonic)
    played: int = 0
    steps: int = 0
    found: Counter[str] = field(default_factory=Counter)
    _printed_at: float = field(default_factory=time.monotonic)

    def play(self, sequence: Sequence, known: set[str], shrinking: bool) -> None:
        """Play a sequence. If it breaks a known promise, only count this."""
        play = Play(sequence, self.without)
        try:
            play.run()
        except Exception as error:
            promise = error.promise if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
            if not shrinking:
                self.found[promise] += 1
            if promise not in known:
                raise _kind(promise)(str(error)) from error
        finally:
            if not shrinking:
                self.played += 1
                self.steps += play.steps
        if time.monotonic() - self._printed_at >= PROGRESS_SECONDS:
            self._printed_at = time.monotonic()
            print(self, flush=True)

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        broken = sum(self.found.values())
        return (
            f"{self.played} sequences with {self.steps} steps in {seconds:.0f} s: "
            f"{len(self.found)} promises broken, by {broken} sequences"
        )


_kinds: dict[str, type[Exception]] = {}


def _kind(promise: str) -> type[Exception]:
    """An exception class for each promise, because Hypothesis distinguishes failures by their class."""
    return _kinds.setdefault(promise, type(f"Broken: {promise}", (Exception,), {}))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop", action="store_true", help="stop after the first broken promise")
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="ACTION", help="actions to leave out, such as PutOwnFile"
    )
    options = parser.parse_args(arguments)
    search = Search(options.without)
    known: set[str] = set()
    round_number = 0
    with pipeline.installed():
        while search.played < options.sequences:
            shortest = _search(search, known, options.sequences - search.played, options.seed * 1000 + round_number)
            round_number += 1
            if shortest is None:
                continue
            promise, sequence, detail = shortest
            known.add(promise)
            search.found[promise] = max(1, search.found[promise])  # shrinking can find another promise
            seconds = time.monotonic() - search.started
            print(f"\nBroken after {search.played} sequences and {seconds:.0f} s (with shrinking): {detail}")
            print(f"  names {sequence.names}")
            for action in sequence.actions:
                print(f"  {action}")
            print(flush=True)
            if options.stop:
                break
    print(f"\nSeed {options.seed}: {search}")
    for promise, times in search.found.most_common():
        print(f"  {times:5} {promise}")
    return 1 if search.found else 0


def _search(search: Search, known: set[str], limit: int, number: int) -> tuple[str, Sequence, str] | None:
    """Search for a broken promise that is not in `known`. Return it with its shortest sequence."""
    failing: list[tuple[str, Sequence, str]] = []

    @seed(number)
    @settings(
        max_examples=limit,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences)
    def plays(sequence: Sequence) -> None:
        try:
            search.play(sequence, known, shrinking=bool(failing))
        except Exception as error:
            promise = next(promise for promise, kind in _kinds.items() if isinstance(error, kind))
            failing.append((promise, sequence, str(error)))
            raise

    try:
        plays()
    except tuple(_kinds.values()):
        return failing[-1]
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
