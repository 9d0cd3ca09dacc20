"""The batched engine compared with libdeepspeech: cost, small jobs, memory, and the limit of the machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import corpus, roofline, ways
from benchmark.document import ROOT, table
from benchmark.rounds import in_turns, same_texts, speed_up, turns
from benchmark.ways import Model
from transcriber.engine_programs import PROGRAMS, EngineProcess, EngineSpec, engine_programs
from transcriber.process import children
from transcriber.samples import Samples

BATCHED = "deepspeech-batched"
PICTURE = ROOT / "docs" / "batched-engine-roofline.svg"
LIMIT_SECONDS = 3600.0
ROWS = (1, 2, 4, 8, 16, 32, 64)
LIBRARY, OURS = "libdeepspeech", "batched"


@dataclass(frozen=True)
class Run:
    """What an engine process did."""

    start: float
    """Wall seconds until it was ready."""
    work: float
    """Wall seconds for the pieces."""
    cpu: float
    """CPU seconds for the pieces."""
    peak_mb: float
    """Its largest resident memory, without what it maps of the scorer."""
    texts: list[str]


def tables(quick: bool, rounds: int) -> tuple[str, dict[str, Any]]:
    """Measure everything. Return the tables and the figures."""
    clips = corpus.short_clips(16 if quick else 64)
    models = {
        "`.tflite`, large scorer": Model(ways.FULL_SIZE, ways.full_size_scorer()),
        "`.tflite`, no scorer": Model(ways.FULL_SIZE),
        "`.pbmm`, large scorer": Model(ways.full_size_pbmm().path, ways.full_size_scorer()),
    }
    found = {name: compared(model, [clip.samples for clip in clips], rounds) for name, model in models.items()}
    seconds = sum(clip.seconds for clip in clips)
    body = cost_table(found, seconds) + "\n" + whole_way(clips, rounds)
    body += "\n" + small_jobs(models, rounds) + "\n" + memory(models, 8 if quick else 30)
    limits = limit(ways.FULL_SIZE)
    slow = statistics.median(run.cpu for run in found["`.tflite`, no scorer"][LIBRARY]) / seconds
    PICTURE.write_text(roofline.picture(limits, slow), "utf-8")
    body += "\n" + limit_table(limits) + f"\n![The limit of the machine]({PICTURE.name})\n"
    facts = {name: {way: [vars(run) for run in runs] for way, runs in both.items()} for name, both in found.items()}
    return body, {"cost": facts, "limits": limits}


def compared(model: Model, pieces: Sequence[Samples], rounds: int) -> dict[str, list[Run]]:
    """Run both engines on the pieces, in turns."""
    engines = {LIBRARY: model.library, OURS: BATCHED}
    found: dict[str, list[Run]] = {name: [] for name in engines}
    for number, name in turns(rounds, engines):
        run = engine_run(engines[name], model, pieces)
        found[name].append(run)
        print(f"round {number + 1}: {name}, {model.path.name}: {run.cpu:.2f} CPU-s", flush=True)
    return found


def engine_run(engine: str, model: Model, pieces: Sequence[Samples]) -> Run:
    """Start an engine and give it pieces, as many at once as it wants."""
    program = next(program for program in engine_programs(PROGRAMS) if program.name == engine)
    started = time.monotonic()
    process = EngineProcess(EngineSpec(program, model.path, model.scorer, {}, readings=1))
    try:
        at_once = process.prepared().pieces
        ready = time.monotonic()
        found = []
        for start in range(0, len(pieces), at_once):
            found += process.recognise(pieces[start : start + at_once], LIMIT_SECONDS)
        done = time.monotonic()
        peak = peak_mb(model.scorer)
    finally:
        process.stop()
    texts = [" ".join(word.text for word in one.words) for one in found]
    return Run(ready - started, done - ready, sum(one.compute_seconds for one in found), peak, texts)


def peak_mb(scorer: Path | None) -> float:
    """The peak of the only engine's resident memory, without the scorer's pages that it has now."""
    [pid] = [child.pid for child in children()]
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    mapped = resident = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            mapped = bool(scorer) and line.endswith(str(scorer))
        elif mapped and line.startswith("Rss:"):
            resident += int(line.split()[1])
    return (int(status["VmHWM"].split()[0]) - resident) / 1024


def cost_table(found: dict[str, dict[str, list[Run]]], seconds: float) -> str:
    rows = []
    for name, both in found.items():
        spent = {way: statistics.median(run.cpu for run in runs) / seconds for way, runs in both.items()}
        ratio = statistics.median(a.cpu / b.cpu for a, b in zip(both[LIBRARY], both[OURS], strict=True))
        same = sum(a == b for a, b in zip(both[LIBRARY][0].texts, both[OURS][0].texts, strict=True))
        goal = "≥ 4" if name == "`.tflite`, large scorer" else ""
        rows.append(
            (name, f"{spent[LIBRARY]:.4f}", f"{spent[OURS]:.4f}", f"{ratio:.1f}", goal,
             f"{same} of {len(both[OURS][0].texts)}")
        )  # fmt: skip
    head = ["CPU-s a second of audio", LIBRARY, OURS, "times faster", "goal", "same text"]
    return table(head, rows)


def whole_way(clips: Sequence[corpus.Clip], rounds: int) -> str:
    """The worker with the batched engine and the original's way, both on two CPUs."""
    pbmm = Model(ways.full_size_pbmm().path, ways.full_size_scorer())
    tflite = Model(ways.FULL_SIZE, ways.full_size_scorer())
    audio = {clip.name: clip.wav for clip in clips}
    some = dict(list(audio.items())[:16])  # the original's way costs a model load for each file
    share = sum(clip.seconds for clip in clips if clip.name in some) / sum(clip.seconds for clip in clips)
    original = "original's way, `.pbmm`"
    found = in_turns(
        rounds,
        {
            original: lambda: ways.original(pbmm, some),
            "worker, batched, `.pbmm`": lambda: ways.worker(pbmm, audio, engine=BATCHED),
            "worker, batched, `.tflite`": lambda: ways.worker(tflite, audio, engine=BATCHED),
        },
    )
    rows = []
    for name in list(found)[1:]:
        same = same_texts(found[original][0], found[name][0])
        alike = f"{same} of {len(some)}" if ".pbmm" in name else ""  # a .tflite has other weights
        rows.append((name, f"{speed_up(found, name, original) / share:.1f}", "≥ 10", alike))
    return table(["two CPUs, large scorer, audio for a second", "times the original's way", "goal", "same text"], rows)


def small_jobs(models: dict[str, Model], rounds: int) -> str:
    """One short file in a new process."""
    clip = corpus.originals()[0]
    rows = []
    for name, model in models.items():
        runs = compared(model, [clip.samples], max(3, rounds))
        both = {way: [(run.start, run.work) for run in some] for way, some in runs.items()}
        start, work = ({way: statistics.median(one[part] for one in both[way]) for way in both} for part in (0, 1))
        rows.append((name, *(f"{start[way]:.2f} + {work[way]:.2f}" for way in (LIBRARY, OURS))))
    what = f"seconds to start + for one file of {clip.seconds:.1f} s"
    return table([what, LIBRARY, f"{OURS} (goal: start ≤ 2, the rest not slower)"], rows)


def memory(models: dict[str, Model], seconds: int) -> str:
    """The peak with a full batch of long pieces."""
    long = corpus.long_clip(1).samples
    pieces = [np.resize(np.roll(long, 7919 * number), seconds * corpus.RATE) for number in range(64)]
    rows = []
    for name, model in models.items():
        if not model.scorer:  # the same acoustic model, and a decoder that takes long
            continue
        run = engine_run(BATCHED, model, pieces)
        rows.append((name, f"{run.peak_mb:.0f}", "≤ 600", f"{run.cpu / len(pieces) / seconds:.4f}"))
    head = [f"64 pieces of {seconds} s", "MB at most, without the scorer's pages", "goal", "CPU-s a second of audio"]
    return table(head, rows)


def limit(model: Path) -> list[dict[str, Any]]:
    """The acoustic model and its products alone, by rows."""
    python = ways.ENGINES / BATCHED / "bin" / "python"
    path = os.pathsep.join(map(str, (PROGRAMS, PROGRAMS / BATCHED)))
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name("acoustic_speed.py")), str(model), *map(str, ROWS)],
        env={**os.environ, **ways.LOCAL, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def limit_table(limits: Sequence[dict[str, Any]]) -> str:
    parts = list(limits[0]["parts"])
    rows = [
        (
            one["rows"], f"{one['measured']:.4f}", f"{one['products']:.4f}",
            f"{one['measured'] / one['products']:.2f}", *(f"{one['parts'][part]:.4f}" for part in parts),
        )
        for one in limits
    ]  # fmt: skip
    head = ["rows", "acoustic part", "its products alone", "ratio (goal: ≤ 1.5)", *parts]
    return "CPU-s a second of audio, `.tflite`:\n\n" + table(head, rows)
