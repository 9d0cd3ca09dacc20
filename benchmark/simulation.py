"""Simulates the cost and the duration of a run for different ways to split the files, without AWS.

The simulation measures no time. A container needs START seconds to start, then processes its files one after the other
on ENGINES engines. Spot stops containers at random (Poisson), and Batch starts them again. A restarted container skips
finished files. The simulation compares the project's plan, the original's split by count with a model load per file,
and the ideal: evenly distributed work without overhead.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.document import table
from transcription import planning
from transcription_contract.speech_engines import SpeechEngine

START = 60.0  # seconds: placing the container, pulling the image
LOAD = 1.5  # seconds: from the process's start to an engine that is ready
_FULL_SIZE = 47_356_848  # bytes of a full-size .tflite


def _cpu_seconds(engine: str) -> float:
    """An engine's CPU time for a second of audio, with a scorer, while another engine works."""
    toml = Path(__file__).parents[1] / "worker_image" / "engines" / engine / "engine.toml"
    found = SpeechEngine.of_toml(engine, toml.read_text("utf-8"))
    return found.cpu_seconds_of(_FULL_SIZE, has_scorer=True) or 0.0


RTF = _cpu_seconds("deepspeech-batched")
ORIGINAL_RTF = _cpu_seconds("deepspeech-tflite")
ENGINES = 2  # of a child with 2 vCPUs
OVERHEAD = 0.016  # CPU-seconds per file outside the engine
ORIGINAL_LOAD = 1.0  # seconds per file: process, model and scorer
RECLAIMS_PER_HOUR = 0.05  # per container: Spot stops about one in twenty containers each hour
MIN_BILLED = 60.0  # seconds: Fargate bills at least one minute
HOUR = 3600.0


@dataclass(frozen=True)
class Result:
    files: int
    way: str
    children: int
    makespan: float  # seconds until the last child ends, if all children run at the same time
    billed: float  # vCPU-seconds
    ideal: float  # vCPU-seconds of the audio alone


def audio_seconds(count: int) -> list[float]:
    """Realistic durations of `count` recordings in seconds: half are below a minute, a few take up to an hour."""
    chance = random.Random(7)  # noqa: S311
    return [min(chance.lognormvariate(4, 1.5), HOUR) for _ in range(count)]


def results(quick: bool) -> Iterator[Result]:
    for count in (10, 100, 1_000, 10_000, 100_000, 1_000_000)[: 3 if quick else None]:
        seconds = audio_seconds(count)
        audio = sum(seconds)
        ideal = audio * RTF
        for limit, minutes in ((1, 60), (20, 60), (1_000, 60), (10_000, 60), (10_000, 15)):
            children = planning.child_count(audio, count, max_instances=limit, audio_minutes_per_child=minutes)
            work = [[own_seconds(seconds[row]) for row in share] for share in planning.split(seconds, children)]
            yield Result(count, f"plan: at most {limit:,}, {minutes} min", children, *billed(work, LOAD), ideal)
        for limit in (20, 10_000):
            children = min(limit, count)
            shares = [[original_seconds(one) for one in seconds[child::children]] for child in range(children)]
            yield Result(count, f"by count: {limit:,}", children, *billed(shares, 0.0), ideal)


def own_seconds(audio_seconds: float) -> float:
    """Wall seconds for a recording in a child whose engines are all busy."""
    return (audio_seconds * RTF + OVERHEAD) / ENGINES


def original_seconds(audio_seconds: float) -> float:
    """Wall seconds for a recording in the original's way: one process per file, one engine."""
    return audio_seconds * ORIGINAL_RTF + ORIGINAL_LOAD


def billed(shares: Sequence[Sequence[float]], load: float) -> tuple[float, float]:
    """Simulate children with Spot interruptions.

    After an interruption, the start and the current file are repeated.

    Args:
        shares: for each child, the wall seconds of its files.
        load: seconds to load the model after a start.

    Returns:
        the end of the last child in seconds, and the billed vCPU-seconds of all children.
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
    """A child's end in seconds, and its billed container-seconds."""
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
