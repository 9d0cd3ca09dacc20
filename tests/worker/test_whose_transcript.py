"""Only a transcript of the same recording, of the same or a newer version, replaces a transcript."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.worker.harness import TEXTS, Bucket, recording
from tests.worker.proxy import Call, Proxy, Reset, proxied
from transcriber import storage
from transcriber.delivery import Delivery, Outcome
from transcriber.engine_programs import EngineFacts
from transcriber.failures import RecordingFailed
from transcriber.model_file import File
from transcriber.model_loading import Model
from transcriber.provenance import Provenance
from transcriber.samples import PieceSeconds
from transcriber.transcript import Segment, Transcript
from transcription_contract.manifest import Recording
from transcription_contract.model_files import ModelKind
from transcription_contract.run_options import TranscriptionOptions
from transcription_contract.words import Word

OTHER = "vm-leavemsg.wav"
SHORT_TEXT = "press zero for help"
MODEL = Model(File("m", Path("m"), "0" * 64), ModelKind.TFLITE, None, None)
ENGINE = EngineFacts("engine", "1", 16_000, PieceSeconds(), 1, None)
OLD = "2026-01-01T00:00:00+00:00"
FUTURE = "2036-01-01T00:00:00+00:00"


@pytest.fixture
def fault(endpoint: str) -> Iterator[tuple[Proxy, str]]:
    with proxied(endpoint) as running:
        yield running


def night(bucket: Bucket, *lines: dict[str, Any], formats: tuple[str, ...] = ()) -> None:
    """Run the worker, and check that it succeeds."""
    bucket.plan(*lines)
    bucket.set_options(output_formats=list(formats))
    run = bucket.run()
    assert run.code == 0, run


@pytest.mark.parametrize("names", [("a.mp3", "a.wav"), ("a.wav", "a.mp3")])
def test_a_recording_of_the_next_night_does_not_replace_the_transcript_with_the_same_stem(
    names: Any, bucket: Bucket
) -> None:
    first, second = names
    night(bucket, bucket.put(first))
    night(bucket, bucket.put(second, recording(OTHER)))
    assert bucket.listing() == sorted(["output/a", f"output/{second}", f"processed/{first}", f"processed/{second}"])
    assert bucket.text("output/a") == SHORT_TEXT
    assert bucket.text(f"output/{second}") == TEXTS[OTHER]
    night(bucket, bucket.put(second))
    night(bucket, bucket.put(first, recording(OTHER)))
    assert (bucket.text("output/a"), bucket.text(f"output/{second}")) == (TEXTS[OTHER], SHORT_TEXT)


@pytest.mark.parametrize("names", [("talk.json.wav", "talk.wav"), ("talk.wav", "talk.json.wav")])
@pytest.mark.parametrize("formats", [(), ("json",), ("srt", "json")])
def test_the_json_of_one_recording_and_the_transcript_of_another_have_different_keys(
    names: Any, formats: tuple[str, ...], bucket: Bucket
) -> None:
    for name, content in zip(names, (recording(), recording(OTHER)), strict=True):
        night(bucket, bucket.put(name, content), formats=formats)
    for name, text in zip(names, (SHORT_TEXT, TEXTS[OTHER]), strict=True):
        assert bucket.transcript(name) == text
        if "json" in formats:
            key = bucket.transcript_key({"source_key": f"input/{name}"})
            assert json.loads(bucket.read(f"{key}.json"))["source_key"] == f"input/{name}"


def test_a_name_that_contains_a_format_keeps_its_extension(bucket: Bucket) -> None:
    night(bucket, bucket.put("x.srt.wav"), bucket.put("x.wav", recording(OTHER)), formats=("srt",))
    assert bucket.text("output/x.srt.wav") == SHORT_TEXT
    assert TEXTS[OTHER].split()[0] in bucket.text("output/x.srt")


def test_recordings_with_the_same_stem_in_one_child_get_two_transcripts(bucket: Bucket) -> None:
    extensions = ("wav", "mp3", "flac", "ogg")
    contents = dict(zip(extensions, TEXTS, strict=False))
    lines = [bucket.put(f"a.{extension}", recording(name)) for extension, name in contents.items()]
    night(bucket, *lines, formats=("json", "srt"))
    for extension, name in contents.items():
        key = bucket.transcript_key({"source_key": f"input/a.{extension}"})
        assert bucket.text(key) == TEXTS[name]
        assert json.loads(bucket.read(f"{key}.json"))["text"] == TEXTS[name]
    outputs = [key for key in bucket.listing() if key.startswith("output/")]
    assert len(outputs) == 3 * len(extensions), outputs


def test_a_recording_that_keeps_its_extension_uses_the_short_key_only_if_its_transcript_is_there(
    bucket: Bucket,
) -> None:
    keeping = {**bucket.put("a.wav"), "keeps_extension": True}
    night(bucket, keeping)
    assert [key for key in bucket.listing() if key.startswith("output/")] == ["output/a.wav"]
    bucket.put_output("output/b", "b.wav", etag="older", uploaded=OLD)
    night(bucket, {**bucket.put("b.wav"), "keeps_extension": True})
    assert bucket.text("output/b") == SHORT_TEXT
    assert "output/b.wav" not in bucket.listing()


@pytest.mark.parametrize(("theirs", "formats"), [("output/talk", ()), ("output/talk.json", ("json",))])
def test_a_users_own_file_is_never_replaced(theirs: str, formats: tuple[str, ...], bucket: Bucket) -> None:
    bucket.s3.put_object(Bucket=bucket.name, Key=theirs, Body=b"my own words")
    night(bucket, bucket.put("talk.wav"), formats=formats)
    assert bucket.read(theirs) == b"my own words"
    assert bucket.text("output/talk.wav") == SHORT_TEXT


def test_a_recording_is_rejected_if_a_users_own_files_have_its_keys(bucket: Bucket) -> None:
    for key in ("output/talk", "output/talk.wav"):
        bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=b"my own words")
    night(bucket, bucket.put("talk.wav"))
    assert bucket.reason("talk.wav")["code"] == "name-taken"
    assert "output/talk.wav" in bucket.reason("talk.wav")["reason"]
    assert "failed/talk.wav" in bucket.listing()
    assert bucket.read("output/talk") == bucket.read("output/talk.wav") == b"my own words"


@pytest.mark.parametrize("uploaded", ["a second later", "in the same second"])
def test_captions_of_an_older_version_that_the_run_does_not_renew_are_deleted(uploaded: str, bucket: Bucket) -> None:
    first = bucket.put("call.wav")
    night(bucket, first, formats=("srt", "json"))
    second = bucket.put("call.wav", recording(OTHER))
    time = datetime.fromisoformat(first["uploaded"]) + timedelta(seconds=uploaded == "a second later")
    night(bucket, {**second, "uploaded": time.isoformat()}, formats=("json",))
    assert [key for key in bucket.listing() if key.startswith("output/")] == ["output/call", "output/call.json"]
    assert json.loads(bucket.read("output/call.json"))["text"] == TEXTS[OTHER]


def test_captions_of_the_same_version_stay_even_if_the_run_does_not_request_them(bucket: Bucket) -> None:
    line = bucket.put("call.wav")
    night(bucket, line, formats=("srt",))
    bucket.plan({**line, "source_key": "processed/call.wav"})
    bucket.set_options(beam_width=100)
    assert bucket.run().code == 0
    assert "output/call.srt" in bucket.listing()


def test_a_write_whose_response_is_lost_counts_once(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    lost: set[str] = set()

    def lose(call: Call) -> None:
        if call.step in ("put output", "put failed") and call.key not in lost:
            lost.add(call.key)
            raise Reset

    proxy.after = lose
    bucket.keep_versions()
    older = bucket.put_output("output/call", "call.wav", etag="older", uploaded=OLD)
    bucket.plan(bucket.put("call.wav"), bucket.put("bad.wav", b"no sound"))
    bucket.set_options(output_formats=["json"])
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 0, run
    assert lost == {"output/call", "output/call.json", "failed/bad.wav.error.json"}
    assert run.outcomes() == {"input/call.wav": "transcribed", "input/bad.wav": "rejected"}
    assert bucket.text("output/call") == SHORT_TEXT
    assert bucket.facts("output/call")["Metadata"]["replaces"] == older


# Races during a delivery in this process.


def planned(line: dict[str, Any], **changed: Any) -> Recording:
    uploaded = datetime.fromisoformat(line["uploaded"])
    return replace(Recording(**{**line, "uploaded": uploaded}), **changed)


def transcript_of(text: str) -> Callable[[], Transcript]:
    words = [Word(word, number, number + 0.5) for number, word in enumerate(text.split())]
    return lambda: Transcript([Segment(0, 9, words, -1.0)], 9.0, 1, 1.0, [])


class Racing:
    """A delivery. Before its n-th write, another worker acts."""

    def __init__(self, bucket: Bucket, *formats: str, run: str = "child_job_input/one/") -> None:
        self.place = storage.Bucket(bucket.name)
        options = TranscriptionOptions(output_formats=formats)
        self.delivery = Delivery(self.place, Provenance(run, ENGINE, MODEL, options))
        self.writes: list[str] = []
        self.others: dict[int, Callable[[], object]] = {}
        self.place._client.meta.events.register("before-parameter-build.s3.PutObject", self._before)

    def _before(self, params: dict[str, Any], **_: object) -> None:
        self.writes.append(params["Key"])
        self.others.get(len(self.writes), lambda: None)()


def test_a_late_run_in_place_does_not_replace_the_transcript_of_a_newer_upload(bucket: Bucket) -> None:
    """The newer upload is transcribed and moved before the older one's transcript is written."""
    older = planned(bucket.put("x.wav", folder="processed/"))
    bucket.put_output("output/x", "x.wav", older.source_etag, older.uploaded.isoformat())
    late = Racing(bucket, "json")

    def newer() -> None:
        line = bucket.put("x.wav", recording(OTHER))
        uploaded = older.uploaded + timedelta(seconds=5)
        nightly = Racing(bucket, run="child_job_input/two/").delivery
        assert nightly.deliver(planned(line, uploaded=uploaded), transcript_of("newer words")) is Outcome.TRANSCRIBED

    late.others[2] = newer
    assert late.delivery.deliver(older, transcript_of("older words")) is Outcome.REPLACED
    assert late.writes == ["output/x.json", "output/x"]
    assert bucket.text("output/x") == "newer words"
    assert bucket.listing() == ["output/x", "processed/x.wav"], "the JSON of the older version must be deleted"


def test_a_run_in_place_writes_nothing_if_a_newer_upload_waits(bucket: Bucket) -> None:
    older = planned(bucket.put("x.wav", folder="processed/"))
    bucket.put_output("output/x", "x.wav", "newer", FUTURE, b"newer words")
    assert Racing(bucket).delivery.deliver(older, transcript_of("older words")) is Outcome.REPLACED
    assert bucket.text("output/x") == "newer words"


@pytest.mark.parametrize("folder", ["input/", "processed/"])
def test_a_source_deleted_during_the_delivery_gets_no_transcript(folder: str, bucket: Bucket) -> None:
    line = bucket.put("x.wav", folder=folder)
    late = Racing(bucket, "json")
    late.others[1] = lambda: bucket.s3.delete_object(Bucket=bucket.name, Key=line["source_key"])
    assert late.delivery.deliver(planned(line), transcript_of("words")) is Outcome.VANISHED
    assert bucket.listing() == ["failed/x.wav.error.json"]


def test_an_original_that_was_uploaded_in_parts_can_be_transcribed_again_in_place(bucket: Bucket) -> None:
    """Its copy in processed/ has another ETag and the same upload time."""
    older = planned(bucket.put("x.wav", folder="processed/", Metadata={"source-etag": "abc-3"}))
    bucket.put_output("output/x", "x.wav", "abc-3", older.uploaded.isoformat())
    assert Racing(bucket).delivery.deliver(older, transcript_of("better words")) is Outcome.TRANSCRIBED
    assert bucket.text("output/x") == "better words"


def test_a_late_worker_does_not_replace_the_transcript_of_a_newer_upload(bucket: Bucket) -> None:
    older = planned(bucket.put("x.wav"))
    late = Racing(bucket)

    def newer() -> None:
        line = bucket.put("x.wav", recording(OTHER))
        nightly = Racing(bucket, run="child_job_input/two/").delivery
        recorded = planned(line, uploaded=older.uploaded + timedelta(seconds=5))
        assert nightly.deliver(recorded, transcript_of("newer words")) is Outcome.TRANSCRIBED

    late.others[1] = newer
    assert late.delivery.deliver(older, transcript_of("older words")) is Outcome.REPLACED
    assert bucket.text("output/x") == "newer words"
    assert bucket.listing() == ["output/x", "processed/x.wav"]


def test_a_worker_leaves_no_outputs_of_a_version_that_is_replaced_during_the_delivery(bucket: Bucket) -> None:
    older = planned(bucket.put("x.wav"))
    racing = Racing(bucket, "json")
    racing.others[1] = lambda: bucket.put("x.wav", recording(OTHER))
    assert racing.delivery.deliver(older, transcript_of("older words")) is Outcome.REPLACED
    assert racing.writes == ["output/x.json"]
    assert bucket.listing() == ["input/x.wav"]


def test_extra_formats_are_deleted_if_a_users_own_file_takes_the_transcripts_key(bucket: Bucket) -> None:
    line = planned(bucket.put("a.wav"))
    racing = Racing(bucket, "json", "srt")
    racing.others[2] = lambda: bucket.s3.put_object(Bucket=bucket.name, Key="output/a.srt", Body=b"mine")
    assert racing.delivery.deliver(line, transcript_of("some words")) is Outcome.TRANSCRIBED
    outputs = ["output/a.srt", "output/a.wav", "output/a.wav.json", "output/a.wav.srt"]
    assert bucket.listing() == [*outputs, "processed/a.wav"]


def test_extra_formats_are_deleted_if_another_recording_takes_the_transcripts_key(bucket: Bucket) -> None:
    line = planned(bucket.put("a.wav"))
    racing = Racing(bucket, "json", "srt")
    racing.others[3] = lambda: bucket.put_output("output/a", "a.mp3", "other", OLD)
    assert racing.delivery.deliver(line, transcript_of("some words")) is Outcome.TRANSCRIBED
    assert racing.writes[:3] == ["output/a.json", "output/a.srt", "output/a"]
    outputs = ["output/a", "output/a.wav", "output/a.wav.json", "output/a.wav.srt"]
    assert bucket.listing() == [*outputs, "processed/a.wav"]
    assert bucket.text("output/a") == "an older text"


def test_the_outputs_of_a_killed_delivery_at_a_key_of_another_recording_are_deleted(bucket: Bucket) -> None:
    line = planned(bucket.put("a.wav"))
    bucket.put_output("output/a.json", "a.wav", line.source_etag, line.uploaded.isoformat())
    bucket.put_output("output/a", "a.mp3", "other", OLD)
    assert Racing(bucket).delivery.deliver(line, transcript_of("some words")) is Outcome.TRANSCRIBED
    assert bucket.listing() == ["output/a", "output/a.wav", "processed/a.wav"]


def test_a_recording_has_one_transcript_even_if_an_extra_format_needs_another_key(bucket: Bucket) -> None:
    line = planned(bucket.put("a.wav"))
    bucket.put_output("output/a", "a.wav", "older", OLD)
    bucket.s3.put_object(Bucket=bucket.name, Key="output/a.json", Body=b"{}")
    assert Racing(bucket, "json").delivery.deliver(line, transcript_of("some words")) is Outcome.TRANSCRIBED
    assert bucket.listing() == ["output/a.json", "output/a.wav", "output/a.wav.json", "processed/a.wav"]


def test_only_this_recording_fails_if_others_change_its_outputs_repeatedly(bucket: Bucket) -> None:
    line = planned(bucket.put("a.wav"))
    racing = Racing(bucket)
    for number in range(1, 20):
        body = str(number).encode()
        racing.others[number] = lambda body=body: bucket.put_output("output/a", "a.wav", "x", OLD, body)
    with pytest.raises(RecordingFailed, match="10 times"):
        racing.delivery.deliver(line, transcript_of("some words"))
    assert len(racing.writes) == 10
    assert "input/a.wav" in bucket.listing()


def test_a_stamp_does_not_replace_a_transcript_that_has_changed(bucket: Bucket) -> None:
    line = planned(bucket.put("x.wav", folder="processed/"))
    assert Racing(bucket).delivery.deliver(line, transcript_of("some words")) is Outcome.TRANSCRIBED
    late = Racing(bucket, run="child_job_input/two/")
    late.others[1] = lambda: bucket.put_output("output/x", "x.wav", "newer", FUTURE, b"newer words")
    with pytest.raises(RecordingFailed):
        late.delivery.deliver(line, lambda: None)
    assert bucket.text("output/x") == "newer words"
