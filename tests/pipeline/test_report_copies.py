"""The search index and the part of the data set that accounting writes after its report."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.indexes import PLAN
from transcription import report_copies, search_index
from transcription.bucket import Bucket
from transcription_contract import layout
from transcription_contract.results import ReportEntry
from transcripts_page.run_index import RunIndex, UnknownIndexError

FOUND = {
    "run_id": "run",
    "plan_id": PLAN,
    "finished": "2026-11-28T01:30:00.000000+00:00",
    "estimated_usd": 0.6,
}
INDEX = layout.search_index_key("run", PLAN)
TABLE = layout.table_key("run", PLAN, "2026-11-28")


@pytest.fixture
def entries(put: Any, s3: Any, empty_bucket: str) -> list[ReportEntry]:
    """A report's entries: a recording with JSON, one with plain text, one with another version's JSON, one reject."""
    document = {
        "text": "one two",
        "source_etag": "e",
        "channels": 1,
        "settings": {"fingerprint": "f"},
        "segments": [
            {
                "channel": None,
                "words": [
                    {"text": "one", "start": 0.5, "end": 0.7, "channel": None},
                    {"text": "two", "start": 1.5, "end": 1.7, "channel": None},
                ],
            }
        ],
    }
    put("output/a.json", json.dumps(document).encode())
    put("output/b", b"the text of this run\n")
    put("output/c", b"three\n")
    versions = {key: s3.head_object(Bucket=empty_bucket, Key=key)["VersionId"] for key in ("output/b", "output/c")}
    put("output/b", b"the text of a later run\n")
    put("output/c.json", json.dumps({**document, "source_etag": "another"}).encode())
    made: dict[str, Any] = {
        "state": "transcribed",
        "child": 0,
        "source_etag": "e",
        "settings": "f",
        "compute_seconds": 1.0,
    }
    found = [
        ReportEntry("input/a.wav", transcript_key="output/a", transcript_version="v", **made),
        ReportEntry("input/b.wav", transcript_key="output/b", transcript_version=versions["output/b"], **made),
        ReportEntry("input/c.wav", transcript_key="output/c", transcript_version=versions["output/c"], **made),
        ReportEntry("input/d.wav", "rejected", 0, code="no-speech", reason="No speech."),
    ]
    put(layout.entries_key("run", PLAN), b"".join(entry.to_bytes() for entry in found))
    return found


@pytest.fixture
def index(read: Any, tmp_path: Path) -> Any:
    """Opens the index in the bucket."""

    def index() -> RunIndex:
        file = tmp_path / "index.sqlite"
        file.write_bytes(read(INDEX))
        return RunIndex(file)

    return index


def test_an_index_has_the_texts_of_this_run_and_places_where_words_have_times(
    entries: Any, empty_bucket: str, index: Any
) -> None:
    report_copies.write(Bucket(empty_bucket), FOUND)
    with index() as opened:
        assert opened.about == ("run", PLAN, FOUND["finished"])
        assert opened.recordings() == entries
        assert [opened.text(f"{name}.wav") for name in "abcd"] == ["one two", "the text of this run", "three", None]
        assert [hit.passages[0].seconds for hit in opened.search("two")] == [1.5]
        assert [hit.passages[0].seconds for hit in opened.search("three")] == [None]


def test_a_part_of_the_data_set_has_a_row_for_each_entry_with_its_share_of_the_cost(
    entries: Any, empty_bucket: str, read: Any
) -> None:
    report_copies.write(Bucket(empty_bucket), FOUND)
    rows = [json.loads(line) for line in gzip.decompress(read(TABLE)).splitlines()]
    assert [(row["name"], row["text"], row["usd"]) for row in rows] == [
        ("a.wav", "one two", 0.2),
        ("b.wav", "the text of this run", 0.2),
        ("c.wav", "three", 0.2),
        ("d.wav", None, 0.0),
    ]


def test_copies_are_written_once_and_again_if_the_index_is_gone(
    entries: Any, empty_bucket: str, keys: Any, s3: Any
) -> None:
    report_copies.write(Bucket(empty_bucket), FOUND)
    s3.delete_object(Bucket=empty_bucket, Key=TABLE)
    report_copies.write(Bucket(empty_bucket), FOUND)
    assert keys("tables/") == []
    s3.delete_object(Bucket=empty_bucket, Key=INDEX)
    report_copies.write(Bucket(empty_bucket), FOUND)
    assert (keys("tables/"), keys(INDEX)) == ([TABLE], [INDEX])


def test_a_transcript_whose_version_has_expired_costs_nothing_else(
    entries: Any, empty_bucket: str, index: Any, s3: Any
) -> None:
    for item in s3.list_object_versions(Bucket=empty_bucket, Prefix="output/b")["Versions"]:
        s3.delete_object(Bucket=empty_bucket, Key=item["Key"], VersionId=item["VersionId"])
    report_copies.write(Bucket(empty_bucket), FOUND)
    with index() as opened:
        assert opened.text("b.wav") is None
        assert opened.text("c.wav") == "three"


def test_a_failed_index_is_logged_with_what_to_do_and_leaves_no_part(
    entries: Any, empty_bucket: str, keys: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(search_index, "write", full)
    report_copies.write(Bucket(empty_bucket), FOUND)
    assert "Clear `verify` to write the index" in caplog.text
    assert (keys("tables/"), keys(INDEX)) == ([], [])


@pytest.mark.parametrize("body", [b"", b"no database at all", b"SQLite format 3\x00" + bytes(100)])
def test_another_file_is_no_index(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(body)
    with pytest.raises(UnknownIndexError):
        RunIndex(file)
