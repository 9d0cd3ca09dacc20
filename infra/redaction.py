"""Takes the names and texts of recordings out of the documents that accounting leaves in the bucket."""

from __future__ import annotations

import gzip
import json
import secrets
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from transcription import search_index
from transcription_contract import layout
from transcription_contract.results import ReportEntry

CONTENT_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".gz": "application/gzip",
    ".sqlite": search_index.CONTENT_TYPE,
}
"""Of the documents by the end of their keys."""

# What the totals of a run, and SQL over all runs, need of a recording.
_KEPT = ("run_id", "plan_id", "finished", "state", "child", "audio_seconds", "compute_seconds", "code", "usd")


class NotOursError(Exception):
    """The document was not written by this pipeline."""


class Redaction:
    """Puts a pseudonym in the place of each name. One recording has the same one in all documents.

    Args:
        covers: Whether a recording's name has to go.
    """

    def __init__(self, covers: Callable[[str], bool]) -> None:
        self._covers = covers
        self._salt = secrets.token_bytes(16)  # it is kept nowhere, so no pseudonym leads back to a name

    def redact(self, key: str, document: IO[bytes], rest: IO[bytes]) -> bool:
        """Write a document without the names. Return whether it had any.

        Args:
            key: The document's; its end says which kind it is.
            document: Its content.
            rest: Where the new content goes.

        Raises:
            NotOursError: it is of another kind, or malformed.
        """
        kinds = {".json": self._json, ".jsonl": self._lines, ".gz": self._packed_lines, ".sqlite": self._index}
        try:
            return kinds[Path(key).suffix](document, rest)
        except (KeyError, ValueError, EOFError, gzip.BadGzipFile, zlib.error, sqlite3.DatabaseError) as error:
            raise NotOursError(f"{key!r} was not written by this pipeline: {error}") from error

    def _json(self, document: IO[bytes], rest: IO[bytes]) -> bool:
        content = json.load(document)
        remaining = self._without_names(content)
        rest.write(json.dumps(remaining, indent=1).encode())
        return bool(remaining != content)

    def _without_names(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self._without_names(part) for name, part in value.items()}
        if isinstance(value, list):
            return [self._without_names(part) for part in value if not self._names(part)]
        return value

    def _lines(self, document: Iterable[bytes], rest: IO[bytes] | gzip.GzipFile) -> bool:
        named = False
        for line in document:
            entry = json.loads(line)
            if self._names(entry):
                named = True
                line = json.dumps(self._without_name(entry)).encode() + b"\n"
            rest.write(line)
        return named

    def _packed_lines(self, document: IO[bytes], rest: IO[bytes]) -> bool:
        with gzip.GzipFile(fileobj=document, mode="rb") as rows, gzip.GzipFile(fileobj=rest, mode="wb") as left:
            return self._lines(rows, left)

    def _index(self, document: IO[bytes], rest: IO[bytes]) -> bool:
        with TemporaryDirectory() as folder:
            file = Path(folder) / layout.SEARCH_INDEX
            with file.open("wb") as copy:
                shutil.copyfileobj(document, copy)
            named = search_index.rename(file, self._renamed)
            with file.open("rb") as changed:
                shutil.copyfileobj(changed, rest)
        return named

    def _renamed(self, entry: ReportEntry) -> ReportEntry | None:
        if not self._covers(entry.name):
            return None
        figures = {"state": entry.state, "child": entry.child, "code": entry.code}
        seconds = {"audio_seconds": entry.audio_seconds, "compute_seconds": entry.compute_seconds}
        return ReportEntry(self._pseudonym(entry.source_key), **figures, **seconds)  # type: ignore[arg-type]

    def _without_name(self, entry: dict[str, Any]) -> dict[str, Any]:
        pseudonym = self._pseudonym(entry["source_key"])
        named = {"name": layout.recording_name(pseudonym)} if "name" in entry else {}
        return {"source_key": pseudonym, **named, **{figure: entry[figure] for figure in _KEPT if figure in entry}}

    def _pseudonym(self, source_key: str) -> str:
        name = layout.recording_name(source_key)
        return layout.ERASED + sha256(self._salt + name.encode()).hexdigest()[:16]

    def _names(self, value: Any) -> bool:
        key = value.get("source_key") if isinstance(value, dict) else None
        return isinstance(key, str) and self._covers(layout.recording_name(key))
