"""Memory and scratch space are bounded, whatever the manifest holds; a disk that is full costs nobody a recording."""

from __future__ import annotations

import pickle
import re
import struct
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker.harness import SHORT, TEXTS, Bucket, ended, wait_for, with_limits
from tests.worker.proxy import Call, Proxy, proxied
from tests.worker.sounds import RATE, speech, wav
from transcriber.child import AHEAD_FILES, DELIVERIES, MEMORY_BYTES, Asked, Child, Fetched, Underway
from transcriber.decoder import Batch
from transcriber.engine import Recognition, Word
from transcriber.formats import CONTENT_TYPES, render
from transcriber.pool import TimedRecognition
from transcriber.samples import Piece
from transcriber.transcript import Transcript
from transcription_contract.manifest import Recording

RECORDING = Recording("input/a.wav", "b", 1, datetime(2026, 11, 20, tzinfo=timezone.utc), "output/a")

MEBI = 1 << 20


@pytest.fixture
def fault(endpoint: str) -> Iterator[tuple[Proxy, str]]:
    with proxied(endpoint) as running:
        yield running


def heavy(size: int) -> bytes:
    """A short recording in a file of about so many bytes: its header carries what no decoder looks at."""
    return wav(speech(SHORT), junk=b"junk" + struct.pack("<I", size) + bytes(size))


class Held:
    """Keeps transcripts from being put, as an S3 that is slow to write does, until all that can run ahead did."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._go_on = threading.Event()
        proxy.before = self._wait

    def _wait(self, call: Call) -> None:
        if call.step == "put output":
            self._go_on.wait(60)

    def underway(self) -> int:
        steps = self._proxy.steps()
        return steps.count("read input") - steps.count("delete input")

    def settled(self, least: int) -> int:
        """How many recordings are on their way when no more are begun."""
        wait_for(lambda: self.underway() >= least, 60)
        most = 0
        while most < self.underway():
            most = self.underway()
            time.sleep(1)
        return most

    def release(self) -> None:
        self._go_on.set()


def test_no_more_recordings_are_on_their_way_than_the_queues_take(bucket: Bucket, fault: Any) -> None:
    proxy, address = fault
    bucket.plan(*(bucket.put(f"{number}.wav") for number in range(60)))
    held = Held(proxy)
    with bucket.worker(AWS_ENDPOINT_URL=address) as worker:
        assert held.settled(AHEAD_FILES + DELIVERIES) == AHEAD_FILES + DELIVERIES
        held.release()
        run = ended(worker)
    assert run.code == 0, run
    assert set(run.outcomes().values()) == {"transcribed"}
    assert len(run.outcomes()) == 60


def test_scratch_space_holds_what_is_ahead_and_nothing_more(bucket: Bucket, fault: Any, tmp_path: Path) -> None:
    """Measured at each of the worker's calls, with the real limits divided by a hundred or so."""
    proxy, address = fault
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    size = 300_000
    ahead = 6 * (size + 100_000)
    limits = with_limits(tmp_path, MEMORY_BYTES=100_000, AHEAD_BYTES=ahead)
    lines = [bucket.put(f"{number}.wav", heavy(size)) for number in range(60)]
    bucket.plan(*lines)
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
    """The worker's peak, while twenty files of nearly 8 MiB are heard and none can be delivered."""
    proxy, address = fault
    files = 20
    bucket.plan(*(bucket.put(f"{number}.wav", heavy(MEMORY_BYTES - 100_000)) for number in range(files)))
    limits = with_limits(tmp_path, AHEAD_BYTES=2 * MEMORY_BYTES)
    held = Held(proxy)
    with bucket.worker(AWS_ENDPOINT_URL=address, **limits) as worker:
        wait_for(lambda: "read input" in proxy.steps())
        before = memory(worker.pid, "VmRSS")
        held.settled(DELIVERIES + 1)
        assert memory(worker.pid, "VmHWM") - before < 8 * MEMORY_BYTES
        worker.kill()
    for number in range(files):
        bucket.s3.delete_object(Bucket=bucket.name, Key=f"input/{number}.wav")


WORDS = 40  # in a piece


class Answering:
    """In the place of the engines: every piece is answered at once."""

    def transcribe(self, _samples: object, _rate: int) -> Future[TimedRecognition]:
        answer: Future[TimedRecognition] = Future()
        answer.set_result(TimedRecognition(Recognition([Word("heard", 0.1, 0.4)], -1.0), 1.0))
        return answer


def test_what_is_heard_is_taken_over_while_its_recording_goes_on(tmp_path: Path) -> None:
    nobody: Any = None
    engines: Any = Answering()
    child = Child(
        bucket=nobody, delivery=nobody, decoder=nobody, engines=engines,
        sample_rate=RATE, separate=False, width=1, scratch=tmp_path,
    )  # fmt: skip
    pieces = [Piece(20.0 * number, np.zeros(RATE, np.int16)) for number in range(3)]
    fetching: Future[Fetched] = Future()
    decoding: Any = object()
    fetching.set_result(Fetched(nobody, decoding, Batch(pieces, True, 60.0, 1, [])))
    underway = child._send_through_engines(RECORDING, fetching)
    assert not underway.failure
    assert [segment.words[0].start for segment in underway.heard] == [0.1, 20.1, 40.1]


def heard_for_hours(pieces: int) -> Underway:
    """A recording whose every piece has been answered, as answers come from an engine's process: a copy each time."""
    words = [Word(f"heard-{number}", number / 3, number / 2, number / 7) for number in range(WORDS)]
    answer = pickle.dumps(TimedRecognition(Recognition(words, -1.0), 1.0))
    underway = Underway(RECORDING)
    for number in range(pieces):
        future: Future[TimedRecognition] = Future()
        underway.asked.append(Asked(30.0 * number, 30.0 * number + 20, None, future))
        future.set_result(pickle.loads(answer))  # noqa: S301, our own
        underway.take_answers()
    return underway


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("traced")
def test_what_is_heard_of_a_long_recording_is_kept_small() -> None:
    underway = heard_for_hours(500)
    assert sum(len(segment.words) for segment in underway.heard) == 500 * WORDS
    assert tracemalloc.get_traced_memory()[0] < 200 * 500 * WORDS


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("form", CONTENT_TYPES)
def test_no_form_of_a_long_transcript_takes_much_more_than_its_words(form: str) -> None:
    transcript = Transcript(heard_for_hours(500).heard, 15_000, 1, 1.0, [])
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert len(render(form, transcript, {})) > 5 * 500 * WORDS
    assert tracemalloc.get_traced_memory()[1] - before < 200 * 500 * WORDS


def memory(pid: int, what: str) -> int:
    """Bytes; VmRSS now, VmHWM at most until now."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_a_manifest_that_states_a_wrong_size_makes_no_room_for_it(bucket: Bucket) -> None:
    """Neither a file that is far larger than planned nor a promise of a petabyte costs space; both wait in input/."""
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


# A disk of 12 MB of our own, mounted where only the worker sees it; no root is needed where Linux lets users do that.
SMALL_DISK = ["unshare", "--map-root-user", "--mount", "/bin/sh", "-c"]
MOUNT = 'mount -t tmpfs -o size=12m scratch "$TMPDIR"'


def small_disk(filled: str) -> str:
    """For the shell that starts the worker: a disk of 12 MB, filled so far."""
    able = subprocess.run([*SMALL_DISK, MOUNT.replace("$TMPDIR", "/mnt")], capture_output=True)
    if able.returncode:
        pytest.skip(f"this machine lets nobody mount a disk of one's own: {able.stderr.decode().strip()}")
    return f"""exec unshare --map-root-user --mount /bin/sh -c '
        {MOUNT} && head -c {filled} /dev/zero > "$TMPDIR/others" && exec "$0" -m transcriber' "$0";"""


def test_a_disk_that_is_full_costs_a_retry_but_not_the_others(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav", heavy(10 * MEBI)), bucket.put("good.wav"))
    run = bucket.run(small_disk(filled="8M"))
    assert run.code == 75, run
    assert run.outcomes() == {"input/call.wav": "failed", "input/good.wav": "transcribed"}
    [told] = [event["detail"] for event in run.events if event.get("outcome") == "failed"]
    assert told == "The scratch space is full (No space left on device). Give the containers more (scratch_gib)"
    assert bucket.listing() == ["input/call.wav", "output/good", "processed/good.wav"]
    assert bucket.run().code == 0
    assert bucket.text("output/call") == TEXTS[SHORT]


def test_files_of_a_limited_size_cost_a_retry_but_not_the_others(bucket: Bucket) -> None:
    """What every machine can do that has no disk to fill."""
    bucket.plan(bucket.put("call.wav", heavy(10 * MEBI)), bucket.put("good.wav"))
    run = bucket.run("ulimit -f 2000;")
    assert run.code == 75, run
    assert run.outcomes() == {"input/call.wav": "failed", "input/good.wav": "transcribed"}
    assert bucket.listing() == ["input/call.wav", "output/good", "processed/good.wav"]


def test_a_recording_larger_than_the_whole_disk_is_rejected_and_says_so(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav", heavy(13 * MEBI)), bucket.put("good.wav"))
    run = bucket.run(small_disk(filled="0"))
    assert run.code == 0, run
    assert bucket.listing() == ["failed/call.wav", "failed/call.wav.error.json", "output/good", "processed/good.wav"]
    assert bucket.reason("call.wav")["code"] == "too-large"
    assert "larger than the scratch space" in bucket.reason("call.wav")["reason"]
