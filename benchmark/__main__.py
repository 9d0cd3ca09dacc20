"""Compares the worker with the original's way and a bare loop: `make bench`. `QUICK=1` takes a few minutes.

The compared programs run in turns, round after round, so that other load on the machine affects all of them equally. A
ratio compares two runs of the same round. The tables show medians over the rounds. Each part writes its tables to
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import io
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import batched as batched_engine
from benchmark import child_costs, corpus, prices, ways
from benchmark import engines as engines_
from benchmark.document import BATCHED, COSTS, ENGINES_PAGE, machine, table, write
from benchmark.rounds import Rounds, cpu, in_turns, medians, memory, paired, same_texts, speed_up, turned, turns, wall
from benchmark.ways import Model, Outcome
from fine_tuning.word_errors import word_error_rate
from transcriber.audio import Audio

SCORER = ways.SMALL / "asterisk-en.scorer"
TFLITE = Model(ways.SMALL / "asterisk-en.tflite", SCORER)
PBMM = Model(ways.SMALL / "asterisk-en.pbmm", SCORER)
FULL_SIZE = Model(ways.FULL_SIZE)
FULL_SIZE_TFLITE = "full-size, `.tflite`"
LATENCY = 0.1  # seconds
TWO_ENGINES = 1.92  # speed of two engines / one engine: the lowest median of the part full-size so far


@dataclass(frozen=True)
class Effort:
    """The number of rounds and recordings to measure."""

    quick: bool
    rounds: int
    recordings: int  # of the full-size part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer recordings and one round, to test the benchmark")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=[*PARTS, "ten-hours"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--recordings", type=int, help="number of recordings in the part full-size (default: 16)")
    given = parser.parse_args()
    usual = (1, 8) if given.quick else (3, 16)
    effort = Effort(given.quick, given.rounds or usual[0], given.recordings or usual[1])
    for name in given.parts:
        started = time.monotonic()
        {**PARTS, "ten-hours": ten_hours}[name](effort)
        print(f"({name}: {time.monotonic() - started:.0f} s)", flush=True)


def small(effort: Effort) -> None:
    """Many short recordings with the small model: measures the overhead outside the engine."""
    clips = corpus.short_clips(20 if effort.quick else 100)
    with tempfile.TemporaryDirectory() as folder:
        files = written(clips, Path(folder))
        audio = {clip.name: clip.wav for clip in clips}
        found = in_turns(
            effort.rounds,
            {
                "original's way, `.pbmm`": lambda: ways.original(PBMM, audio),
                "original's way, `.tflite`": lambda: ways.original(TFLITE, audio),
                "bare loop, `.pbmm`": lambda: ways.bare(PBMM, files),
                "bare loop, `.tflite`": lambda: ways.bare(TFLITE, files),
                "worker, `.pbmm`": lambda: ways.worker(PBMM, audio),
                "worker, `.tflite`": lambda: ways.worker(TFLITE, audio),
            },
        )
    seconds = sum(clip.seconds for clip in clips)
    ratios = [
        ("worker / original's way, both `.pbmm`: speed", "worker, `.pbmm`", "original's way, `.pbmm`", "≥ 2.0"),
        ("worker `.tflite` / original's way `.pbmm`: speed", "worker, `.tflite`", "original's way, `.pbmm`", "≥ 4"),
    ]  # fmt: skip
    same = [
        (a, b, same_texts(found[a][0], found[b][0]))
        for a, b in (
            ("worker, `.pbmm`", "original's way, `.pbmm`"),
            ("worker, `.pbmm`", "bare loop, `.pbmm`"),
            ("worker, `.tflite`", "original's way, `.tflite`"),
            ("worker, `.tflite`", "bare loop, `.tflite`"),
        )
    ]
    body = (
        stamp(f"{len(clips)} recordings, {seconds:.0f} s, scorer, the model's beam (256)", effort.rounds)
        + costs(found, seconds)
        + "\n"
        + table(
            ["ratio", "median", "goal"], [(name, f"{speed_up(found, a, b):.2f}", goal) for name, a, b, goal in ratios]
        )
        + "\n"
        + table(["same text", "", "recordings"], [(a, b, f"{count} of {len(clips)}") for a, b, count in same])
    )
    write("small", body, {name: [vars(run) for run in runs] for name, runs in found.items()})


def full_size(effort: Effort) -> None:
    """Short recordings with a model of realistic size."""
    pbmm = ways.full_size_pbmm()
    clips = corpus.short_clips(effort.recordings)
    with tempfile.TemporaryDirectory() as folder:
        files = written(clips, Path(folder))
        audio = {clip.name: clip.wav for clip in clips}
        found = in_turns(
            effort.rounds,
            {
                "original's way": lambda: ways.original(FULL_SIZE, audio),
                "original's way, `.pbmm`": lambda: ways.original(pbmm, audio),
                "bare loop, 1 CPU": lambda: ways.bare(FULL_SIZE, files, "0"),
                "two bare loops side by side": lambda: ways.bare(FULL_SIZE, files, loops=2),
                "worker, 1 CPU": lambda: ways.worker(FULL_SIZE, audio, "0"),
                "worker, 2 CPUs": lambda: ways.worker(FULL_SIZE, audio),
                "worker, 2 CPUs, every S3 call 100 ms late": lambda: ways.worker(FULL_SIZE, audio, latency=LATENCY),
                "worker, 2 CPUs, `.pbmm`": lambda: ways.worker(pbmm, audio),
            },
        )
    seconds = sum(clip.seconds for clip in clips)
    one, two, late = "worker, 1 CPU", "worker, 2 CPUs", "worker, 2 CPUs, every S3 call 100 ms late"
    loop, loops = "bare loop, 1 CPU", "two bare loops side by side"
    original, original_pbmm, two_pbmm = "original's way", "original's way, `.pbmm`", "worker, 2 CPUs, `.pbmm`"
    ratios = [
        ("worker / original's way: speed", speed_up(found, two, original), "≥ 2.0"),
        ("worker / original's way, both `.pbmm`: speed", speed_up(found, two_pbmm, original_pbmm), "≥ 2.0"),
        ("worker `.tflite` / original's way `.pbmm`: speed", speed_up(found, two, original_pbmm), "≥ 4"),
        (
            "two bare loops `.tflite` / original's way `.pbmm`: speed (the limit)",
            speed_up(found, loops, original_pbmm),
            "",
        ),
        ("worker / bare loop, 1 CPU each: CPU", paired(found, one, loop, cpu), "≤ 1.05"),
        ("worker / two bare loops, 2 CPUs: CPU", paired(found, two, loops, cpu), ""),
        ("worker, 2 engines / 1: speed", speed_up(found, two, one), "≥ 1.8"),
        ("bare loops, 2 / 1: speed (the machine's limit)", speed_up(found, loops, loop), ""),
        ("worker, late S3 / not: speed", speed_up(found, late, two), "≥ 0.95"),
    ]
    same = [
        (f"{same_texts(found[a][0], found[b][0])} of {len(clips)}", a, b)
        for a, b in ((two, loop), (two, original), (two_pbmm, original_pbmm), (two, two_pbmm))
    ]
    body = (
        stamp(f"{len(clips)} recordings, {seconds:.0f} s, `.tflite` unless said, no scorer, beam 500", effort.rounds)
        + costs(found, seconds)
        + "\n"
        + table(["ratio", "median", "goal"], [(name, f"{value:.2f}", goal) for name, value, goal in ratios])
        + "\n"
        + table(["same text, recordings", "", ""], same)
    )
    write("full-size", body, {name: [vars(run) for run in runs] for name, runs in found.items()})


def start(effort: Effort) -> None:
    """Seconds from the start of the process to the first transcript."""
    clip = corpus.originals()[0]
    rounds = 1 if effort.quick else effort.rounds + 2
    rows = []
    facts = {}
    with tempfile.TemporaryDirectory() as folder:
        files = written([clip], Path(folder))
        for name, model in (("small", TFLITE), ("full-size", FULL_SIZE)):
            found = in_turns(
                rounds,
                {
                    "bare": functools.partial(ways.bare, model, files),
                    "worker": functools.partial(ways.worker, model, {clip.name: clip.wav}),
                },
            )
            firsts = {way: [run.first for run in runs] for way, runs in found.items()}
            over = statistics.median(
                worker - bare for worker, bare in zip(firsts["worker"], firsts["bare"], strict=True)
            )
            bare, worker = (statistics.median(firsts[way]) for way in ("bare", "worker"))
            rows.append((name, f"{bare:.2f}", f"{worker:.2f}", f"{over:.2f}", "≤ 1.5"))
            facts[name] = firsts
    head = ["model", "bare process: first text after", "worker: first transcript in the bucket after", "over", "goal"]
    body = stamp(f"one recording of {clip.seconds:.1f} s; seconds", rounds) + table(head, rows)
    write("start", body, facts)


def forms(effort: Effort) -> None:
    """Other audio formats: word errors, and the cost of decoding."""
    clips = corpus.originals()[: 4 if effort.quick else None]
    long = corpus.long_clip(2 if effort.quick else 10)
    makers: dict[str, Callable[[corpus.Samples], bytes]] = {"wav": corpus.wav}
    makers |= {form: functools.partial(corpus.encoded, extension=form) for form in corpus.FORMS}
    encoded = {form: make(long.samples) for form, make in makers.items()}
    spent: dict[str, list[float]] = {form: [] for form in makers}
    for _, form in turns(effort.rounds, encoded):
        started = time.process_time()
        for _ in Audio(io.BytesIO(encoded[form]), corpus.RATE).chunks():
            pass
        spent[form].append((time.process_time() - started) / long.seconds * 3600)
    rows = []
    for form, make in makers.items():
        audio = {f"{Path(clip.name).stem}.{form}": make(clip.samples) for clip in clips}
        texts = ways.worker(TFLITE, audio).texts
        rate = word_error_rate((clip.text, texts[f"{Path(clip.name).stem}.{form}"]) for clip in clips)
        command = PBMM.python.with_name("deepspeech")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"one.{form}"
            path.write_bytes(next(iter(audio.values())))
            done = subprocess.run(
                [str(command), "--model", str(PBMM.path), "--scorer", str(SCORER), "--audio", str(path)],
                capture_output=True, text=True,
            )  # fmt: skip
        errors = f"{word_error_rate([(clips[0].text, done.stdout)]):.0%} word errors"
        original = errors if done.returncode == 0 else f"fails with {done.returncode}"
        rows.append((form, described(form), f"{statistics.median(spent[form]):.1f}", f"{rate:.1%}", original))
    head = ["", "", "decoding: CPU-seconds an hour", "worker: word errors", "the `deepspeech` command on it"]
    write("forms", stamp(f"{len(clips)} recordings in each form", effort.rounds) + table(head, rows), rows)


def defaults(effort: Effort) -> None:
    """Cost and word errors by model file, runtime, beam width and length of pieces."""
    beams = [50, 100, 500] if effort.quick else [10, 50, 100, 250, 500, 1000]
    pieces = [10, 30] if effort.quick else [10, 20, 30, 60]
    jobs = {
        "small, `.tflite`": (TFLITE.python, TFLITE, beams, pieces),
        "small, `.tflite` in Coqui's stt": (ways.BENCH_PYTHON, TFLITE, beams, []),
        "small, `.pbmm`": (PBMM.python, PBMM, beams, []),
        FULL_SIZE_TFLITE: (FULL_SIZE.python, FULL_SIZE, beams, pieces),
        "full-size, `.pbmm`": (PBMM.python, ways.full_size_pbmm(), beams, []),
        "full-size, `.tflite` in Coqui's stt": (ways.BENCH_PYTHON, FULL_SIZE, beams, []),
    }
    rounds: dict[str, list[Any]] = {name: [] for name in jobs}
    for number, name in turns(effort.rounds, jobs):
        python, model, widths, lengths = jobs[name]
        job: dict[str, Any] = {
            "python": str(python),
            "model": str(model.path),
            "scorer": model.scorer and str(model.scorer),
        }
        job |= {"beams": turned(widths, number), "pieces": turned(lengths, number), "quick": effort.quick}
        done = subprocess.run(
            [str(ways.WORKER_PYTHON), "-m", "benchmark.defaults", json.dumps(job)], cwd=ways.ROOT,
            env={**os.environ, **ways.LOCAL}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        rounds[name].append(json.loads(done.stdout.splitlines()[-1]))
        print(f"round {number + 1}: {name}", flush=True)
    found = {name: {kind: medians([run[kind] for run in runs]) for kind in runs[0]} for name, runs in rounds.items()}
    body = stamp("CPU-seconds a second of audio (RTF), and word errors", effort.rounds)
    for name, result in found.items():
        body += f"**{name}**\n\n{beam_table(result['beams'])}\n"
        if result["pieces"]:
            body += piece_table(result["pieces"]) + "\n"
    write("defaults", body, found)


def long(effort: Effort) -> None:
    """Memory and cost of long recordings."""
    _long("long", [("small", TFLITE, [5, 10] if effort.quick else [10, 60]),
                   ("full-size", FULL_SIZE, [0.5, 1] if effort.quick else [5, 20])], effort.rounds)  # fmt: skip


def ten_hours(_effort: Effort) -> None:
    """The longest recording. It takes long, so it has one round and is not part of a normal run."""
    _long("ten-hours", [("small", TFLITE, [10, 600])], 1)


def _long(part: str, models: list[tuple[str, Model, list[float]]], rounds: int) -> None:
    """Transcribe a short recording, and longer ones that repeat it: they are longer but equally difficult."""
    rows = []
    for name, model, minutes in models:
        base = corpus.long_clip(minutes[0])
        times = {f"{name}, {length:g} minutes": round(length / minutes[0]) for length in minutes}
        found = in_turns(
            rounds, {what: functools.partial(_repeated, model, base, count) for what, count in times.items()}
        )
        short = next(iter(times))
        for (what, count), length in zip(times.items(), minutes, strict=True):
            seconds = count * base.seconds
            spent = statistics.median(map(cpu, found[what]))
            text = " ".join([base.text] * count)
            known = model.scorer and length <= 30
            rows.append((
                name, f"{length:g} min",
                f"{statistics.median(map(memory, found[what])):.0f}", f"{paired(found, what, short, memory):.2f}",
                f"{spent:.0f}", f"{spent / seconds * 3600:.0f}", f"{paired(found, what, short, cpu) / count:.3f}",
                f"{seconds / statistics.median(map(wall, found[what])):.1f}",
                f"{word_error_rate([(text, next(iter(found[what][0].texts.values())))]):.1%}" if known else "",
            ))  # fmt: skip
    head = [
        "model", "recording", "MB at most", "of the short one's", "CPU-s, start included", "CPU-s an hour",
        "of the short one's", "times real time", "word errors",
    ]  # fmt: skip
    write(
        part,
        stamp("one WAV, the model's beam (small: 256, full-size: 500), 2 CPUs, all outputs", rounds)
        + table(head, rows),
        rows,
    )


def _repeated(model: Model, base: corpus.Clip, count: int) -> Outcome:
    """Run the worker on one recording that repeats the clip `count` times."""
    wav = corpus.wav(np.tile(base.samples, count))
    return ways.worker(model, {f"{count}-times.wav": wav}, interval=0.2, output_formats=["json", "srt", "vtt"])


def engines(effort: Effort) -> None:
    """Each engine with each model that package registries have, and other recognisers; writes docs/engines.md."""
    found = engines_.measure(effort.quick, effort.rounds)
    clips = engines_.sets(effort.quick)
    seconds = {name: sum(clip.seconds for clip in some) for name, some in clips.items()}
    what = (
        f"{len(clips['one voice'])} short recordings of one voice ({seconds['one voice']:.0f} s), "
        f"{len(clips['other voices'])} of other voices ({seconds['other voices']:.0f} s), and a long one of all "
        f"({seconds['long'] / 60:.0f} minutes); one CPU, start included"
    )
    facts = {name: {way: [vars(run) for run in runs] for way, runs in rounds.items()} for name, rounds in found.items()}
    write("engines", stamp(what, effort.rounds) + engines_.engines_table(found, clips, usd), facts, ENGINES_PAGE)


def usd(rtf: float) -> tuple[float, float]:
    """USD for 1,000 hours of audio on demand and on Spot, with the prices and the formula of docs/costs.md."""
    hours = 1000 * rtf / TWO_ENGINES
    return hours * prices.CHILD_HOUR, hours * prices.CHILD_HOUR_SPOT


def batched(effort: Effort) -> None:
    """The batched engine: see batched.py."""
    body, facts = batched_engine.tables(effort.quick, effort.rounds)
    write("batched", stamp("full-size model, the model's beam (500)", effort.rounds) + body, facts, BATCHED)


def costs_of_audio(effort: Effort) -> None:
    """What 1,000 hours of audio cost: see child_costs.py."""
    found = child_costs.measure(effort.rounds)
    what = "full-size model, the model's beam (500), two processes on two CPUs"
    kept = child_costs.keep(found, machine())
    write("costs", stamp(what, effort.rounds) + child_costs.cost_table(found), kept, COSTS)


PARTS: dict[str, Callable[[Effort], None]] = {
    "small": small, "full-size": full_size, "start": start, "forms": forms, "defaults": defaults, "long": long,
    "engines": engines, "batched": batched, "costs": costs_of_audio,
}  # fmt: skip


def costs(found: Rounds, seconds: float) -> str:
    rows = []
    for name, runs in found.items():
        walls, cpus = statistics.median(map(wall, runs)), statistics.median(map(cpu, runs))
        rows.append((name, f"{walls:.1f}", f"{seconds / walls:.1f}", f"{cpus:.1f}", f"{cpus / seconds:.4f}"))
    return table(["way", "wall, s", "audio-s a second", "CPU-s", "CPU-s a second of audio"], rows)


def beam_table(rows: list[dict[str, Any]]) -> str:
    conditions = list(rows[0]["errors"])
    head = ["beam", "RTF", "same text as beam 500", *conditions]
    return table(
        head,
        [(row["beam"], f"{row['rtf']:.4f}", f"{row['same']:.0%}",
          *(f"{row['errors'][name]:.1%}" for name in conditions)) for row in rows],
    )  # fmt: skip


def piece_table(rows: list[dict[str, Any]]) -> str:
    conditions = list(rows[0]["errors"])
    head = ["pieces of at most, s", "RTF", *conditions]
    return table(
        head,
        [(row["seconds"], f"{row['rtf']:.4f}", *(f"{row['errors'][name]:.1%}" for name in conditions)) for row in rows],
    )


def written(clips: list[corpus.Clip], folder: Path) -> list[Path]:
    for clip in clips:
        (folder / clip.name).write_bytes(clip.wav)
    return [folder / clip.name for clip in clips]


def described(form: str) -> str:
    if form == "wav":
        return "16 kHz mono"
    container, codec, rate, layout = corpus.FORMS[form]
    return f"{codec.removeprefix('lib')} in {container}, {rate / 1000:g} kHz {layout}"


def stamp(what: str, rounds: int) -> str:
    date = datetime.datetime.now(datetime.UTC).date()
    packages = ways.ENGINES / "deepspeech" / "lib" / "python3.9" / "site-packages"
    [engine] = metadata.distributions(name="deepspeech", path=[str(packages)])
    versions = f"deepspeech {engine.version}, numpy {metadata.version('numpy')}"
    return f"{what}; median of {rounds} round{'s' * (rounds > 1)}. {date}, {machine()}, {versions}.\n\n"


if __name__ == "__main__":
    main()
