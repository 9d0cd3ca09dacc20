"""The worker's documents are read unchanged, and metadata name exactly one recording."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from transcription_contract import results
from transcription_contract.results import ErrorCode, ErrorDocument, Owner

DOCUMENT = ErrorDocument(
    code=ErrorCode.UNREADABLE,
    reason="It is archived. Restore it.",
    detail="InvalidObjectState",
    source_key="input/ä.wav",
    source_etag="abc",
    uploaded="2026-11-20T12:00:00+00:00",
    run="child_job_input/r/",
    made_by={"engine": "deepspeech 0.9.3"},
)


def test_an_error_document_is_read_without_its_provenance() -> None:
    assert ErrorDocument.read(DOCUMENT.to_bytes()) == replace(DOCUMENT, code="unreadable", made_by={})
    assert json.loads(DOCUMENT.to_bytes())["engine"] == "deepspeech 0.9.3"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 200_000])
def test_other_documents_are_not_read(body: bytes) -> None:
    assert ErrorDocument.read(body) is None


def test_two_names_never_have_the_same_id_and_each_id_fits_into_metadata() -> None:
    names = [
        "a.wav",
        "a.mp3",
        "ä.wav",
        "a\u0308.wav",
        "A.wav",
        "a%2E.wav",
        "a b",
        "a+b",
        "/".join("ä" * 400),
        "ä" * 500,
    ]
    ids = [results.recording_id(name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(found.isascii() and found.isprintable() and len(found) <= 512 for found in ids)


def test_metadata_without_a_valid_owner_give_no_owner() -> None:
    assert Owner.of({}) == Owner()
    assert Owner.of({results.UPLOADED: "yesterday"}).uploaded is None
    assert Owner.of({results.UPLOADED: "2026-11-20T12:00:00"}).uploaded is None
    found = Owner.of({results.RECORDING: "a.wav", results.SOURCE_ETAG: "e", results.UPLOADED: DOCUMENT.uploaded})
    assert found == Owner("a.wav", "e", datetime(2026, 11, 20, 12, tzinfo=timezone.utc))  # noqa: UP017, Python 3.9
