"""The saved queries of Amazon Athena, run by DuckDB on the data set that real runs wrote."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from transcription_contract import layout, sql_table
from transcription_contract.results import ReportEntry
from transcripts_page.corrections import Corrections, correct

PROJECT = Path(__file__).resolve().parents[2]
QUERIES = PROJECT / "infra" / "sql"
SPEECH = (PROJECT / "tests" / "recordings" / "vm-leavemsg.wav").read_bytes()
_TYPES = {"string": "VARCHAR", "bigint": "BIGINT", "double": "DOUBLE"}


def _read_json(files: Path, columns: dict[str, str], **options: str) -> str:
    typed = ", ".join(f"{name}: '{_TYPES[kind]}'" for name, kind in columns.items())
    more = "".join(f", {name} = {value}" for name, value in options.items())
    return f"SELECT * FROM read_json('{files}', format = 'newline_delimited', columns = {{{typed}}}{more})"  # noqa: S608


@pytest.fixture
def sql(s3: Any, empty_bucket: str, keys: Any, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs a saved query on what the bucket holds."""

    def sql(name: str, *values: str) -> list[dict[str, Any]]:
        for key in [*keys(layout.TABLE), *keys(layout.CORRECTIONS)]:
            file = tmp_path / key
            file.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(empty_bucket, key, str(file))
        connection = duckdb.connect()
        recordings = tmp_path / layout.TABLE / "*" / "*.jsonl.gz"
        day = {"hive_partitioning": "true", "hive_types": "{day: 'VARCHAR'}"}
        connection.execute(f"CREATE VIEW recordings AS {_read_json(recordings, sql_table.RECORDINGS, **day)}")
        corrections = tmp_path / layout.CORRECTIONS / "**" / "*.json"
        connection.execute(f"CREATE VIEW corrections AS {_read_json(corrections, sql_table.CORRECTIONS)}")
        found = connection.execute((QUERIES / f"{name}.sql").read_text(), values)
        columns = [column[0] for column in found.description]
        return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]

    return sql


def test_the_saved_queries_find_words_rejects_and_costs(
    run: Any, put: Any, keys: Any, read: Any, s3: Any, empty_bucket: str, sql: Any
) -> None:
    for name in ("calls/a.wav", "calls/b.wav", "c.wav"):
        put(f"input/{name}", SPEECH)
    put("input/bad.mp3", b"no audio")
    assert run().returncode == 0
    assert run(again=True, prefix="calls/a").returncode == 0
    rows = [json.loads(line) for key in keys(layout.TABLE) for line in gzip.decompress(read(key)).splitlines()]
    assert {tuple(row) for row in rows} == {tuple(sql_table.RECORDINGS)}, "each row has the columns of the table"
    assert len(rows) == 5
    totals = [json.loads(read(key)) for key in keys("runs/") if key.endswith("report.json")]
    spent = sum(report["estimated_usd"] for report in totals)
    assert sum(row["usd"] for row in rows) == pytest.approx(spent, rel=0.01)

    entry = next(
        ReportEntry(**{name: row[name] for name in ReportEntry.__dataclass_fields__})
        for row in rows
        if row["name"] == "calls/b.wav"
    )
    Corrections(s3, empty_bucket).save(correct(entry, None, "Please leave a MASSAGE", "ann"), None)

    found = sql("words", "leave a Message")
    assert sorted(row["name"] for row in found) == ["c.wav", "calls/a.wav"], "each once, though one has two transcripts"
    assert all(row["text"] == "press five to leave a message" and row["corrected_by"] == "" for row in found)
    [corrected] = sql("words", "massage")
    assert (corrected["name"], corrected["corrected_by"], corrected["text"]) == (
        "calls/b.wav",
        "ann",
        "Please leave a MASSAGE",
    )

    [rejects] = sql("rejects_by_reason")
    assert (rejects["code"], rejects["recordings"], rejects["a_recording"]) == ("not-audio", 1, "bad.mp3")

    costs = sql("cost_by_folder_and_month")
    assert {(row["folder"], row["transcripts"]) for row in costs} == {("calls/", 3), ("", 1)}
    assert sum(row["usd"] for row in costs) == pytest.approx(sum(row["usd"] for row in rows))
    assert {row["month"] for row in costs} == {totals[0]["finished"][:7]}


def test_each_query_is_described_by_its_first_line() -> None:
    for query in QUERIES.glob("*.sql"):
        assert query.read_text().startswith("-- "), query
