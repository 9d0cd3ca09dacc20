"""Which index has the newest transcript of each recording, and the corrected texts: an SQLite file on this machine.

It is made of the indexes and corrections in the bucket, and can be deleted at any time. Several processes may use it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from transcription.searchable import END_OF_MARK, MARK, TOKENIZER, Passage, fts_query, places, searchable
from transcription_contract.correction import Correction
from transcripts_page.run_index import NewestIn, found_passages, like

_FILE = "newest-1.sqlite"  # the number changes with the tables
_WAIT_SECONDS = 60.0  # for another process that writes
_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS indexes (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, etag TEXT NOT NULL, finished TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS names (
    name TEXT PRIMARY KEY, seen_in INTEGER NOT NULL, seen TEXT NOT NULL,
    text_in INTEGER, text_written TEXT NOT NULL, source_etag TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_by_time ON names (seen DESC, name);
CREATE TABLE IF NOT EXISTS corrections (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, etag TEXT NOT NULL, source_etag TEXT NOT NULL,
    text TEXT NOT NULL, places BLOB
);
CREATE VIRTUAL TABLE IF NOT EXISTS texts
USING fts5 (text, content='corrections', content_rowid='id', tokenize="{TOKENIZER}");
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON corrections BEGIN
    INSERT INTO texts (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON corrections BEGIN
    INSERT INTO texts (texts, rowid, text) VALUES ('delete', old.id, old.text);
END;
COMMIT;
"""  # noqa: S608
_SEEN = """
INSERT INTO names (name, seen_in, seen, text_in, text_written, source_etag)
SELECT name, :number, :finished, NULL, '', '' FROM taken.recordings WHERE true
ON CONFLICT (name) DO UPDATE SET seen_in = excluded.seen_in, seen = excluded.seen WHERE excluded.seen >= seen
"""
_WITH_TEXT = """
INSERT INTO names (name, seen_in, seen, text_in, text_written, source_etag)
SELECT name, :number, :finished, :number, :finished, source_etag FROM taken.recordings WHERE text IS NOT NULL
ON CONFLICT (name) DO UPDATE
SET text_in = excluded.text_in, text_written = excluded.text_written, source_etag = excluded.source_etag
WHERE excluded.text_written >= text_written
"""


class Index(NamedTuple):
    """An index in the bucket."""

    number: int
    key: str
    etag: str


class CorrectedHit(NamedTuple):
    """A recording whose corrected text was found."""

    name: str
    number: int
    """Of the index with its newest transcript."""
    passages: tuple[Passage, ...]


class Newest:
    """The newest transcript of each recording.

    Args:
        folder: Where the file is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        with self._opened() as known:
            known.executescript(_CREATE)

    def indexes(self) -> list[Index]:
        """All indexes that were taken in, the newest first."""
        with self._opened() as known:
            return [
                Index(*row) for row in known.execute("SELECT number, key, etag FROM indexes ORDER BY finished DESC")
            ]

    def newest_in(self, index: Index) -> NewestIn:
        """For a search among the newest transcripts of an index."""
        return NewestIn(self._file, index.number)

    def take_in(self, key: str, etag: str, index_file: Path) -> None:
        """Note what an index has, in the place of an earlier version of it.

        Args:
            key: The index's.
            etag: Its version.
            index_file: Its content.
        """
        with self._opened() as known:
            known.execute("ATTACH ? AS taken", (f"{index_file.as_uri()}?mode=ro&immutable=1",))
            known.execute("BEGIN IMMEDIATE")
            earlier = known.execute("SELECT number FROM indexes WHERE key = ?", (key,)).fetchone()
            if earlier:
                self._forget(known, *earlier)
            known.execute(
                "INSERT INTO indexes (key, etag, finished) SELECT ?, ?, finished FROM taken.about WHERE true "
                "ON CONFLICT (key) DO UPDATE SET etag = excluded.etag, finished = excluded.finished",
                (key, etag),
            )
            number, finished = known.execute("SELECT number, finished FROM indexes WHERE key = ?", (key,)).fetchone()
            for statement in (_SEEN, _WITH_TEXT):
                known.execute(statement, {"number": number, "finished": finished})

    def drop(self, index: Index) -> None:
        """Forget an index that is gone from the bucket."""
        with self._opened() as known:
            known.execute("BEGIN IMMEDIATE")
            self._forget(known, index.number)
            known.execute("DELETE FROM indexes WHERE number = ?", (index.number,))

    def _forget(self, known: sqlite3.Connection, number: int) -> None:
        """Take an index's recordings out. Of one whose text another index has, that one counts from now on."""
        known.execute("UPDATE names SET text_in = NULL, text_written = '' WHERE text_in = ?", (number,))
        known.execute("DELETE FROM names WHERE seen_in = ? AND text_in IS NULL", (number,))
        known.execute("UPDATE names SET seen_in = text_in, seen = text_written WHERE seen_in = ?", (number,))

    def corrections(self) -> dict[str, str]:
        """ETag of each recording's correction, by the recording's name."""
        with self._opened() as known:
            return dict(known.execute("SELECT name, etag FROM corrections"))

    def put_correction(self, correction: Correction, etag: str) -> None:
        """Note a correction, in the place of an earlier one."""
        text = searchable(correction.text)
        where = places(text, correction.words, speakers=correction.speakers) if correction.words else None
        with self._opened() as known:
            known.execute("BEGIN IMMEDIATE")
            known.execute("DELETE FROM corrections WHERE name = ?", (correction.name,))
            known.execute(
                "INSERT INTO corrections (name, etag, source_etag, text, places) VALUES (?, ?, ?, ?, ?)",
                (correction.name, etag, correction.source_etag, text, where.to_bytes() if where else None),
            )

    def drop_correction(self, name: str) -> None:
        """Forget a correction that is gone from the bucket."""
        with self._opened() as known:
            known.execute("DELETE FROM corrections WHERE name = ?", (name,))

    def search_corrections(self, words: str, limit: int) -> list[CorrectedHit]:
        """Corrections of newest transcripts whose text has the words, those of the newest transcripts first.

        Args:
            words: As a user types them.
            limit: How many.
        """
        query = fts_query(words)
        if not query:
            return []
        with self._opened() as known:
            found = known.execute(
                "SELECT c.name, n.text_in, highlight(texts, 0, ?, ?), c.places "
                "FROM texts JOIN corrections c ON c.id = texts.rowid "
                "JOIN names n ON n.name = c.name AND n.source_etag = c.source_etag "
                "WHERE texts MATCH ? AND n.text_in IS NOT NULL ORDER BY n.text_written DESC, c.name LIMIT ?",
                (MARK, END_OF_MARK, query, limit),
            )
            return [CorrectedHit(name, number, found_passages(marked, where)) for name, number, marked, where in found]

    def search_names(self, part: str, *, limit: int, offset: int) -> list[tuple[str, int]]:
        """Names that have the part in them, in capitals or not, with the number of the newest index that has them."""
        with self._opened() as known:
            found = known.execute(
                "SELECT name, seen_in FROM names WHERE name LIKE ? ESCAPE '\\' "
                "ORDER BY seen DESC, name LIMIT ? OFFSET ?",
                (like(part), limit, offset),
            )
            return found.fetchall()

    def index_of(self, name: str) -> Index | None:
        """The newest index that has a recording of this name, or None."""
        with self._opened() as known:
            query = "SELECT number, key, etag FROM indexes JOIN names ON seen_in = number WHERE name = ?"
            found = known.execute(query, (name,)).fetchone()
            return Index(*found) if found else None

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection whose transaction is committed if the block ends without an exception."""
        known = sqlite3.connect(self._file.as_uri(), uri=True, timeout=_WAIT_SECONDS, isolation_level=None)
        try:
            known.execute("PRAGMA synchronous = OFF")  # what a power failure destroys is made again
            yield known
            if known.in_transaction:
                known.execute("COMMIT")
        finally:
            known.close()
