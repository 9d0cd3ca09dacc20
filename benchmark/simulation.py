"""What a night costs and when it is done, by how the files are shared out: a simulation, without AWS.

Every figure is counted, none is timed: a container starts for START seconds, then works off its files one by one on
ENGINES engines; Spot takes containers away at random (Poisson) and Batch starts them again, where what is in the bucket
is not done again. Compared: the project's plan, the original's split by count with its model load a file, and the
ideal, in which all work is spread evenly and every second is audio.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from benchmark.document import table
from transcription import planning
from transcription.settings import Settings
from transcription_contract.manifest import Recording

START = 60.0  # seconds: placing the container, pulling the image
LOAD = 1.5  # seconds: from the process's start to an engine that is ready
RTF = Settings.cpu_seconds_per_audio_second  # of an engine beside another
ENGINES = 2  # of a child of 2 vCPU
OVERHEAD = 0.016  # CPU-seconds a file beside the engine
ORIGINAL_LOAD = 1.0  # seconds a file: process, model and scorer
RECLAIMS_PER_HOUR = 0.05  # of each container: about one in twenty an hour
MIN_BILLED = 60.0  # Fargate bills a minute at least
HOUR = 3600.0


@dataclass(frozen=True)
class Result:
    files: int
    way: str
    children: int
    makespan: float  # seconds until the last child has ended, with as many at once as there are children
    billed: float  # vCPU-seconds
    ideal: float  # vCPU-seconds of the audio alone


def recordings(count: int) -> list[Recording]:
    """Lengths as people's are: half below a minute, few up to an hour."""
    chance = random.Random(7)  # noqa: S311
    moment = datetime(2026, 11, 20)
    return [
        Recording(f"input/{number}.wav", "", int(32_000 * min(chance.lognormvariate(4, 1.5), HOUR)), moment, "")
        for number in range(count)
    ]


def results(quick: bool) -> Iterator[Result]:
    for count in (10, 100, 1_000, 10_000, 100_000, 1_000_000)[: 3 if quick else None]:
        lines = recordings(count)
        audio = sum(map(planning.audio_seconds, lines))
        ideal = audio * RTF
        for limit, minutes in ((1, 60), (20, 60), (1_000, 60), (10_000, 60), (10_000, 15)):
            children = planning.child_count(audio, count, max_instances=limit, audio_minutes_per_child=minutes)
            work = [[own_seconds(line) for line in share] for share in planning.split(lines, children)]
            yield Result(count, f"plan: at most {limit:,}, {minutes} min", children, *billed(work, LOAD), ideal)
        for limit in (20, 10_000):
            children = min(limit, count)
            shares = [[original_seconds(line) for line in lines[child::children]] for child in range(children)]
            yield Result(count, f"by count: {limit:,}", children, *billed(shares, 0.0), ideal)


def own_seconds(line: Recording) -> float:
    """Wall seconds of a recording in a child with all its engines busy."""
    return (planning.audio_seconds(line) * RTF + OVERHEAD) / ENGINES


def original_seconds(line: Recording) -> float:
    """Wall seconds of a recording alone in a child: one process a file, one engine."""
    return planning.audio_seconds(line) * RTF + ORIGINAL_LOAD


def billed(shares: Sequence[Sequence[float]], load: float) -> tuple[float, float]:
    """The last child's end, and the vCPU-seconds of all, when Spot takes containers away.

    Files under way when a container is taken are done again, and so is the start.
    """
    chance = random.Random(11)  # noqa: S311
    ends = []
    total = 0.0
    for share in shares:
        end, seconds = _child(share, load, chance)
        ends.append(end)
        total += seconds * ENGINES
    return max(ends), total


def _child(share: Sequence[float], load: float, chance: random.Random) -> tuple[float, float]:
    """When a child ends and how many container-seconds are billed for it."""
    clock = paid = 0.0
    waiting = list(share)
    waiting.reverse()  # largest first, from the end
    while True:
        life = chance.expovariate(RECLAIMS_PER_HOUR / HOUR)
        spent = START + load
        while waiting and spent + waiting[-1] <= life:
            spent += waiting.pop()
        spent = min(spent, life) if not waiting else life
        clock += spent
        paid += max(MIN_BILLED, spent)
        if not waiting:
            return clock, paid


def described(results: Sequence[Result]) -> str:
    rows = [
        (
            f"{result.files:,}", result.way, f"{result.children:,}", _time(result.makespan),
            f"{result.billed / 3600:,.1f}", f"{result.billed / result.ideal:.2f}",
        )
        for result in results
    ]  # fmt: skip
    return table(["files", "way", "children", "all done after", "vCPU-hours billed", "of the ideal"], rows)


def _time(seconds: float) -> str:
    if seconds < 2 * HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / HOUR:,.1f} h" if seconds < 100 * HOUR else f"{seconds / HOUR / 24:,.0f} d"
