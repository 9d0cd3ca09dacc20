"""Runs the compared programs in turns, round after round, and compares them within each round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from benchmark.ways import Outcome

Rounds = dict[str, list[Outcome]]
Item = TypeVar("Item")


def turned[Item](items: Iterable[Item], number: int) -> list[Item]:
    """The items, reversed in every second round, so that a change of the machine's speed affects all equally."""
    return list(items)[:: 1 if number % 2 == 0 else -1]


def turns(rounds: int, names: Iterable[str]) -> Iterator[tuple[int, str]]:
    """All names in each round. Yields (number of the round, name)."""
    forwards = list(names)
    for number in range(rounds):
        for name in turned(forwards, number):
            yield number, name


def in_turns(rounds: int, named: dict[str, Callable[[], Outcome]]) -> Rounds:
    """Run everything once in each round."""
    found: Rounds = {name: [] for name in named}
    for number, name in turns(rounds, named):
        run = named[name]()
        found[name].append(run)
        print(f"round {number + 1}: {name}: {run.wall:.2f} s, {run.cpu:.2f} CPU-s", flush=True)
    return found


def medians(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Combine the rows of all rounds: each row has its median cost. The words are the same in all rounds."""
    return [{**same[0], "rtf": statistics.median(row["rtf"] for row in same)} for same in zip(*rounds, strict=True)]


def paired(found: Rounds, first: str, second: str, what: Callable[[Outcome], float]) -> float:
    """The median over the rounds of the ratio `first` / `second` within a round."""
    return statistics.median(what(a) / what(b) for a, b in zip(found[first], found[second], strict=True))


def speed_up(found: Rounds, fast: str, slow: str) -> float:
    return paired(found, slow, fast, wall)


def same_texts(first: Outcome, second: Outcome) -> int:
    """The number of recordings with the same words. Ignores spaces: without a scorer an engine may write two spaces."""
    return sum(text.split() == second.texts[name].split() for name, text in first.texts.items())


def cpu(run: Outcome) -> float:
    return run.cpu


def wall(run: Outcome) -> float:
    return run.wall


def memory(run: Outcome) -> float:
    return run.peak_mb
