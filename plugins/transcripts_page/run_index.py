"""The search index of one plan of a run, as a file that is only read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transcription.search_index import ENTRY_COLUMNS, SCHEMA, About
from transcription.searchable import END_OF_MARK, MARK, Passage, Places, fts_query, passages, shown
from transcription_contract.results import ReportEntry

PASSAGES = 5
"""Found words of one recording that a hit shows."""

_ENTRY = ", ".join(f"r.{column}" for column in ENTRY_COLUMNS)
_WHERE = "(:state = '' OR r.state = :state) AND (:part = '' OR r.name LIKE :part ESCAPE '\\')"

_IS_NEWEST = (
    "AND EXISTS (SELECT 1 FROM newest.names n WHERE n.name = r.name AND n.text_in = :number AND NOT EXISTS "
    "(SELECT 1 FROM newest.corrections c WHERE c.name = n.name AND c.source_etag = n.source_etag))"
)


class UnknownIndexError(Exception):
    """The file is no search index, or one of another version of this pipeline."""


class NewestIn(NamedTuple):
    """Which recordings have their newest transcript in an index, by the file of `newest.Newest`."""

    file: Path
    number: int
    """The index's."""


class Hit(NamedTuple):
    """A recording whose text, or name, was found."""

    run_id: str
    plan_id: str
    entry: ReportEntry
    passages: tuple[Passage, ...] = ()
    """The first found words; none if the name was searched."""
    corrected: bool = False
    """Whether the passages are of a person's correction."""


class RunIndex:
    """The recordings of one plan of a run. Use it in a `with` statement, in one thread.

    Args:
        file: The index.

    Raises:
        UnknownIndexError: the file is no index of this version.
    """

    def __init__(self, file: Path) -> None:
        self._index = sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            [version] = self._index.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA:
                raise UnknownIndexError(f"The search index {file} has version {version} and not {SCHEMA}.")
            self.about = About(*self._index.execute("SELECT run_id, plan_id, finished FROM about").fetchone())
        except (sqlite3.DatabaseError, TypeError) as error:
            self._index.close()
            raise UnknownIndexError(f"{file} is no search index: {error}") from error
        except UnknownIndexError:
            self._index.close()
            raise

    def __enter__(self) -> RunIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()

    def recordings(
        self, *, state: str = "", name_part: str = "", limit: int = 50, offset: int = 0
    ) -> list[ReportEntry]:
        """Recordings by name.

        Args:
            state: Those of a state of the report only.
            name_part: Those whose name has this in it only, in capitals or not.
            limit: How many.
            offset: How many to leave out before.
        """
        query = f"SELECT {_ENTRY} FROM recordings r WHERE {_WHERE} ORDER BY r.name LIMIT :limit OFFSET :offset"  # noqa: S608
        found = self._index.execute(query, {**_filter(state, name_part), "limit": limit, "offset": offset})
        return [ReportEntry(*row) for row in found]

    def count(self, *, state: str = "", name_part: str = "") -> int:
        """How many recordings `recordings` would find without a limit."""
        query = f"SELECT count(*) FROM recordings r WHERE {_WHERE}"  # noqa: S608
        return int(self._index.execute(query, _filter(state, name_part)).fetchone()[0])

    def recording(self, name: str) -> ReportEntry | None:
        """The recording of this name, or None."""
        found = self._index.execute(f"SELECT {_ENTRY} FROM recordings r WHERE r.name = ?", (name,))  # noqa: S608
        return next((ReportEntry(*row) for row in found), None)

    def text(self, name: str) -> str | None:
        """The transcript of the recording of this name, as the machine wrote it."""
        found = self._index.execute("SELECT text FROM recordings WHERE name = ?", (name,)).fetchone()
        return shown(found[0]) if found and found[0] is not None else None

    def search(self, words: str, *, limit: int = 20, offset: int = 0, newest: NewestIn | None = None) -> list[Hit]:
        """Recordings whose text has the words, the best first.

        Args:
            words: As a user types them, see `searchable.fts_query`.
            limit: How many.
            offset: How many to leave out before.
            newest: If given, only the newest transcript of a recording counts, and none that a person has corrected.
        """
        query = fts_query(words)
        if not query:
            return []
        condition = ""
        if newest:
            self._index.execute("ATTACH ? AS newest", (str(newest.file),))
            condition = _IS_NEWEST
        found = self._index.execute(
            f"SELECT {_ENTRY}, highlight(texts, 0, :mark, :end_of_mark), r.places "  # noqa: S608
            f"FROM texts JOIN recordings r ON r.id = texts.rowid WHERE texts MATCH :query {condition} "
            "ORDER BY texts.rank LIMIT :limit OFFSET :offset",
            {
                "mark": MARK,
                "end_of_mark": END_OF_MARK,
                "query": query,
                "limit": limit,
                "offset": offset,
                "number": newest.number if newest else None,
            },
        )
        return [self._hit(row) for row in found]

    def _hit(self, row: Sequence[Any]) -> Hit:
        *entry, marked, body = row
        return Hit(self.about.run_id, self.about.plan_id, ReportEntry(*entry), found_passages(marked, body))


def found_passages(marked: str, places: bytes | None) -> tuple[Passage, ...]:
    """The first found words of a text with marks and the packed places of its words."""
    return tuple(passages(marked, Places.read(places) if places else None, most=PASSAGES))


def _filter(state: str, name_part: str) -> dict[str, str]:
    return {"state": state, "part": like(name_part) if name_part else ""}


def like(part: str) -> str:
    """A pattern of SQL's LIKE, with a backslash as ESCAPE, for a text that contains this part."""
    return "%" + "".join(f"\\{sign}" if sign in "%_\\" else sign for sign in part) + "%"
