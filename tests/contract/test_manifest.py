"""A manifest is read unchanged. A malformed one is rejected with the line's number."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transcription_contract import manifest
from transcription_contract.manifest import Header, ManifestError, Recording
from transcription_contract.model_files import ModelChoice
from transcription_contract.run_options import TranscriptionOptions

ETAG = "5d41402abc4b2a76b9719d911017c592"
NOON = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(0)))
HEADER = Header(
    ModelChoice("s3://audio/models/français/model.pbmm", None),
    TranscriptionOptions(output_formats=("json",), hot_words={"café": 7.5}, lm_alpha=0.5, lm_beta=1),
)


def recording(name: str, folder: str = "input/") -> Recording:
    return Recording(f"{folder}{name}", ETAG, 48044, NOON, keeps_extension=False)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name[-1] != "/")))
def test_recordings_with_any_names_are_read_unchanged(names: list[str]) -> None:
    recordings = [recording(name) for name in names]
    body = manifest.to_bytes(HEADER, recordings)
    assert body.count(b"\n") == len(names) + 1
    header, found = manifest.read(io.BytesIO(body))
    assert header == HEADER
    assert list(found) == recordings


def test_every_key_of_a_recording_follows_from_its_name() -> None:
    for folder in ("input/", "processed/"):
        found = recording("calls/a b.wav", folder)
        assert found.name == "calls/a b.wav"
        assert found.processed_key == "processed/calls/a b.wav"
        assert found.failed_key == "failed/calls/a b.wav"
        assert found.error_key == "failed/calls/a b.wav.error.json"
        assert found.in_place == (folder == "processed/")


LINE: dict[str, Any] = json.loads(recording("talk.wav").to_json())


def body(*lines: Any, **header: Any) -> bytes:
    first = {"schema": 4, "model": None, "scorer": None, "options": {}, **header}
    return "\n".join(map(json.dumps, (first, *lines))).encode()


@pytest.mark.parametrize(
    ("malformed", "reason"),
    [
        (b"", "line 1"),
        (b"input/a.wav\ninput/b.wav\n", "line 1"),
        (body(LINE, schema=3), "schema 3, and this version reads schema 4"),
        (json.dumps(LINE).encode(), "schema None"),
        (body(LINE, model=7), "model or scorer must be a text"),
        (body(LINE, scorer=""), "model or scorer must be a text"),
        (body(LINE, options=None), "options must be an object"),
        (body(LINE, options={"beam_width": 0}), "beam_width is 0"),
        (body(LINE, options={"prefix": "a"}), "no option 'prefix'"),
        (b"[]", "not a JSON object"),
        (body([]), "line 2 .* not a JSON object"),
        (b"\xff\xfe{}", "line 1"),
        (b"[" * 200_000, "line 1"),
        (body({name: LINE[name] for name in LINE if name != "uploaded"}), "uploaded is missing"),
        (body({**LINE, "uploaded": "2026-11-20T12:00:00"}), "offset from UTC"),
        (body({**LINE, "uploaded": "yesterday"}), "line 2"),
        (body({**LINE, "source_size": "1"}), "source_size"),
        (body({**LINE, "source_size": -1}), "source_size"),
        (body({**LINE, "source_size": True}), "source_size"),
        (body({**LINE, "source_etag": '"abc"'}), "without quotes"),
        (body({**LINE, "source_key": ""}), "source_key"),
        (body({**LINE, "source_key": "output/talk"}), "under input/ or processed/"),
        (body({**LINE, "source_key": "input/folder/"}), "under input/ or processed/"),
        (body({**LINE, "source_key": "\ud800"}), "line 2"),
        (body({**LINE, "keeps_extension": 1}), "keeps_extension must be true or false"),
    ],
)
def test_the_error_for_a_malformed_manifest_names_the_line(malformed: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        list(manifest.read(io.BytesIO(malformed))[1])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(
    st.one_of(
        st.binary(max_size=300),
        st.dictionaries(
            st.sampled_from([*LINE, "schema", "model", "scorer", "options"]),
            st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers())),
        ).map(lambda changes: body({**LINE, **changes}, **changes)),
    )
)
def test_any_bytes_are_read_or_rejected(made_up: bytes) -> None:
    try:
        recordings = list(manifest.read(io.BytesIO(made_up))[1])
    except ManifestError:
        return
    for found in recordings:
        assert found.source_key
        assert found.source_size >= 0
