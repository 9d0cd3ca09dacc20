"""What 1,000 hours of audio cost: two processes of an engine side by side, as in a child with 2 vCPUs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from benchmark import corpus, prices, ways
from benchmark.document import ROOT, table
from benchmark.rounds import turns
from benchmark.ways import Model
from transcriber.engine_programs import PROGRAMS, EngineProcess, EngineSpec, engine_programs
from transcriber.samples import Samples

PROCESSES = 2
PIECES = 64
"""For each process: as many as the worker sends at once to an engine that works in batches."""
PIECE_SECONDS = 10
LIMIT_SECONDS = 3600.0


KEPT = ROOT / "benchmark" / "child_costs.json"
USUAL = "`deepspeech-batched`, `.tflite`, large scorer"
"""A deployment's usual engine and model."""


@dataclass(frozen=True)
class Way:
    """An engine with a model."""

    engine: str
    model: Model
    pieces: int = PIECES
    """For each process."""


def ways_to_compare() -> dict[str, Way]:
    """The default engine with three models, and libdeepspeech with the first of them."""
    tflite = Model(ways.FULL_SIZE, ways.full_size_scorer())
    pbmm = Model(ways.full_size_pbmm().path, ways.full_size_scorer())
    return {
        USUAL: Way("deepspeech-batched", tflite),
        "`deepspeech-batched`, `.tflite`, no scorer": Way("deepspeech-batched", Model(ways.FULL_SIZE)),
        "`deepspeech-batched`, `.pbmm`, large scorer": Way("deepspeech-batched", pbmm),
        "`deepspeech-tflite`, `.tflite`, large scorer": Way("deepspeech-tflite", tflite, pieces=16),
    }


def measure(rounds: int) -> dict[str, list[float]]:
    """Run each way on speech, in turns. Return the CPU seconds for a second of audio in each round."""
    speech = corpus.long_clip(10).samples
    length = PIECE_SECONDS * corpus.RATE
    pieces = [speech[start : start + length] for start in range(0, len(speech) - length + 1, length)]
    compared = ways_to_compare()
    found: dict[str, list[float]] = {name: [] for name in compared}
    for number, name in turns(rounds, compared):
        spent = side_by_side(compared[name], pieces)
        found[name].append(spent)
        print(f"round {number + 1}: {name}: {spent:.4f} CPU-s a second of audio", flush=True)
    return found


def side_by_side(way: Way, pieces: Sequence[Samples]) -> float:
    """Let each process recognise its pieces, after both have loaded the model.

    Returns:
        CPU seconds for a second of audio of both processes, which slow each other down.
    """
    shares = [
        [pieces[(process + number * PROCESSES) % len(pieces)] for number in range(way.pieces)]
        for process in range(PROCESSES)
    ]
    with _engine(way) as one, _engine(way) as other, ThreadPoolExecutor(PROCESSES) as threads:
        spent = sum(threads.map(_recognise, (one, other), shares))
    seconds = sum(len(piece) for share in shares for piece in share) / corpus.RATE
    return spent / seconds


@contextmanager
def _engine(way: Way) -> Iterator[EngineProcess]:
    program = next(program for program in engine_programs(PROGRAMS) if program.name == way.engine)
    process = EngineProcess(EngineSpec(program, way.model.path, way.model.scorer, {}, readings=1))
    try:
        process.prepared()
        yield process
    finally:
        process.stop()


def _recognise(process: EngineProcess, pieces: Sequence[Samples]) -> float:
    """The CPU seconds."""
    at_once = process.prepared().pieces
    shares = [pieces[start : start + at_once] for start in range(0, len(pieces), at_once)]
    return sum(one.compute_seconds for share in shares for one in process.recognise(share, LIMIT_SECONDS))


def keep(found: Mapping[str, Sequence[float]], machine: str) -> dict[str, Any]:
    """Keep a child's seconds for a second of audio. The costs of a deployment are computed from the usual ones."""
    medians = {name: statistics.median(spent) / PROCESSES for name, spent in found.items()}
    kept = {"date": f"{date.today()}", "machine": machine, "usual": medians[USUAL], "seconds_of_a_child": medians}
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return kept


def cost_table(found: Mapping[str, Sequence[float]]) -> str:
    """The costs of 1,000 hours of audio, with the prices and the sum of docs/costs.md."""
    rows = []
    for name, spent in found.items():
        cpu = statistics.median(spent)
        hours = 1000 * cpu / PROCESSES
        usd = hours * prices.CHILD_HOUR, hours * prices.CHILD_HOUR_SPOT
        rows.append((name, f"{cpu:.3f}", f"{hours:.1f}", *(f"{cost:.2f}" for cost in usd), f"{hours / 20:.1f} hours"))
    head = ["", "CPU-s a second of audio", "child-hours", "USD on demand", "USD on Spot", "20 children take"]
    return table(head, rows)
