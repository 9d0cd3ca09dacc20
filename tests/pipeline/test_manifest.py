from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription import manifest
from transcription.errors import ManifestUnreadable
from transcription.manifest import Line
from transcription.models import ModelChoice

CONTRACT = Path(__file__).resolve().parents[1] / "contract" / "manifest.jsonl"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def line(name: str) -> Line:
    return Line(f"input/{name}", "etag", 7, NOON, f"output/{name}")


def test_the_examples_that_the_worker_is_tested_with_are_what_the_plan_writes() -> None:
    body = CONTRACT.read_bytes()
    choice = ModelChoice("s3://audio/models/français/model.pbmm", None)
    written = manifest.to_bytes(manifest.from_bytes(body, "a manifest"), choice)
    assert [json.loads(text) for text in written.splitlines()] == [json.loads(text) for text in body.splitlines()]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_name_stays_one_line_and_comes_back_as_it_was(name: str) -> None:
    body = manifest.to_bytes([line(name), line("next.wav")])
    assert body.count(b"\n") == 3
    assert list(manifest.from_bytes(body, "a manifest")) == [line(name), line("next.wav")]


def test_a_plan_is_the_same_only_if_each_childs_manifest_is() -> None:
    one, two = (manifest.to_bytes([line(name)]) for name in ("a.wav", "b.wav"))
    assert manifest.digest([one, two]) == manifest.digest([one, two])
    other = manifest.to_bytes([line("a.wav")], ModelChoice("asterisk-en-pbmm", None))
    assert len({manifest.digest(bodies) for bodies in ([one, two], [two, one], [one + two], [one], [other])}) == 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"input/a.wav\n",
        b"[]\n",
        b'{"schema": 1, "source_key": "input/a.wav"}\n',
        b'{"schema": 3}\n',
        b'{"schema": 2}\n{"source_key": "input/a.wav"}\n',
        b"\xff",
        b"[" * 200_000,
    ],
)
def test_what_is_no_manifest_is_named_with_what_to_do(body: bytes) -> None:
    with pytest.raises(ManifestUnreadable, match=r"'run/0' cannot be read .* Clear `plan`"):
        list(manifest.from_bytes(body, "run/0"))
