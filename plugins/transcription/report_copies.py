"""Copies of a final report for search and for SQL: the index beside the report, and a part of the data set.

Both are made of the report's entries and the transcripts that these name, so they can be made again at any time.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transcription import search_index
from transcription.bucket import Bucket
from transcription.search_index import About, Indexed
from transcription.searchable import shown
from transcription_contract import layout
from transcription_contract.results import ReportEntry

log = logging.getLogger(__name__)


def write(bucket: Bucket, found: Mapping[str, Any]) -> None:
    """Write both copies of a report, unless an earlier attempt did.

    A failure is logged and costs nothing else. The index is written last, so where it is, the other one is, too.

    Args:
        bucket: The audio bucket.
        found: The final report.
    """
    about = About(found["run_id"], found["plan_id"], found["finished"])
    key = layout.search_index_key(about.run_id, about.plan_id)
    try:
        if not bucket.exists(key):
            _write(bucket, about, key, found["estimated_usd"])
    except Exception:
        log.warning(
            "This run cannot be searched: its index %r was not written. The report is complete. Clear `verify` to "
            "write the index.",
            key,
            exc_info=True,
        )


def _write(bucket: Bucket, about: About, key: str, usd: float) -> None:
    def entries() -> Iterator[ReportEntry]:
        return map(ReportEntry.read, bucket.lines(layout.entries_key(about.run_id, about.plan_id)))

    seconds = sum(entry.compute_seconds for entry in entries())
    usd_per_second = usd / seconds if seconds else 0.0
    table_key = layout.table_key(about.run_id, about.plan_id, about.finished[: len("2026-11-28")])
    with TemporaryDirectory() as folder:
        index = Path(folder) / layout.SEARCH_INDEX
        with bucket.writing(table_key, "application/gzip") as table, gzip.GzipFile(fileobj=table, mode="wb") as rows:
            search_index.write(index, about, _noted(bucket.indexed(entries()), rows, about, usd_per_second))
        with index.open("rb") as file:
            bucket.upload(file, key, search_index.CONTENT_TYPE)


def _noted(
    recordings: Iterable[Indexed], rows: gzip.GzipFile, about: About, usd_per_second: float
) -> Iterator[Indexed]:
    """The recordings, each of which is written to the data set on its way."""
    for recording in recordings:
        rows.write(json.dumps(row(recording, about, usd_per_second), ensure_ascii=False).encode() + b"\n")
        yield recording


def row(recording: Indexed, about: About, usd_per_second: float) -> dict[str, Any]:
    """A recording's row in the data set.

    Args:
        recording: With its text.
        about: The accounting.
        usd_per_second: The job's cost in US dollars for a CPU second of its engines.
    """
    entry = recording.entry
    return {
        **about._asdict(),
        "name": entry.name,
        **asdict(entry),
        "usd": round(entry.compute_seconds * usd_per_second, 8),
        "text": None if recording.text is None else shown(recording.text),
    }
