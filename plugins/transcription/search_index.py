"""The search index of one accounting: an SQLite file with the report's entries and the text of each transcript."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import NamedTuple

from transcription.searchable import TOKENIZER, Places
from transcription_contract.results import ReportEntry

CONTENT_TYPE = "application/vnd.sqlite3"
SCHEMA = 1

_TYPES = {"str": "TEXT", "int": "INTEGER", "float": "REAL"}
ENTRY_COLUMNS = tuple(field.name for field in fields(ReportEntry))
_COLUMNS = ", ".join(f"{field.name} {_TYPES[str(field.type)]} NOT NULL" for field in fields(ReportEntry))
_CREATE = f"""
CREATE TABLE about (run_id TEXT NOT NULL, plan_id TEXT NOT NULL, finished TEXT NOT NULL);
CREATE TABLE recordings (id INTEGER PRIMARY KEY, name TEXT NOT NULL, {_COLUMNS}, text TEXT, places BLOB);
CREATE VIRTUAL TABLE texts USING fts5 (text, content='recordings', content_rowid='id', tokenize="{TOKENIZER}");
PRAGMA user_version = {SCHEMA};
"""
_CREATE_LAST = """
CREATE INDEX by_name ON recordings (name);
CREATE INDEX by_state ON recordings (state, name);
INSERT INTO texts (texts) VALUES ('rebuild');
INSERT INTO texts (texts) VALUES ('optimize');
"""


class Indexed(NamedTuple):
    """A recording as the index takes it."""

    entry: ReportEntry
    text: str | None = None
    """As `searchable` returns it; None if there is no transcript."""
    places: Places | None = None
    """None if the transcript has no word times."""


class About(NamedTuple):
    """Which accounting an index is of."""

    run_id: str
    plan_id: str
    finished: str
    """ISO 8601 in UTC; its order as a text is that of time."""


def write(file: Path, about: About, recordings: Iterable[Indexed]) -> None:
    """Write an index. Memory does not grow with the number of recordings.

    Args:
        file: Does not exist yet.
        about: Which accounting it is of.
        recordings: In the order of the report's entries.
    """
    holes = ", ".join("?" * (len(ENTRY_COLUMNS) + 3))
    insert = f"INSERT INTO recordings (name, {', '.join(ENTRY_COLUMNS)}, text, places) VALUES ({holes})"  # noqa: S608
    with opened(file) as index:
        index.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _CREATE)
        index.execute("INSERT INTO about VALUES (?, ?, ?)", about)
        index.executemany(
            insert,
            (
                (entry.name, *astuple(entry), text, places.to_bytes() if places else None)
                for entry, text, places in recordings
            ),
        )
        index.executescript(_CREATE_LAST)


def rename(file: Path, renamed: Callable[[ReportEntry], ReportEntry | None]) -> bool:
    """Put others in the place of recordings, so that the file has neither their names nor their texts any more.

    Args:
        file: The index, which is changed in place.
        renamed: What stands for an entry from now on; None if it stays as it is.

    Returns:
        Whether the index had any of them.
    """
    changes = ", ".join(f"{column} = ?" for column in ENTRY_COLUMNS)
    update = f"UPDATE recordings SET name = ?, {changes}, text = NULL, places = NULL WHERE id = ?"  # noqa: S608
    with opened(file) as index:
        rows = index.execute(f"SELECT id, {', '.join(ENTRY_COLUMNS)} FROM recordings")  # noqa: S608
        changed = [(number, other) for number, *values in rows if (other := renamed(ReportEntry(*values)))]
        index.executemany(update, ((other.name, *astuple(other), number) for number, other in changed))
        if changed:
            index.commit()
            index.executescript("INSERT INTO texts (texts) VALUES ('rebuild'); VACUUM;")
    return bool(changed)


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection that commits and closes if the block ends without an exception."""
    index = sqlite3.connect(file)
    try:
        yield index
        index.commit()
    finally:
        index.close()
