"""Search indexes and totals of runs as accounting leaves them in the bucket."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transcription import report, search_index, searchable
from transcription.search_index import About, Indexed
from transcription_contract import layout
from transcription_contract.results import ReportEntry
from transcription_contract.words import TimedWord

PLAN = "0123456789abcdef"


def transcribed(name: str, text: str, *, etag: str = "e") -> Indexed:
    """A transcribed recording that says a word each second, from the first second on."""
    words = [TimedWord(word, second, second + 0.5) for second, word in enumerate(text.split(), start=1)]
    entry = ReportEntry(
        f"input/{name}", "transcribed", 0, transcript_key=f"output/{name}", source_etag=etag, audio_seconds=60.0
    )
    indexed = searchable.searchable(text)
    return Indexed(entry, indexed, searchable.places(indexed, words, speakers=False))


def rejected(name: str) -> Indexed:
    return Indexed(ReportEntry(f"input/{name}", "rejected", 0, code="no-speech", reason="No speech."))


def index_bytes(about: About, recordings: Sequence[Indexed]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "index"
        search_index.write(file, about, recordings)
        return file.read_bytes()


def put_run(s3: Any, bucket: str, run_id: str, finished: str, recordings: Sequence[Indexed]) -> None:
    """Write a run's totals and the index of its only plan."""
    states = [recording.entry.state for recording in recordings]
    totals = {
        "run_id": run_id,
        "plans": [PLAN],
        "finished": finished,
        "totals": {"files": {state: states.count(state) for state in states}, "audio_hours": 0.5, "compute_seconds": 1},
        "estimated_usd": 0.25,
    }
    body = index_bytes(About(run_id, PLAN, finished), recordings)
    s3.put_object(Bucket=bucket, Key=layout.search_index_key(run_id, PLAN), Body=body)
    s3.put_object(Bucket=bucket, Key=layout.totals_key(run_id), Body=report.to_bytes(totals))


def table_rows(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]
