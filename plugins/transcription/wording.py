"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number and its noun: `1 file`, `1,234 files`, `2 children`."""
    plural = {"child": "children"}.get(noun, f"{noun}s")
    return f"{number:,} {noun if number == 1 else plural}"
