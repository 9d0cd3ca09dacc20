"""Word errors and the word error rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def word_errors(reference: str, transcript: str) -> int:
    """The minimum number of words to insert, delete or replace to turn one text into the other (Levenshtein)."""
    return _distance(reference.split(), transcript.split())


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """The word errors of all pairs (reference, transcript), divided by the number of reference words."""
    errors = words = 0
    for reference, transcript in pairs:
        errors += word_errors(reference, transcript)
        words += len(reference.split())
    return errors / words


def _distance(first: Sequence[str], second: Sequence[str]) -> int:
    row = list(range(len(second) + 1))
    for number, word in enumerate(first, start=1):
        above, row[0] = row[0], number
        for column, other in enumerate(second, start=1):
            above, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, above + (word != other))
    return row[-1]
