"""Benchmark of the search over all runs: `make bench-search`.

Writes the search indexes of a year of runs into an S3 server in memory, opens the catalogue as the page does, and
searches. Writes the figures to docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from benchmark.document import machine, table, write
from benchmark.ways import LOCAL, s3_server
from transcription import report, search_index, searchable
from transcription.search_index import About, Indexed
from transcription_contract import layout
from transcription_contract.results import ReportEntry
from transcription_contract.words import TimedWord
from transcripts_page import search
from transcripts_page.catalogue import THREADS, Catalogue

RECORDINGS = 100_000
RUNS = 365
WORDS = 150
VOCABULARY = 20_000
LATENCY_SECONDS = 0.02
PLAN = "0123456789abcdef"
BUCKET = "bench"
REPEATS = 20

_VOCABULARY = [f"word{rank}" for rank in range(1, VOCABULARY + 1)]
_FREQUENCIES = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))


def recordings(run: int, count: int, chance: random.Random) -> Iterator[Indexed]:
    """Recordings of 150 words as often as words in a language, one of them only in this run."""
    for number in range(count):
        spoken = [*chance.choices(_VOCABULARY, cum_weights=_FREQUENCIES, k=WORDS - 1), f"onlyinrun{run}"]
        words = [TimedWord(text, second * 0.4, second * 0.4 + 0.3) for second, text in enumerate(spoken)]
        text = " ".join(spoken)
        entry = ReportEntry(
            f"input/calls/{run:03}/{number:06}.wav",
            "transcribed",
            0,
            log_stream="worker/default/0123456789abcdef0123456789abcdef",
            transcript_key=f"output/calls/{run:03}/{number:06}",
            audio_seconds=WORDS * 0.4,
            compute_seconds=10.0,
            source_etag=f"{chance.getrandbits(128):032x}",
            engine="deepspeech-tflite 0.9.3",
            model="asterisk-en 0123456789ab",
        )
        yield Indexed(entry, text, searchable.places(text, words, speakers=False))


def put_run(s3: Any, run: int, count: int) -> tuple[int, float]:
    """Write a run's index and totals. Return the index's bytes and the seconds to build it."""
    run_id = f"scheduled__{run}"
    finished = (datetime(2026, 1, 1, 1, 30, tzinfo=UTC) + timedelta(days=run)).isoformat(timespec="microseconds")
    indexed = list(recordings(run, count, random.Random(run)))  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index"
        started = time.perf_counter()
        search_index.write(file, About(run_id, PLAN, finished), indexed)
        seconds = time.perf_counter() - started
        s3.put_object(Bucket=BUCKET, Key=layout.search_index_key(run_id, PLAN), Body=file.read_bytes())
        size = file.stat().st_size
    totals = {
        "run_id": run_id,
        "plans": [PLAN],
        "finished": finished,
        "totals": {"files": {"transcribed": count}, "audio_hours": count / 60, "compute_seconds": count * 10.0},
        "estimated_usd": 0.1,
    }
    s3.put_object(Bucket=BUCKET, Key=layout.totals_key(run_id), Body=report.to_bytes(totals))
    return size, seconds


class Counted:
    """A client of S3 that counts its calls."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        return getattr(self._s3, name)


def measure(s3: Any, folder: Path) -> list[tuple[object, ...]]:
    """A row for each kind of search: seconds of the first one and of the others, requests to S3 of the others."""
    counted = Counted(s3)
    catalogue = Catalogue(counted, BUCKET, folder, refresh_seconds=3600)
    kinds: dict[str, Callable[[], object]] = {
        "a word that one run has": lambda: search.by_words(catalogue, f"onlyinrun{RUNS // 2}"),
        "a word that no run has": lambda: search.by_words(catalogue, "absent"),
        "the most frequent word": lambda: search.by_words(catalogue, "word1"),
        "two frequent words, page 10": lambda: search.by_words(catalogue, "word1 word2", offset=180),
        "a phrase that is rare": lambda: search.by_words(catalogue, '"word40 word41"'),
        "the beginning of a word": lambda: search.by_words(catalogue, "word1999*"),
        "a part of a name": lambda: search.by_name(catalogue, "/0001"),
        "the list of runs": catalogue.runs,
    }
    started = time.perf_counter()
    search.by_words(catalogue, "absent")
    first = time.perf_counter() - started
    rows: list[tuple[object, ...]] = [("the first search, with all downloads", f"{first:.2f}", "", counted.calls)]
    for kind, call in kinds.items():
        call()
        before = counted.calls
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        rows.append((kind, f"{statistics.median(seconds):.3f}", f"{max(seconds):.3f}", counted.calls - before))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the recordings; writes nothing")
    quick = parser.parse_args().quick
    count = RECORDINGS // RUNS // (10 if quick else 1)
    os.environ |= LOCAL
    with s3_server(LATENCY_SECONDS) as endpoint, tempfile.TemporaryDirectory() as folder:
        config = Config(max_pool_connections=THREADS, s3={"addressing_style": "path"})
        s3 = boto3.client("s3", endpoint_url=endpoint, config=config)
        built = [put_run(s3, run, count) for run in range(RUNS)]
        rows = measure(s3, Path(folder))
    size, seconds = sum(size for size, _ in built), sum(seconds for _, seconds in built)
    stamp = (
        f"{datetime.now(UTC).date()}, {machine()}. {count * RUNS:,} recordings of {WORDS} words in {RUNS} runs; the "
        f"indexes have {size / 1e6:.0f} MB and took {seconds:.1f} s to build; each answer of S3 takes "
        f"{LATENCY_SECONDS * 1000:.0f} ms.\n\n"
    )
    body = stamp + table(["search", "seconds, median", "at most", "requests to S3"], rows)
    if quick:
        print(body)
    else:
        write("search", body, rows)


if __name__ == "__main__":
    main()
