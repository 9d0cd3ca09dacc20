"""The columns of the data set that accounting writes and that Amazon Athena reads, as SQL types of Athena."""

from __future__ import annotations

from dataclasses import fields

from .results import ReportEntry

_TYPES = {"str": "string", "int": "bigint", "float": "double"}

RECORDINGS = {
    "run_id": "string",
    "plan_id": "string",
    "finished": "string",
    "name": "string",
    **{field.name: _TYPES[str(field.type)] for field in fields(ReportEntry)},
    "usd": "double",
    "text": "string",
}
"""A row for each entry of each final report: the accounting, the recording's name, the entry, its cost, its text."""

PARTITION = {"day": "string"}
"""When the report was written, such as 2026-11-28; part of the key, see `layout.table_key`."""

CORRECTIONS = {"name": "string", "source_etag": "string", "author": "string", "time": "string", "text": "string"}
"""What the corrections have for SQL: `source_etag` says which version of the recording a correction is of."""
