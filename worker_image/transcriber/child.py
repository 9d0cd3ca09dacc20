"""The work of one Batch child: its recordings, several on their way at once, each accounted for.

Downloads run ahead, the decoder and the engines follow, and what is done is delivered behind them. Every
queue between these steps is bounded, so memory and scratch space do not depend on the manifest: at most
AHEAD_FILES + DELIVERIES recordings are on their way, and what those hold that are not yet with the engines is
AHEAD_BYTES at most, or a single larger one.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from transcription_contract.manifest import Recording

from .decoder import Batch, Decoder, Decoding
from .delivery import Delivery
from .engine import Word
from .errors import ConfigError, Gone, Rejected, Replaced, TemporaryError, Terminated, WorkerError
from .log import log
from .pool import Engines, TimedRecognition
from .samples import Piece
from .storage import Bucket, ObjectFacts
from .transcript import Segment, Transcript

AHEAD_FILES = 16  # downloaded and waiting for their turn
AHEAD_BYTES = 128 << 20  # of them; a single larger file is still allowed
MEMORY_BYTES = 8 << 20  # what is larger is downloaded to a file
DELIVERIES = 16  # files whose results are being written
PROGRESS_SECONDS = 60.0  # between two lines about one recording that takes long
GIVE_UP_AFTER = 5  # files that failed for no fault of theirs: S3 is down, the disk is full
GRACE_SECONDS = 10.0  # for what is at hand when the container must stop; Batch kills it 120 s after SIGTERM

TOO_LARGE = (
    "This file is larger than the scratch space of the container that transcribes it. Cut or compress the recording, "
    "or give the containers more (scratch_gib), and upload it again."
)
NO_SPEECH = "No speech was recognised in this recording. Check that it has sound, and that its language is the model's."


@dataclass(frozen=True)
class Fetched:
    """A recording that has arrived: decoding and first are None if it has its transcript already."""

    source: ObjectFacts
    decoding: Decoding | None = None
    first: Batch | None = None
    scratch: Path | None = None


@dataclass(frozen=True)
class Asked:
    """A piece on its way through the engines; times in seconds of the recording."""

    start: float
    end: float
    channel: int | None  # counted from 1; None: all of them, mixed
    answer: Future[TimedRecognition]

    @property
    def answered(self) -> bool:
        return self.answer.done() and not self.answer.cancelled() and not self.answer.exception()


@dataclass
class Underway:
    """A recording on its way; what fails is kept until its results are delivered."""

    recording: Recording
    source: ObjectFacts | None = None
    has_transcript: bool = False  # already, before it is heard
    asked: deque[Asked] = field(default_factory=deque)  # pieces, in their order, of which nothing is heard yet
    heard: list[Segment] = field(default_factory=list)
    compute_seconds: float = 0.0  # CPU time of the engines
    duration: float = 0.0  # seconds
    channels: int = 0
    warnings: list[str] = field(default_factory=list)
    failure: Exception | None = None

    def take_answers(self) -> None:
        """Take what is answered already, up to a failure: hours of words are small in a form that shares them."""
        while self.asked and self.asked[0].answered:
            self._take_answer()

    def take_all_answers(self) -> None:
        """Wait for the rest of the answers.

        Raises:
            Rejected: the engines cannot cope with a piece.
            TemporaryError: they are gone.
        """
        while self.asked:
            self._take_answer()

    def _take_answer(self) -> None:
        piece = self.asked.popleft()
        answer = piece.answer.result()
        self.compute_seconds += answer.compute_seconds
        found = answer.recognition
        if found.words:
            words = [
                Word(sys.intern(word.text), piece.start + word.start, piece.start + word.end, word.margin)
                for word in found.words
            ]
            self.heard.append(Segment(piece.start, piece.end, words, found.score, piece.channel, found.alternatives))


class Child:
    """What the steps share.

    Args:
        sample_rate: the engines', in Hz.
        separate: transcribe each channel on its own.
        width: how many engines there are.
        scratch: a folder for large files.
    """

    def __init__(
        self,
        *,
        bucket: Bucket,
        delivery: Delivery,
        decoder: Decoder,
        engines: Engines,
        sample_rate: int,
        separate: bool,
        width: int,
        scratch: Path,
    ) -> None:
        self._bucket = bucket
        self._delivery = delivery
        self._decoder = decoder
        self._engines = engines
        self._rate = sample_rate
        self._separate = separate
        self._scratch = scratch
        self._pieces = threading.Semaphore(2 * width + 2)  # at the engines or waiting right before them
        self._deliveries = threading.Semaphore(DELIVERIES)
        self._account = _Account()

    def transcribe(self, recordings: Sequence[Recording]) -> int:
        """Deal with every recording and return the exit code: 0 if none is left to do.

        Raises:
            TemporaryError: so many fail that going on is no use.
            Terminated: the container has to stop; what was at hand is finished or dropped.
        """
        self._account.total = len(recordings)
        fetchers = ThreadPoolExecutor(AHEAD_FILES, "fetch")
        deliverers = ThreadPoolExecutor(DELIVERIES, "deliver")
        deliveries: list[Future[None]] = []
        try:
            for recording, fetching in self._ahead(fetchers, recordings):
                self._deliveries.acquire()
                self._account.give_up_if_hopeless()
                underway = self._send_through_engines(recording, fetching)
                deliveries = [delivery for delivery in deliveries if not delivery.done()]
                deliveries.append(deliverers.submit(self._deliver, underway))
            wait(deliveries)
        except Terminated:
            log("terminating", level="warning", at_hand=len(deliveries))
            wait(deliveries, timeout=GRACE_SECONDS)
            raise
        finally:
            fetchers.shutdown(wait=False, cancel_futures=True)
            deliverers.shutdown(wait=False, cancel_futures=True)
            self._bucket.abort_copies()
        return self._account.exit_code()

    def _ahead(
        self, fetchers: ThreadPoolExecutor, recordings: Sequence[Recording]
    ) -> Iterator[tuple[Recording, Future[Fetched]]]:
        """The recordings, largest first, while the next ones are being fetched."""
        waiting = deque(sorted(recordings, key=lambda recording: -recording.source_size))
        ahead: deque[tuple[Recording, Future[Fetched]]] = deque()
        while waiting or ahead:
            while waiting and self._fits(ahead, waiting[0]):
                recording = waiting.popleft()
                ahead.append((recording, fetchers.submit(self._fetch, recording)))
            yield ahead.popleft()

    @staticmethod
    def _fits(ahead: Sequence[tuple[Recording, object]], recording: Recording) -> bool:
        size = recording.source_size + sum(other.source_size for other, _ in ahead)
        return not ahead or (len(ahead) < AHEAD_FILES and size <= AHEAD_BYTES)

    def _fetch(self, recording: Recording) -> Fetched:
        if self._delivery.has_transcript(recording):
            return Fetched(self._delivery.source(recording))
        version = recording.source_key, recording.source_etag, recording.source_size
        if recording.source_size <= MEMORY_BYTES:
            memory = io.BytesIO()
            source = self._bucket.download(*version, memory)
            decoding = self._decoder.open(memory.getvalue(), self._rate, self._separate)
            return Fetched(source, decoding, decoding.next_batch())
        space = shutil.disk_usage(self._scratch).total
        if recording.source_size > space:
            raise Rejected("too-large", TOO_LARGE, f"{recording.source_size} bytes, and {space} of scratch space")
        number, name = tempfile.mkstemp(dir=self._scratch)
        try:
            with os.fdopen(number, "wb") as file:
                source = self._bucket.download(*version, file)
            decoding = self._decoder.open(name, self._rate, self._separate)
            return Fetched(source, decoding, decoding.next_batch(), Path(name))
        except BaseException:
            Path(name).unlink()
            raise

    def _send_through_engines(self, recording: Recording, fetching: Future[Fetched]) -> Underway:
        """Give a recording's pieces to the engines, as fast as these take them."""
        underway = Underway(recording)
        scratch = None
        try:
            fetched = fetching.result()
            scratch = fetched.scratch
            underway.source, underway.has_transcript = fetched.source, fetched.decoding is None
            batch = fetched.first
            told = time.monotonic()
            while batch and fetched.decoding:
                for piece in batch.pieces:
                    underway.asked.append(self._ask(piece))
                    underway.take_answers()
                underway.duration, underway.channels = batch.duration, batch.channels
                underway.warnings = batch.warnings
                if time.monotonic() - told >= PROGRESS_SECONDS:
                    log("hearing", key=recording.source_key, audio_seconds=round(batch.duration))
                    told = time.monotonic()
                batch = None if batch.last else fetched.decoding.next_batch()
        except Exception as error:
            underway.failure = error
        finally:
            if scratch:
                scratch.unlink()
        return underway

    def _ask(self, piece: Piece) -> Asked:
        self._pieces.acquire()
        answer = self._engines.transcribe(piece.samples, self._rate)
        answer.add_done_callback(lambda _: self._pieces.release())
        channel = piece.channel if self._separate else None
        return Asked(piece.start, piece.start + len(piece.samples) / self._rate, channel, answer)

    def _deliver(self, underway: Underway) -> None:
        """Bring one recording to its end, whatever that is, and account for it."""
        recording = underway.recording
        try:
            self._account.done(recording, self._outcome(underway))
        except WorkerError as error:
            self._account.failed(recording, error, str(error))
        except Exception as error:  # a fault of ours must not cost the other recordings
            self._account.failed(recording, TemporaryError(repr(error)), traceback.format_exc())
        finally:
            self._deliveries.release()

    def _outcome(self, underway: Underway) -> str:
        recording = underway.recording
        try:
            if underway.failure or not underway.source:
                raise underway.failure or AssertionError("nothing was fetched")
            if not underway.has_transcript:
                self._delivery.put_transcript(recording, _transcript(underway))
            elif recording.in_place:
                self._delivery.take_over(recording)
            if not recording.in_place:
                self._delivery.move(recording, underway.source, recording.processed_key)
        except Rejected as rejection:
            return self._reject(recording, rejection)
        except Replaced:
            return "replaced"
        except Gone:
            return "transcribed" if self._delivery.was_processed(recording) else "gone"
        return "transcribed"

    def _reject(self, recording: Recording, rejection: Rejected) -> str:
        try:
            source = self._delivery.source(recording)
            self._delivery.put_reason(recording, rejection)
            if not recording.in_place:
                self._delivery.move(recording, source, recording.failed_key)
        except Replaced:
            return "replaced"
        except Gone:
            return "gone"
        log(
            "rejected",
            level="warning",
            key=recording.source_key,
            code=rejection.code,
            reason=rejection.reason,
            detail=rejection.detail,
        )
        return "rejected"


def _transcript(underway: Underway) -> Transcript:
    """Put a recording's pieces together.

    Raises:
        Rejected: nothing was heard, or the engines cannot cope with a piece.
        TemporaryError: the engines are gone.
    """
    underway.take_all_answers()
    if not underway.heard:
        found = "; ".join([f"{underway.duration:.3f} s of sound", *underway.warnings])
        raise Rejected("no-speech", NO_SPEECH, found)
    segments = sorted(underway.heard, key=lambda segment: segment.start)
    return Transcript(segments, underway.duration, underway.channels, underway.compute_seconds, underway.warnings)


class _Account:
    """What became of the recordings, counted and logged as they are done."""

    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._failures: list[WorkerError] = []
        self._started = time.monotonic()

    def done(self, recording: Recording, outcome: str) -> None:
        with self._lock:
            self._outcomes[outcome] += 1
            log("file", key=recording.source_key, outcome=outcome, progress=self._progress())

    def failed(self, recording: Recording, error: WorkerError, detail: str) -> None:
        with self._lock:
            self._failures.append(error)
            self._outcomes["failed"] += 1
            log(
                "file",
                level="error",
                key=recording.source_key,
                outcome="failed",
                detail=detail,
                progress=self._progress(),
            )

    def give_up_if_hopeless(self) -> None:
        with self._lock:
            if len(self._failures) >= GIVE_UP_AFTER:
                raise self._worst(f"Giving up after {len(self._failures)} failures, the last: {self._failures[-1]}")

    def exit_code(self) -> int:
        with self._lock:
            seconds = round(time.monotonic() - self._started, 3)
            log("done", files=self.total, seconds=seconds, outcomes=dict(self._outcomes))
            return self._worst("").exit_code if self._failures else 0

    def _worst(self, message: str) -> WorkerError:
        """A retry is worth it if it can cure any of the failures."""
        permanent = all(isinstance(failure, ConfigError) for failure in self._failures)
        return ConfigError(message) if permanent else TemporaryError(message)

    def _progress(self) -> str:
        return f"{sum(self._outcomes.values())} of {self.total} files"
