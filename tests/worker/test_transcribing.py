"""The worker transcribes recordings with the real engines."""

from __future__ import annotations

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from tests.worker.harness import (
    RECORDINGS,
    ROOT,
    TEXTS,
    Bucket,
    assert_conforms_to_the_schema,
    aws_environment,
    processed_key,
    recording,
)
from tests.worker.sounds import RATE, encoded, speech, stereo, wav
from transcriber import pool, storage
from transcriber.decoder import Decoder
from transcriber.delivery import Delivery
from transcriber.engine_programs import EngineFacts
from transcriber.environment import read_environment
from transcriber.model_loading import find_model
from transcriber.pipeline import Pipeline
from transcriber.pool import Engines
from transcriber.provenance import Provenance
from transcriber.recognition import RecognisedSegment, Recognition
from transcriber.samples import PieceSeconds
from transcriber.worker import engine_spec
from transcription_contract import manifest
from transcription_contract.run_options import TranscriptionOptions
from transcription_contract.words import Word


@pytest.fixture(scope="module")
def done(endpoint: str) -> Any:
    """A bucket after one run, which transcribed all sixteen recordings in every output format."""
    with pytest.MonkeyPatch.context() as environment:
        aws_environment(endpoint, environment)
        bucket = Bucket()
        lines = [
            bucket.put(name, recording(name), ContentType="audio/x-wav", Metadata={"speaker": "allison"})
            for name in TEXTS
        ]
        bucket.plan(*lines)
        bucket.set_options(output_formats=["json", "srt", "vtt"])
        run = bucket.run()
        yield bucket, run, lines


def test_every_recording_has_the_correct_transcript(done: Any) -> None:
    bucket, run, lines = done
    assert run.code == 0, run
    texts = {line["source_key"].split("/")[1]: bucket.text(bucket.transcript_key(line)) for line in lines}
    assert texts == TEXTS


def test_every_recording_is_moved_to_processed_unchanged(done: Any) -> None:
    bucket, _, lines = done
    assert not [key for key in bucket.listing() if key.startswith(("input/", "failed/"))]
    for line in lines:
        name = line["source_key"].split("/")[1]
        assert bucket.read(processed_key(line)) == (RECORDINGS / name).read_bytes()


def test_a_processed_copy_keeps_the_users_metadata_and_names_its_source(done: Any) -> None:
    bucket, _, lines = done
    facts = bucket.facts(processed_key(lines[0]))
    assert facts["ContentType"] == "audio/x-wav"
    assert facts["Metadata"] == {
        "speaker": "allison",
        "source-etag": lines[0]["source_etag"],
        "uploaded": lines[0]["uploaded"],
    }


def test_every_output_names_its_model_options_and_run(done: Any) -> None:
    bucket, _, lines = done
    types = {
        "": "text/plain; charset=utf-8",
        ".json": "application/json",
        ".srt": "text/plain; charset=utf-8",
        ".vtt": "text/vtt; charset=utf-8",
    }
    for suffix, content_type in types.items():
        facts = bucket.facts(bucket.transcript_key(lines[0]) + suffix)
        assert facts["ContentType"] == content_type
        metadata = facts["Metadata"]
        assert metadata["source-etag"] == lines[0]["source_etag"]
        assert metadata["engine"] == "deepspeech-batched 0.9.3"
        assert metadata["model"] == "asterisk-en b010d1fa2ec5"
        assert len(metadata["settings"]) == 16
        assert float(metadata["audio-seconds"]) == pytest.approx(1.71, abs=0.01)
        assert float(metadata["compute-seconds"]) > 0


def test_the_json_conforms_to_the_published_schema(done: Any) -> None:
    bucket, _, lines = done
    documents = [json.loads(bucket.read(bucket.transcript_key(line) + ".json")) for line in lines]
    assert_conforms_to_the_schema(documents)
    assert [document["text"] for document in documents] == list(TEXTS.values())


def test_each_output_has_headers_with_which_a_browser_shows_it_as_utf8_text(done: Any) -> None:
    bucket, _, lines = done
    shown = {"": "text/plain", ".json": "application/json", ".srt": "text/plain", ".vtt": "text/vtt"}
    for suffix, content_type in shown.items():
        key = {"Bucket": bucket.name, "Key": bucket.transcript_key(lines[0]) + suffix}
        with urllib.request.urlopen(bucket.s3.generate_presigned_url("get_object", Params=key)) as answer:
            assert answer.headers.get_content_type() == content_type
            assert answer.headers.get_content_charset("utf-8") == "utf-8", "JSON is UTF-8 by RFC 8259"
            assert answer.headers["Content-Disposition"] is None
            assert answer.headers["Content-Encoding"] in (None, "identity")
            assert "press zero for help" in answer.read().decode("utf-8")


def test_alternatives_are_the_next_best_transcripts_and_change_nothing_else(done: Any, bucket: Bucket) -> None:
    plain, _, _ = done
    name = "vm-rec-temp"
    bucket.plan(bucket.put(f"{name}.wav", recording(f"{name}.wav")))
    bucket.set_options(output_formats=["json"], alternatives=3)
    run = bucket.run()
    assert run.code == 0, run
    document = json.loads(bucket.read(f"output/{name}.json"))
    assert_conforms_to_the_schema([document])
    (segment,) = document["segments"]
    alternatives = segment.pop("alternatives")
    (without,) = json.loads(plain.read(f"output/{name}.json"))["segments"]
    assert without.pop("alternatives") == []
    assert segment == without
    texts = [segment["text"], *(reading["text"] for reading in alternatives)]
    assert len(set(texts)) == 4
    scores = [segment["log_score"], *(reading["log_score"] for reading in alternatives)]
    assert scores == sorted(scores, reverse=True)
    # The margin of a word is the score's distance to the best alternative without it.
    lacking = [word for word in segment["words"] if word["text"] not in texts[1].split()]
    assert lacking
    for word in lacking:
        assert word["log_margin"] == pytest.approx(scores[0] - scores[1], abs=0.01)
    assert min(word["log_margin"] for word in segment["words"]) == lacking[0]["log_margin"]


def test_separate_channels_conform_to_the_schema_and_differ_from_mixed_channels(bucket: Bucket) -> None:
    both = stereo(speech("vm-leavemsg.wav"), np.concatenate([np.zeros(3 * RATE, np.int16), speech("vm-tocallnum.wav")]))
    line = bucket.put("call.mp3", encoded(both, "mp3", "libmp3lame", 44100, "stereo"))
    bucket.plan(line)
    bucket.set_options(output_formats=["json"])
    assert bucket.run().code == 0
    mixed = json.loads(bucket.read("output/call.json"))
    bucket.plan({**line, "source_key": processed_key(line)})
    bucket.set_options(output_formats=["json"], channels="separate")
    assert bucket.run().code == 0
    separate = json.loads(bucket.read("output/call.json"))
    assert_conforms_to_the_schema([mixed, separate])
    left, right = TEXTS["vm-leavemsg.wav"], TEXTS["vm-tocallnum.wav"]
    assert mixed["text"] == f"{left} {right}"
    assert separate["text"] == f"Channel 1: {left}\nChannel 2: {right}"
    assert [(segment["channel"], segment["text"]) for segment in separate["segments"]] == [(1, left), (2, right)]
    assert {segment["channel"] for segment in mixed["segments"]} == {None}
    assert mixed["channels"] == separate["channels"] == 2
    assert mixed["settings"]["fingerprint"] != separate["settings"]["fingerprint"]


def test_a_mono_recording_has_the_same_transcript_with_separate_channels(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav"))
    bucket.set_options(output_formats=["json", "srt", "vtt"], channels="separate")
    assert bucket.run().code == 0
    assert bucket.text("output/call") == "press zero for help"
    assert "Channel" not in bucket.text("output/call.srt") + bucket.text("output/call.vtt")
    document = json.loads(bucket.read("output/call.json"))
    assert document["channels"] == 1
    assert {word["channel"] for segment in document["segments"] for word in segment["words"]} == {1}


def test_words_have_times_in_order_within_the_recording(done: Any) -> None:
    bucket, _, lines = done
    for line in lines:
        document = json.loads(bucket.read(bucket.transcript_key(line) + ".json"))
        words = [word for segment in document["segments"] for word in segment["words"]]
        assert " ".join(word["text"] for word in words) == document["text"]
        times = [time for word in words for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] <= document["duration"]


def test_progress_is_logged_as_n_of_m_files(done: Any) -> None:
    _, run, _ = done
    progress = [event["progress"] for event in run.events if event["event"] == "file"]
    assert progress == [f"{n} of 16 files" for n in range(1, 17)]


def test_no_more_engines_start_than_there_is_work(bucket: Bucket) -> None:
    bucket.plan(bucket.put("tiny.wav", recording()[:40_000]))
    run = bucket.run()
    assert next(event for event in run.events if event["event"] == "started")["engines"] == 1


def test_the_full_precision_model_gives_the_same_transcripts(bucket: Bucket) -> None:
    some = list(TEXTS)[:4]
    bucket.plan(*(bucket.put(name, recording(name)) for name in some))
    run = bucket.run(MODEL="asterisk-en-pbmm")
    assert run.code == 0, run
    started = next(event for event in run.events if event["event"] == "started")
    assert started["model"] == "asterisk-en-pbmm cefbe45896a8"
    assert {name: bucket.text(f"output/{name[:-4]}") for name in some} == {name: TEXTS[name] for name in some}


def halved(model: bytes) -> bytes:
    """The demo's `.pbmm` as a model for 8 kHz, with windows and steps of as many samples as before.

    So it recognises at 8 kHz, at half the speed, what it recognised at 16 kHz.
    """
    changed = bytearray(model)
    for name, old, new in (
        (b"metadata_sample_rate", b"\x02\x80\x7d", b"\x02\xc0\x3e"),  # 16000, 8000: as a varint, after its length
        (b"metadata_feature_win_len", b"\x01\x20", b"\x01\x40"),  # ms
        (b"metadata_feature_win_step", b"\x01\x14", b"\x01\x28"),
    ):
        at = changed.index(b"\x02\x08\x01:" + old, changed.index(name)) + 4  # the constant's tensor of shape [1]
        changed[at : at + len(old)] = new
    return bytes(changed)


def test_recordings_are_resampled_to_the_models_sample_rate(bucket: Bucket) -> None:
    folder = ROOT / "worker_image" / "models" / "asterisk-en"
    body = halved((folder / "asterisk-en.pbmm").read_bytes())
    bucket.s3.put_object(Bucket=bucket.name, Key="models/phone/model.pbmm", Body=body)
    slow = soxr.resample(speech("vm-leavemsg.wav"), 1, 2, quality="VHQ")  # half as fast, an octave lower
    line = bucket.put("fast.wav", recording("vm-leavemsg.wav"))
    bucket.plan(line, model="asterisk-en-pbmm")
    bucket.set_options(output_formats=["json"])
    assert bucket.run().code == 0
    bucket.plan(
        bucket.put("8000.wav", wav(slow[::2], 8000)),
        bucket.put("44100.wav", encoded(slow, "wav", "pcm_s16le", 44_100, "stereo")),
        model=f"s3://{bucket.name}/models/phone/model.pbmm",
        scorer="asterisk-en",
    )
    bucket.set_options(output_formats=["json"], engine="deepspeech")  # which does not compare the rate of its filters
    run = bucket.run()
    assert run.code == 0, run
    assert next(event["sample_rate"] for event in run.events if event["event"] == "started") == 8000
    fast = json.loads(bucket.read("output/fast.json"))
    for name in ("8000", "44100"):
        found = json.loads(bucket.read(f"output/{name}.json"))
        assert found["text"] == TEXTS["vm-leavemsg.wav"]
        assert found["duration"] == pytest.approx(2 * fast["duration"], abs=0.01)
        starts = [[word["start"] for word in document["segments"][0]["words"]] for document in (found, fast)]
        assert starts[0] == pytest.approx([2 * start for start in starts[1]], abs=0.1)


FACTS = EngineFacts("none", "0", RATE, PieceSeconds(), 1, None)


class ParallelEngines:
    """Replaces two engine processes. Neither answers before both have a piece."""

    both = threading.Barrier(2, timeout=30)

    def __init__(self, *_: object) -> None:
        pass

    def prepared(self) -> EngineFacts:
        return FACTS

    def recognise(self, pieces: object, limit: float) -> list[Recognition]:
        assert limit > 0
        self.both.wait()
        return [Recognition([RecognisedSegment(0.0, 1.0, [Word("word", 0.1, 0.4)], 0.0)], 0.1)]

    def stop(self) -> None:
        pass


def test_two_engines_transcribe_the_two_channels_of_a_call_in_parallel(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "EngineProcess", ParallelEngines)
    line = bucket.put("call.wav", wav(stereo(speech("vm-leavemsg.wav"), speech("vm-tocallnum.wav")), channels=2))
    environment = read_environment(bucket.environment())
    options = TranscriptionOptions(channels="separate")
    place = storage.Bucket(bucket.name)
    model = find_model(environment, place, tmp_path)
    provenance = Provenance(environment.manifest_prefix, FACTS, model, options)
    bucket.plan(line)
    _, recordings = manifest.read(bucket.read(environment.manifest_key).splitlines())
    with Decoder() as decoder, Engines(engine_spec(model, options, environment.engines_dir), 2) as engines:
        pipeline = Pipeline(
            bucket=place, delivery=Delivery(place, provenance), decoder=decoder, engines=engines,
            sample_rate=RATE, piece_seconds=PieceSeconds(), separate=True, at_once=2, scratch=tmp_path,
        )  # fmt: skip
        assert pipeline.transcribe(recordings, 1) == 0
    assert bucket.text("output/call") == "Channel 1: word\nChannel 2: word"


def test_a_model_and_scorer_from_s3_are_used_and_named(bucket: Bucket) -> None:
    folder = ROOT / "worker_image" / "models" / "asterisk-en"
    for suffix in ("tflite", "scorer"):
        body = (folder / f"asterisk-en.{suffix}").read_bytes()
        bucket.s3.put_object(Bucket=bucket.name, Key=f"models/phone/own.{suffix}", Body=body)
    bucket.plan(bucket.put("call.wav"))
    uri = f"s3://{bucket.name}/models/phone/own"
    bucket.set_options(output_formats=["json"])
    run = bucket.run(MODEL=f"{uri}.tflite", SCORER=f"{uri}.scorer")
    assert run.code == 0, run
    document = json.loads(bucket.read("output/call.json"))
    assert document["text"] == "press zero for help"
    assert document["model"]["name"] == f"{uri}.tflite"
    assert document["scorer"]["sha256"].startswith("884f2fd034b6")


def test_an_array_child_reads_its_own_manifest(bucket: Bucket) -> None:
    bucket.plan(bucket.put("zero.wav"), index=0)
    bucket.plan(bucket.put("seven.wav"), index=7)
    assert bucket.run(AWS_BATCH_JOB_ARRAY_INDEX="7").code == 0
    assert bucket.listing() == ["input/zero.wav", "output/seven", "processed/seven.wav"]


HOSTILE = [
    "two words.wav",
    'it\'s "quoted".wav',
    "$(touch pwned);`touch pwned`.wav",
    "a;b&c|d>e.wav",
    '","level":"error","event":"forged.wav',
    "100%2F.wav",
    "a+b=c?d#e.wav",
    "😀 e\u0301 \u202e.wav",
    "../../up.wav",
    "sub//folder/./x.wav",
    "back\\slash.wav",
    "-rf.wav",
    "ä" * 480 + ".wav",
    "no extension",
]


def test_names_are_never_interpreted(bucket: Bucket) -> None:
    lines = [bucket.put(name) for name in HOSTILE]
    bucket.plan(*lines)
    run = bucket.run()
    assert run.code == 0, run
    assert run.outcomes() == {line["source_key"]: "transcribed" for line in lines}
    for line in lines:
        assert bucket.text(bucket.transcript_key(line)) == "press zero for help"
        assert bucket.read(processed_key(line)) == recording()
    assert not [key for key in bucket.listing() if key.startswith(("input/", "failed/"))]
    assert {event["event"] for event in run.events} == {"started", "file", "done"}
