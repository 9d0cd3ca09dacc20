"""Word errors, the measure of what is heard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def word_errors(said: str, heard: str) -> int:
    """The fewest words to insert, delete or replace to make one text of the other (Levenshtein)."""
    return _distance(said.split(), heard.split())


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """Errors of all (said, heard) together over the words said."""
    errors = words = 0
    for said, heard in pairs:
        errors += word_errors(said, heard)
        words += len(said.split())
    return errors / words


def _distance(first: Sequence[str], second: Sequence[str]) -> int:
    row = list(range(len(second) + 1))
    for number, word in enumerate(first, start=1):
        above, row[0] = row[0], number
        for column, other in enumerate(second, start=1):
            above, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, above + (word != other))
    return row[-1]
