"""Faults at any moment lose no recording and transcribe no recording twice."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker.harness import ONE_AT_ONCE, TEXTS, Bucket, ended, recording, wait_for
from tests.worker.proxy import Call, Proxy, proxied
from tests.worker.sounds import RATE, encoded, wav

FINISHED = ["output/call", "output/call.json", "processed/call.wav"]
REJECTED = ["failed/call.wav", "failed/call.wav.error.json"]


@pytest.fixture
def fault(endpoint: str) -> Iterator[tuple[Proxy, str]]:
    with proxied(endpoint) as running:
        yield running


def long_recording(minutes: float) -> bytes:
    """A WAV file of at least this length, which repeats the sixteen sample recordings."""
    data = b"".join(recording(name)[44:] for name in TEXTS)
    data *= int(minutes * 60 * 32_000 / len(data)) + 1
    header = recording()[:44]
    return header[:4] + (len(data) + 36).to_bytes(4, "little") + header[8:40] + len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize(
    "step",
    [
        "GET input/call.wav",
        "PUT output/call.json",
        "PUT output/call",
        "PUT processed/call.wav",
        "DELETE input/call.wav",
    ],
)
def test_the_next_worker_completes_the_work_of_a_worker_killed_after_any_step(
    step: str, bucket: Bucket, fault: Any
) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav"))
    bucket.set_options(output_formats=["json"])
    with bucket.worker(AWS_ENDPOINT_URL=address) as worker:

        def kill(call: Call) -> None:
            if f"{call.method} {call.key}" == step:
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait()

        proxy.after = kill
        assert ended(worker).code == -signal.SIGKILL
    assert "input/call.wav" in bucket.listing() or bucket.listing() == FINISHED
    if "processed/call.wav" in bucket.listing():
        assert bucket.text("output/call") == "press zero for help"
    had_transcript = "output/call" in bucket.listing()

    proxy.after = lambda call: None
    proxy.calls.clear()
    bucket.set_options(output_formats=["json"])
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 0, run
    assert bucket.listing() == FINISHED
    assert bucket.text("output/call") == "press zero for help"
    assert bucket.read("processed/call.wav") == recording()
    assert ("put output" in proxy.steps()) != had_transcript, "the recording was transcribed twice or not at all"


@pytest.mark.parametrize("step", ["put failed", "copy", "delete input"])
def test_the_next_worker_completes_a_rejection_that_a_kill_interrupted(step: str, bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav", b"no sound at all"))
    with bucket.worker(AWS_ENDPOINT_URL=address) as worker:

        def kill(call: Call) -> None:
            if call.step == step:
                os.kill(worker.pid, signal.SIGKILL)
                worker.wait()

        proxy.after = kill
        assert ended(worker).code == -signal.SIGKILL
    proxy.after = lambda call: None
    assert bucket.run(AWS_ENDPOINT_URL=address).code == 0
    assert bucket.listing() == REJECTED


def test_outputs_are_put_before_the_copy_and_the_copy_before_the_deletion(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav"))
    bucket.set_options(output_formats=["json", "srt", "vtt"])
    assert bucket.run(AWS_ENDPOINT_URL=address).code == 0
    writes = [(call.step, call.key) for call in proxy.calls if call.method in ("PUT", "DELETE")]
    assert writes == [
        ("put output", "output/call.json"),
        ("put output", "output/call.srt"),
        ("put output", "output/call.vtt"),
        ("put output", "output/call"),
        ("copy", "processed/call.wav"),
        ("delete input", "input/call.wav"),
    ]


def test_a_new_attempt_with_other_settings_transcribes_again(bucket: Bucket) -> None:
    line = bucket.put("call.wav")
    bucket.plan(line)
    assert bucket.run().code == 0
    first = bucket.facts("output/call")
    bucket.plan({**line, "source_key": "processed/call.wav"})
    assert bucket.run().code == 0
    assert bucket.facts("output/call")["LastModified"] == first["LastModified"]
    time.sleep(1)  # S3's times have a resolution of one second
    bucket.set_options(beam_width=100)
    assert bucket.run().code == 0
    assert bucket.facts("output/call")["LastModified"] > first["LastModified"]
    assert bucket.facts("output/call")["Metadata"]["settings"] != first["Metadata"]["settings"]


def test_a_new_attempt_transcribes_again_only_if_a_requested_output_is_missing(bucket: Bucket) -> None:
    line = bucket.put("call.wav")
    bucket.plan(line)
    bucket.set_options(output_formats=["json", "srt"])
    assert bucket.run().code == 0
    words = bucket.text("output/call")
    metadata = bucket.facts("output/call")["Metadata"]
    bucket.s3.put_object(Bucket=bucket.name, Key="output/call", Body=b"unchanged", Metadata=metadata)
    bucket.s3.delete_object(Bucket=bucket.name, Key="output/call.json")
    bucket.plan({**line, "source_key": "processed/call.wav"})
    bucket.set_options(output_formats=["srt"])
    assert bucket.run().code == 0
    assert bucket.text("output/call") == "unchanged", "every requested output existed"
    bucket.set_options(output_formats=["json", "srt"])
    assert bucket.run().code == 0
    assert bucket.text("output/call") == words
    assert json.loads(bucket.read("output/call.json"))["text"] == words


def test_a_valid_transcript_of_an_earlier_run_gets_this_runs_stamp(bucket: Bucket) -> None:
    line = bucket.put("call.wav")
    bucket.plan(line)
    assert bucket.run().code == 0
    metadata = bucket.facts("output/call")["Metadata"]
    earlier = {**metadata, "run": "an earlier one", "replaces": "an earlier version"}
    bucket.s3.put_object(Bucket=bucket.name, Key="output/call", Body=b"unchanged", Metadata=earlier)
    bucket.plan({**line, "source_key": "processed/call.wav"})
    assert bucket.run().code == 0
    assert bucket.facts("output/call")["Metadata"] == metadata
    assert bucket.text("output/call") == "unchanged"


def test_a_recording_in_place_is_neither_copied_nor_deleted(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.keep_versions()
    good = bucket.put("call.wav", folder="processed/")
    bad = bucket.put("bad.wav", b"no sound at all", folder="processed/")
    older = bucket.put_output("output/call", "call.wav", etag="older", uploaded="2026-01-01T00:00:00+00:00")
    bucket.plan(good, bad)
    assert bucket.run(AWS_ENDPOINT_URL=address).code == 0
    assert bucket.text("output/call") == "press zero for help"
    assert bucket.facts("output/call")["Metadata"]["replaces"] == older
    assert bucket.listing() == ["failed/bad.wav.error.json", "output/call", "processed/bad.wav", "processed/call.wav"]
    assert not {"copy", "delete input", "delete processed"} & set(proxy.steps())


def test_a_transcript_names_no_replaced_version_in_a_bucket_without_versioning(bucket: Bucket) -> None:
    bucket.put_output("output/call", "call.wav", etag="older", uploaded="2026-01-01T00:00:00+00:00")
    bucket.plan(bucket.put("call.wav"), bucket.put("other.wav"))
    assert bucket.run().code == 0
    assert "replaces" not in bucket.facts("output/call")["Metadata"]
    assert "replaces" not in bucket.facts("output/other")["Metadata"]


def test_a_recording_replaced_before_the_run_waits_for_the_next_run(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav"))
    bucket.put("call.wav", recording("vm-leavemsg.wav"))
    run = bucket.run()
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "replaced"})
    assert bucket.listing() == ["input/call.wav"]


@pytest.mark.parametrize("step", ["copy", "delete input"])
def test_a_recording_replaced_during_its_transcription_waits_for_the_next_run(
    step: str, bucket: Bucket, fault: Any
) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav"))

    def replace(call: Call) -> None:
        if call.step == step:
            bucket.put("call.wav", recording("vm-leavemsg.wav"))

    proxy.before = replace
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "replaced"})
    assert bucket.read("input/call.wav") == recording("vm-leavemsg.wav")
    if "processed/call.wav" in bucket.listing():
        assert bucket.read("processed/call.wav") == recording()
    assert ("processed/call.wav" in bucket.listing()) == (step == "delete input")


def test_a_bad_recording_replaced_by_a_good_one_is_not_rejected(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav", b"no sound at all"))

    def replace(call: Call) -> None:
        if call.step == "head input":
            bucket.put("call.wav")

    proxy.before = replace
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert (run.code, run.outcomes()) == (0, {"input/call.wav": "replaced"})
    assert bucket.listing() == ["input/call.wav"]


def test_a_recording_deleted_during_the_run_does_not_stop_the_others(bucket: Bucket) -> None:
    gone, done, good = bucket.put("gone.wav"), bucket.put("done.wav"), bucket.put("good.wav")
    bucket.plan(done)
    assert bucket.run().code == 0
    bucket.s3.delete_object(Bucket=bucket.name, Key="input/gone.wav")
    bucket.plan(gone, done, good)
    run = bucket.run()
    assert run.code == 0
    assert run.outcomes() == {
        "input/gone.wav": "vanished",
        "input/done.wav": "transcribed",
        "input/good.wav": "transcribed",
    }


def test_a_recording_that_cannot_be_transcribed_is_moved_to_failed_without_a_transcript(
    bucket: Bucket,
) -> None:
    bucket.plan(bucket.put("call.wav", b"no sound at all"), bucket.put("good.wav"))
    run = bucket.run()
    assert run.code == 0
    assert bucket.listing() == [*REJECTED, "output/good", "processed/good.wav"]
    document = bucket.reason("call.wav")
    assert document["code"] == "not-audio"
    assert "Upload the original recording" in document["reason"]
    assert document["source_key"] == "input/call.wav"
    facts = bucket.facts("failed/call.wav")["Metadata"]
    assert facts["source-etag"] == document["source_etag"]


def test_failed_s3_calls_and_truncated_reads_are_retried(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav", recording("digits00.wav")))
    failed: set[str] = set()

    def fail_once(call: Call) -> int | None:
        if call.step in failed or call.step == "get input":
            return None
        failed.add(call.step)
        return 503

    proxy.before = fail_once
    proxy.truncate = lambda call: proxy.steps().count("get input") == 1 and call.step == "get input"
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 0, run
    assert failed == {
        "get child_job_input", "head output", "head input", "put output", "copy", "delete input", "head failed",
    }  # fmt: skip
    assert proxy.steps().count("get input") == 2
    assert bucket.text("output/call") == TEXTS["digits00.wav"]
    assert bucket.listing() == ["output/call", "processed/call.wav"]


def test_a_lasting_s3_failure_at_one_recording_causes_a_retry_and_does_not_stop_the_others(
    bucket: Bucket, fault: Any
) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav"), bucket.put("good.wav"))
    proxy.before = lambda call: 501 if call.step == "copy" and "call" in call.key else None
    run = bucket.run(AWS_ENDPOINT_URL=address)
    assert run.code == 75
    assert run.outcomes() == {"input/call.wav": "failed", "input/good.wav": "transcribed"}
    assert "input/call.wav" in bucket.listing()


def test_after_sigterm_a_retry_completes_the_work(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    names = [f"{number}-{name}" for number in range(3) for name in TEXTS]
    bucket.plan(*(bucket.put(name, recording(name.split("-", 1)[1])) for name in names))
    bucket.set_options(engine=ONE_AT_ONCE)
    with bucket.worker(AWS_ENDPOINT_URL=address) as worker:

        def stop(call: Call) -> None:
            if call.step == "delete input":
                worker.send_signal(signal.SIGTERM)

        proxy.before = stop
        run = ended(worker)
    assert run.code == 75, run
    assert run.events[-1]["event"] == "stopped"
    left = [key for key in bucket.listing() if key.startswith("input/")]
    assert left, "the worker finished before the signal, so the test proves nothing"
    for key in bucket.listing():
        if key.startswith("processed/"):
            name = key[len("processed/") :]
            assert bucket.text(f"output/{name[:-4]}") == TEXTS[name.split("-", 1)[1]]
    assert bucket.run().code == 0
    assert [key for key in bucket.listing() if key.startswith("processed/")] == sorted(
        f"processed/{name}" for name in names
    )


def test_a_slow_delivery_is_completed_after_sigterm(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(bucket.put("call.wav"))
    with bucket.worker(AWS_ENDPOINT_URL=address) as worker:

        def slow(call: Call) -> None:
            if call.step == "put output":
                worker.send_signal(signal.SIGTERM)
                time.sleep(2)

        proxy.before = slow
        run = ended(worker)
    assert run.code == 75, run
    assert run.outcomes() == {"input/call.wav": "transcribed"}
    assert bucket.listing() == ["output/call", "processed/call.wav"]


def test_a_killed_worker_leaves_no_processes_and_no_files(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bucket.plan(bucket.put("long.wav", long_recording(3)))
    with bucket.worker() as worker:
        wait_for(lambda: len(_children(worker.pid)) >= 3)
        assert list(tmp_path.glob("*/transcriber-*")), "the worker has no scratch folder, so the test proves nothing"
        children = _children(worker.pid)
        worker.kill()
        worker.wait()
        wait_for(lambda: not [child for child in children if Path(f"/proc/{child}/exe").exists()], 60)
    assert list(tmp_path.iterdir()) == []


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_no_transcript_is_ever_empty(bucket: Bucket) -> None:
    sounds = {
        "silence.wav": wav(np.zeros(3 * RATE, np.int16)),
        "moment.wav": wav(np.full(160, 1000, np.int16)),
        "ten-minutes.flac": encoded(np.zeros(600 * RATE, np.int16), "flac", "flac"),
    }
    bucket.plan(*(bucket.put(name, content) for name, content in sounds.items()), bucket.put("good.wav"))
    run = bucket.run()
    assert run.code == 0, run
    assert [key for key in bucket.listing() if key.startswith(("output/", "processed/"))] == [
        "output/good",
        "processed/good.wav",
    ]
    for name in sounds:
        assert bucket.reason(name)["code"] == "no-speech"
        assert bucket.reason(name)["reason"].startswith("No speech was recognised in this recording")
