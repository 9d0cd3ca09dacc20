"""`make erase` after whole runs: no version of any object has the recording's name any more, and all others stay."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import erase
import pytest
from erase import CannotEraseError, Subject

from transcription_contract import layout, manifest
from transcription_contract.manifest import Header, Recording
from transcription_contract.results import ReportEntry, recording_id
from transcripts_page import search
from transcripts_page.catalogue import Catalogue
from transcripts_page.corrections import Corrections, correct

PROJECT = Path(__file__).resolve().parents[2]
SPEECH = (PROJECT / "tests" / "recordings" / "vm-leavemsg.wav").read_bytes()
Traces = Callable[[str], list[str]]


@pytest.fixture(autouse=True)
def administrator(configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs with the user's rights, and not with those that a test has used before."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture
def traces(s3: Any, empty_bucket: str) -> Traces:
    """Keys of all versions and delete markers that contain a text: in the key, the metadata or the body."""

    def contents() -> Iterator[tuple[str, str]]:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=empty_bucket):
            for version in page.get("Versions", ()):
                got = s3.get_object(Bucket=empty_bucket, Key=version["Key"], VersionId=version["VersionId"])
                metadata = " ".join(got["Metadata"].values())
                body = got["Body"].read()
                if version["Key"].startswith(layout.TABLE):
                    body = gzip.decompress(body)
                yield version["Key"], f"{version['Key']} {metadata} {body.decode(errors='replace')}"
            for marker in page.get("DeleteMarkers", ()):
                yield marker["Key"], marker["Key"]

    def traces(text: str) -> list[str]:
        return sorted({key for key, content in contents() if text in content})

    return traces


@pytest.fixture
def erased(empty_bucket: str, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Erases a recording or a folder and returns the receipt."""

    def erased(name: str) -> dict[str, Any]:
        receipt = tmp_path / "receipt.json"
        erase.run(Subject(name), empty_bucket, receipt, confirmed=True)
        return json.loads(receipt.read_text())

    return erased


def entries(keys: Any, read: Any) -> list[ReportEntry]:
    """All entries of all reports."""
    named = [key for key in keys("runs/") if key.endswith("entries.jsonl")]
    return [ReportEntry.read(line) for key in named for line in read(key).splitlines()]


def entry_of(keys: Any, read: Any, name: str) -> ReportEntry:
    return next(entry for entry in entries(keys, read) if entry.name == name)


def test_a_recording_is_erased_with_every_trace_and_its_neighbours_stay(
    run: Any, put: Any, keys: Any, read: Any, traces: Traces, erased: Any, s3: Any, empty_bucket: str, tmp_path: Path
) -> None:
    put("input/calls/secret.wav", b"an upload that was replaced")
    for name in ("calls/secret.wav", "calls/secret.mp3", "calls/secret.json.wav", "calls/other.wav"):
        put(f"input/{name}", SPEECH)
    put("input/calls/secret.wav.ogg", b"no audio")
    assert run(output_formats=["json", "srt"]).returncode == 0
    assert run(again=True, output_formats=["vtt"], hot_words=None, prefix="calls/").returncode == 0
    put("input/calls/secret.wav", SPEECH, again="yes")
    secret = correct(entry_of(keys, read, "calls/secret.wav"), None, "xylophone", "ann")
    for correction in (secret, replace(secret, text="zeppelin"), replace(secret, name="calls/other.wav")):
        corrections = Corrections(s3, empty_bucket)
        corrections.save(correction, corrections.etag(correction.name))
    put("query_results/1.csv", b"calls/secret.wav,xylophone")
    assert len(traces("secret.wav")) > 8
    before = {key: read(key) for key in keys("output/") if not key.startswith("output/calls/secret.wav")}
    assert len(before) >= 3

    receipt = erased("calls/secret.wav")

    left = [key for key in traces("calls/secret.wav") if "secret.wav.ogg" not in key]
    assert [key for key in left if not key.startswith(("runs/", "tables/"))] == []
    assert traces("zeppelin") == []
    assert traces("xylophone") == [layout.correction_key("calls/other.wav")]
    assert keys("query_results/") == []
    assert {entry.source_key for entry in entries(keys, read) if "secret.wav" in entry.source_key} == {
        "input/calls/secret.wav.ogg"
    }
    assert {key: read(key) for key in before} == before
    assert {"processed/calls/other.wav", "processed/calls/secret.mp3", "failed/calls/secret.wav.ogg"} <= set(keys())
    catalogue = Catalogue(s3, empty_bucket, tmp_path / "page")
    assert search.by_name(catalogue, "secret.wav").hits == [search.by_name(catalogue, "secret.wav.ogg").hits[0]]
    said = {hit.entry.name for hit in search.by_words(catalogue, "leave message").hits}
    assert said == {"calls/secret.mp3", "calls/secret.json.wav"}, "the corrected text of other.wav counts"
    assert receipt["complete"]
    assert receipt["by"].startswith("arn:aws:")
    assert {"processed/calls/secret.wav", "input/calls/secret.wav"} <= {v["key"] for v in receipt["versions"]}


def test_a_folder_is_erased_with_every_trace_and_no_other_folder(
    run: Any, put: Any, keys: Any, read: Any, traces: Traces, erased: Any
) -> None:
    for name in ("private/a.wav", "private/b/c.wav", "public/private.wav"):
        put(f"input/{name}", SPEECH)
    put("input/private/bad.mp3", b"no audio")
    put("input/private/notes.txt", b"no recording")
    assert run(output_formats=["json"]).returncode == 0
    totals = [json.loads(read(key))["totals"] for key in keys("runs/") if key.endswith("report.json")]

    assert erased("private/")["complete"]

    assert traces("private/") == ["input/private/notes.txt"]
    assert len(keys("tables/recordings/")) == 1
    assert keys("output/") == ["output/public/private", "output/public/private.json"]
    erased_keys = [e.source_key for e in entries(keys, read) if e.source_key.startswith(layout.ERASED)]
    assert len(set(erased_keys)) == 3, "so that the totals of the run still count each"
    assert [json.loads(read(key))["totals"] for key in keys("runs/") if key.endswith("report.json")] == totals


def test_an_older_transcript_of_another_recording_does_not_come_back(
    s3: Any, put: Any, keys: Any, traces: Traces, erased: Any
) -> None:
    put("output/a", b"of another", recording=recording_id("a.mp3"))
    put("output/a", b"of this one", recording=recording_id("a.wav"))
    erased("a.wav")
    assert keys("output/") == []
    assert traces("of this one") == []
    assert traces("of another") == ["output/a"]
    with pytest.raises(CannotEraseError, match="has nothing of"):
        erased("a.wav")


def test_what_does_not_say_whose_it_is_stays_and_is_named(put: Any, keys: Any, erased: Any) -> None:
    put("processed/a.wav", SPEECH)
    put("output/a", b"written by a person")
    assert erased("a.wav")["kept"] == ["output/a"]
    assert keys() == ["output/a"]


def test_the_names_of_deleted_objects_are_erased_too(
    s3: Any, put: Any, empty_bucket: str, traces: Traces, erased: Any
) -> None:
    for key in ("input/a.wav", "output/a.wav", "output/a.wav.srt"):
        put(key, b"x", recording=recording_id("a.wav"))
        s3.delete_object(Bucket=empty_bucket, Key=key)
    erased("a.wav")
    assert traces("a.wav") == []


def test_keys_that_only_begin_alike_are_left_alone(
    s3: Any, put: Any, keys: Any, empty_bucket: str, traces: Traces, erased: Any
) -> None:
    put("processed/a.wav", SPEECH)
    put("output/ab", b"written by a person")
    put("output/ab.srt", b"x", recording=recording_id("ab.wav"))
    s3.delete_object(Bucket=empty_bucket, Key="output/ab.srt")
    for key in ("runs/notes.json", "runs/notes.sqlite", "runs/notes.jsonl.gz", "runs/notes"):
        put(key, b"written by a person, and no JSON")
    assert erased("a.wav")["kept"] == []
    assert keys() == ["output/ab", "runs/notes", "runs/notes.json", "runs/notes.jsonl.gz", "runs/notes.sqlite"]
    assert traces("output/ab.srt") == ["output/ab.srt"]


def test_the_receipt_says_so_if_something_is_still_there(
    put: Any, erased: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("processed/a.wav", SPEECH)
    monkeypatch.setattr(erase.Eraser, "_delete", lambda *_: None)
    assert not erased("a.wav")["complete"]


def test_a_recording_in_the_plan_of_a_run_is_not_erased(put: Any, keys: Any, read: Any, erased: Any) -> None:
    etag = put("input/a.wav", SPEECH)
    recording = Recording("input/a.wav", etag, len(SPEECH), datetime.now(UTC), False)
    put("child_job_input/a-run/0", manifest.to_bytes(Header(), [recording]))
    with pytest.raises(CannotEraseError, match=r"The run a-run has .* in its plan"):
        erased("a.wav")
    assert read("input/a.wav") == SPEECH


def test_manifests_of_runs_that_have_ended_are_erased_also_those_of_other_versions(
    s3: Any, put: Any, empty_bucket: str, traces: Traces, erased: Any
) -> None:
    put("processed/a.wav", SPEECH)
    for index, name in enumerate(("a.wav", "b.wav")):
        put(f"child_job_input/a-run/{index}", b'{"schema": 1}\n{"source_key": "input/%s"}\n' % name.encode())
        s3.delete_object(Bucket=empty_bucket, Key=f"child_job_input/a-run/{index}")
    erased("a.wav")
    assert traces("a.wav") == []
    assert traces("b.wav") == ["child_job_input/a-run/1"]


def test_an_erasure_that_was_stopped_is_finished_by_the_next(
    put: Any, empty_bucket: str, traces: Traces, erased: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put("processed/a.wav", SPEECH)
    put("output/a", b"words", recording=recording_id("a.wav"))
    put("runs/r/p/entries.jsonl", ReportEntry("input/a.wav", "transcribed", 0, transcript_key="output/a").to_bytes())

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(erase.Eraser, "_rewrite", stop)
        with pytest.raises(KeyboardInterrupt):
            erased("a.wav")
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert not receipt["complete"]
    assert traces("a.wav") == ["runs/r/p/entries.jsonl"]
    assert erased("a.wav")["complete"]
    assert traces("a.wav") == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("calls", "'calls' is not the name of a recording. Name one below input/, such as 'calls/a.wav'"),
        ("/calls/a.wav", "begins with a slash"),
        ("", "is not the name of a recording"),
        ("input/a.wav", "has nothing of 'input/a.wav'. Names are below input/: leave that out."),
    ],
)
def test_a_wrong_name_is_refused_with_what_to_do(put: Any, erased: Any, name: str, message: str) -> None:
    put("processed/a.wav", SPEECH)
    with pytest.raises(CannotEraseError, match=re.escape(message)):
        erased(name)


def test_the_command_asks_and_erases_nothing_without_a_yes(
    put: Any, keys: Any, stack: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    put("processed/a.wav", SPEECH)
    command = [str(PROJECT / "build" / "local"), "a.wav", "--receipt", str(tmp_path / "receipt.json")]
    for answer in (lambda _: "no", lambda _: (_ for _ in ()).throw(EOFError)):
        monkeypatch.setattr("builtins.input", answer)
        with pytest.raises(SystemExit, match="Nothing was erased"):
            erase.main(command)
    assert keys("processed/") == ["processed/a.wav"]
    assert "1 version of audio and error documents" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    erase.main(command)
    assert keys("processed/") == []
    assert "The receipt: " in capsys.readouterr().out
