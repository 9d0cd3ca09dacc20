"""Memory and scratch space are limited for every manifest. A full disk loses no recording."""

from __future__ import annotations

import os
import pickle
import re
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker.harness import ONE_AT_ONCE, SHORT, SOURCES, TEXTS, Bucket, ended, wait_for, with_limits
from tests.worker.proxy import Call, Proxy, proxied
from tests.worker.sounds import RATE, speech, wav
from transcriber.decoder import DecodedPieces
from transcriber.formats import CONTENT_TYPES, render
from transcriber.pipeline import AHEAD_FILES, DELIVERIES, MEMORY_BYTES, Fetched, Pipeline
from transcriber.recognition import RecognisedSegment, Recognition
from transcriber.recording_in_progress import PendingPiece, RecordingInProgress
from transcriber.samples import Piece, PieceSeconds
from transcriber.transcript import Transcript
from transcription_contract.manifest import Recording
from transcription_contract.words import Word

RECORDING = Recording("input/a.wav", "b", 1, datetime(2026, 11, 20, tzinfo=UTC), False)

MEBI = 1 << 20


@pytest.fixture
def fault(endpoint: str) -> Iterator[tuple[Proxy, str]]:
    with proxied(endpoint) as running:
        yield running


def heavy(size: int) -> bytes:
    """A short recording in a file of about this size. The file has a large chunk that decoders skip."""
    return wav(speech(SHORT), junk=b"junk" + struct.pack("<I", size) + bytes(size))


class Held:
    """Delays the writes of transcripts, like a slow S3, until the worker has started all recordings that it can."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._go_on = threading.Event()
        proxy.before = self._wait

    def _wait(self, call: Call) -> None:
        if call.step == "put output":
            self._go_on.wait(60)

    def in_progress(self) -> int:
        steps = self._proxy.steps()
        return steps.count("get input") - steps.count("delete input")

    def settled(self, least: int) -> int:
        """Wait until no more recordings start. Return the number in progress."""
        wait_for(lambda: self.in_progress() >= least, 60)
        most = 0
        while most < self.in_progress():
            most = self.in_progress()
            time.sleep(1)
        return most

    def release(self) -> None:
        self._go_on.set()


def test_the_queues_limit_the_recordings_in_progress(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(*(bucket.put(f"{number}.wav") for number in range(60)))
    bucket.set_options(engine=ONE_AT_ONCE)
    held = Held(proxy)
    with bucket.worker(AWS_ENDPOINT_URL=address) as worker:
        assert held.settled(AHEAD_FILES + DELIVERIES) == AHEAD_FILES + DELIVERIES
        held.release()
        run = ended(worker)
    assert run.code == 0, run
    assert set(run.outcomes().values()) == {"transcribed"}
    assert len(run.outcomes()) == 60


def test_scratch_space_holds_only_the_recordings_that_wait(bucket: Bucket, fault: Any, tmp_path: Path) -> None:
    """Measure at each of the worker's calls, with limits about a hundred times smaller than the real ones."""
    proxy, address = fault
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    size = 300_000
    ahead = 6 * (size + 100_000)
    limits = with_limits(tmp_path, MEMORY_BYTES=100_000, AHEAD_BYTES=ahead)
    lines = [bucket.put(f"{number}.wav", heavy(size)) for number in range(60)]
    bucket.plan(*lines)
    bucket.set_options(engine=ONE_AT_ONCE)
    held = Held(proxy)
    most: list[int] = []
    wait = proxy.before

    def measure(call: Call) -> int | None:
        most.append(sum(file.stat().st_size for file in scratch.glob("*/*") if file.exists()))
        return wait(call)

    proxy.before = measure
    with bucket.worker(AWS_ENDPOINT_URL=address, TMPDIR=str(scratch), **limits) as worker:
        fit = ahead // lines[0]["source_size"]
        assert held.settled(DELIVERIES + fit) == DELIVERIES + fit
        held.release()
        run = ended(worker)
    assert run.code == 0, run
    assert len(bucket.listing()) == 120
    assert size < max(most) <= ahead


def test_a_recording_that_waits_for_its_delivery_takes_no_memory(bucket: Bucket, fault: Any, tmp_path: Path) -> None:
    """Measure the worker's peak memory while it recognises twenty files of nearly 8 MiB and no delivery can end."""
    proxy, address = fault
    files = 20
    bucket.plan(*(bucket.put(f"{number}.wav", heavy(MEMORY_BYTES - 100_000)) for number in range(files)))
    limits = with_limits(tmp_path, AHEAD_BYTES=2 * MEMORY_BYTES)
    held = Held(proxy)
    with bucket.worker(AWS_ENDPOINT_URL=address, **limits) as worker:
        wait_for(lambda: "get input" in proxy.steps())
        before = memory(worker.pid, "VmRSS")
        held.settled(DELIVERIES + 1)
        assert memory(worker.pid, "VmHWM") - before < 8 * MEMORY_BYTES
        worker.kill()
    for number in range(files):
        bucket.s3.delete_object(Bucket=bucket.name, Key=f"input/{number}.wav")


WORDS = 40  # per piece


class InstantEngines:
    """Replaces the engines. It returns the words of every piece at once."""

    def transcribe(self, _samples: object, _rate: int) -> Future[Recognition]:
        answer: Future[Recognition] = Future()
        answer.set_result(Recognition([RecognisedSegment(0.0, 1.0, [Word("word", 0.1, 0.4)], -1.0)], 1.0))
        return answer


def test_answers_are_collected_while_their_recording_goes_on(tmp_path: Path) -> None:
    unused: Any = None
    engines: Any = InstantEngines()
    pipeline = Pipeline(
        bucket=unused, delivery=unused, decoder=unused, engines=engines,
        sample_rate=RATE, piece_seconds=PieceSeconds(), separate=False, at_once=1, scratch=tmp_path,
    )  # fmt: skip
    pieces = [Piece(20.0 * number, np.zeros(RATE, np.int16)) for number in range(3)]
    fetching: Future[Fetched] = Future()
    decoding: Any = object()
    fetching.set_result(Fetched(decoding, DecodedPieces(pieces, True, 1.0, 60.0, 1, [])))
    progress = pipeline._send_through_engines(RECORDING, fetching)
    assert not progress.failure
    assert [segment.words[0].start for segment in progress.segments] == [0.1, 20.1, 40.1]


def recognised_for_hours(pieces: int) -> RecordingInProgress:
    """A recording with an answer to every piece. Each answer is a separate copy, as from an engine's process."""
    words = [Word(f"word-{number}", number / 3, number / 2, number / 7) for number in range(WORDS)]
    answer = pickle.dumps(Recognition([RecognisedSegment(0.0, 20.0, words, -1.0)], 1.0))
    progress = RecordingInProgress(RECORDING)
    for number in range(pieces):
        future: Future[Recognition] = Future()
        progress.pending.append(PendingPiece(30.0 * number, None, future))
        future.set_result(pickle.loads(answer))  # noqa: S301, our own
        progress.collect_answers()
    return progress


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_the_words_of_a_long_recording_take_little_memory() -> None:
    progress = recognised_for_hours(500)
    assert sum(len(segment.words) for segment in progress.segments) == 500 * WORDS
    assert tracemalloc.get_traced_memory()[0] < 200 * 500 * WORDS


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_rendering_a_long_transcript_takes_little_more_memory_than_its_words(form: str) -> None:
    transcript = Transcript(recognised_for_hours(500).segments, 15_000, 1, 1.0, [])
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert len(render(form, transcript, {})) > 5 * 500 * WORDS
    assert tracemalloc.get_traced_memory()[1] - before < 200 * 500 * WORDS


def memory(pid: int, what: str) -> int:
    """A process's memory in bytes. VmRSS is the current value, VmHWM the peak."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


MANY = 200_000
READING = """
import resource, sys
from datetime import datetime, timezone
from pathlib import Path
from transcriber.worker import survey
from transcription_contract import manifest
path = Path(sys.argv[1])
uploaded = datetime(2026, 11, 20, tzinfo=timezone.utc)
line = manifest.Recording("input/" + "x" * 200 + ".wav", "0" * 32, 1000, uploaded, False).to_json() + "\\n"
with path.open("w") as file:
    file.write(manifest.Header().to_json() + "\\n")
    file.writelines(line for _ in range(int(sys.argv[2])))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with path.open("rb") as file:
    work = survey(file, "key")
    file.seek(0)
    _, recordings = manifest.read(file)
    found = sum(1 for _ in recordings)
print(work.recordings, work.pieces, found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_manifest_of_any_length_is_read_in_little_memory(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", READING, str(tmp_path / "manifest"), str(MANY)]
    done = subprocess.run(
        arguments, env={**os.environ, "PYTHONPATH": SOURCES}, capture_output=True, text=True, check=True
    )
    recordings, pieces, found, kibibytes = map(int, done.stdout.split())
    assert (recordings, pieces, found) == (MANY, MANY, MANY)
    assert kibibytes < 4096, "the manifest has more than 60 MB"


def test_recordings_are_transcribed_in_the_order_of_the_manifest(bucket: Bucket, fault: Any, tmp_path: Path) -> None:
    proxy, address = fault
    names = ["small", "larger", "tiny"]
    contents = [speech(SHORT), np.tile(speech(SHORT), 3), speech(SHORT)[:8000]]
    bucket.plan(*(bucket.put(f"{name}.wav", wav(content)) for name, content in zip(names, contents, strict=True)))
    run = bucket.run(AWS_ENDPOINT_URL=address, **with_limits(tmp_path, AHEAD_FILES=1))
    assert run.code == 0, run
    assert [call.key for call in proxy.calls if call.step == "get input"] == [f"input/{name}.wav" for name in names]


def test_a_wrong_size_in_the_manifest_takes_no_scratch_space(bucket: Bucket) -> None:
    """One file is far larger than its planned size, and one planned size is a petabyte. Both files stay in input/."""
    large, promise, good = (bucket.put(f"{name}.wav") for name in ("large", "promise", "good"))
    bucket.plan({**large, "source_size": 10}, {**promise, "source_size": 10**15}, good)
    run = bucket.run()
    assert run.code == 0, run
    assert run.outcomes() == {
        "input/large.wav": "replaced",
        "input/promise.wav": "replaced",
        "input/good.wav": "transcribed",
    }
    assert bucket.listing() == ["input/large.wav", "input/promise.wav", "output/good", "processed/good.wav"]


# A disk of 12 MB in a mount namespace that only the worker uses. Many Linux systems allow this without root.
SMALL_DISK = ["unshare", "--map-root-user", "--mount", "/bin/sh", "-c"]
MOUNT = 'mount -t tmpfs -o size=12m scratch "$TMPDIR"'


def small_disk(filled: str) -> str:
    """A shell command that starts the worker with a disk of 12 MB, of which `filled` bytes are used."""
    able = subprocess.run([*SMALL_DISK, MOUNT.replace("$TMPDIR", "/mnt")], capture_output=True)
    if able.returncode:
        pytest.skip(f"this machine allows no user to mount a disk: {able.stderr.decode().strip()}")
    return f"""exec unshare --map-root-user --mount /bin/sh -c '
        {MOUNT} && head -c {filled} /dev/zero > "$TMPDIR/others" && exec "$0" -m transcriber' "$0";"""


def test_a_full_disk_causes_a_retry_and_does_not_stop_the_others(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav", heavy(10 * MEBI)), bucket.put("good.wav"))
    run = bucket.run(small_disk(filled="8M"))
    assert run.code == 75, run
    assert run.outcomes() == {"input/call.wav": "failed", "input/good.wav": "transcribed"}
    [detail] = [event["detail"] for event in run.events if event.get("outcome") == "failed"]
    assert detail == "The scratch space is full (No space left on device). Give the containers more (scratch_gib)"
    assert bucket.listing() == ["input/call.wav", "output/good", "processed/good.wav"]
    assert bucket.run().code == 0
    assert bucket.text("output/call") == TEXTS[SHORT]


def test_a_file_size_limit_causes_a_retry_and_does_not_stop_the_others(bucket: Bucket) -> None:
    """This also tests a write error on machines that cannot mount a small disk."""
    bucket.plan(bucket.put("call.wav", heavy(10 * MEBI)), bucket.put("good.wav"))
    run = bucket.run("ulimit -f 2000;")
    assert run.code == 75, run
    assert run.outcomes() == {"input/call.wav": "failed", "input/good.wav": "transcribed"}
    assert bucket.listing() == ["input/call.wav", "output/good", "processed/good.wav"]


def test_a_recording_larger_than_the_whole_disk_is_rejected_with_a_reason(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav", heavy(13 * MEBI)), bucket.put("good.wav"))
    run = bucket.run(small_disk(filled="0"))
    assert run.code == 0, run
    assert bucket.listing() == ["failed/call.wav", "failed/call.wav.error.json", "output/good", "processed/good.wav"]
    assert bucket.reason("call.wav")["code"] == "too-large"
    assert "larger than the scratch space" in bucket.reason("call.wav")["reason"]
