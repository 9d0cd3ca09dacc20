"""The steps of one Batch child: fetch recordings ahead, send them through the engines, deliver the results.

Every queue between these steps is bounded, so memory and scratch space do not depend on the manifest. At most
AHEAD_FILES + DELIVERIES recordings are in progress, or more for engines that work on many at once. Those that are not
yet with the engines hold at most AHEAD_BYTES, or one larger file.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from transcription_contract.manifest import Recording
from transcription_contract.results import ErrorCode, ExitCode

from .account import Account
from .decoder import DecodedPieces, Decoder, DecodingSession
from .delivery import Delivery
from .failures import RecordingFailed, Rejected, Terminated, WorkerError
from .log import log
from .pool import Engines
from .recording_in_progress import PendingPiece, RecordingInProgress
from .samples import Piece, PieceSeconds
from .source import Source
from .storage import Bucket, scratch_space

AHEAD_FILES = 16  # downloaded recordings that wait for the engines
AHEAD_BYTES = 128 << 20  # their total size; one larger file is allowed
MEMORY_BYTES = 8 << 20  # a larger file is downloaded to scratch space
DELIVERIES = 16  # recordings whose results are awaited or written, unless the engines take more pieces at once
PROGRESS_SECONDS = 60.0  # between two log lines about one long recording
GRACE_SECONDS = 10.0  # for deliveries after SIGTERM; Batch kills the container after 120 s

TOO_LARGE = (
    "This file is larger than the scratch space of the container that transcribes it. Cut or compress the recording, "
    "or give the containers more (scratch_gib), and upload it again."
)


@dataclass(frozen=True)
class Fetched:
    """A downloaded recording. `decoding` and `first` are None if the bucket already has its transcript."""

    decoding: DecodingSession | None = None
    first: DecodedPieces | None = None
    scratch: Path | None = None


class Pipeline:
    """The objects that the steps share.

    Args:
        sample_rate: of the engines, in Hz.
        piece_seconds: length of the pieces of a long recording, at least and at most.
        separate: transcribe each channel by itself.
        at_once: number of pieces that all engines together work on.
        scratch: folder for large files.
    """

    def __init__(
        self,
        *,
        bucket: Bucket,
        delivery: Delivery,
        decoder: Decoder,
        engines: Engines,
        sample_rate: int,
        piece_seconds: PieceSeconds,
        separate: bool,
        at_once: int,
        scratch: Path,
    ) -> None:
        self._bucket = bucket
        self._delivery = delivery
        self._decoder = decoder
        self._engines = engines
        self._rate = sample_rate
        self._piece_seconds = piece_seconds
        self._separate = separate
        self._scratch = scratch
        self._pieces = threading.Semaphore(2 * at_once + 2)  # in the engines or next in their queue
        # A recording waits for its pieces here, so an engine that takes many pieces at once needs many recordings.
        self._delivering = max(DELIVERIES, at_once)
        self._deliveries = threading.Semaphore(self._delivering)

    def transcribe(self, recordings: Iterable[Recording], total: int) -> ExitCode:
        """Transcribe all recordings in order and return the exit code.

        Raises:
            WorkerError: the bucket or the machine fails at several recordings in a row.
            Terminated: the container has to stop. Deliveries had GRACE_SECONDS to end.
        """
        account = Account(total)
        fetchers = ThreadPoolExecutor(AHEAD_FILES, "fetch")
        deliverers = ThreadPoolExecutor(self._delivering, "deliver")
        deliveries: list[Future[None]] = []
        try:
            for recording, fetching in self._fetch_ahead(fetchers, recordings):
                self._deliveries.acquire()
                account.give_up_if_hopeless()
                account.started(recording)
                progress = self._send_through_engines(recording, fetching)
                deliveries = [delivery for delivery in deliveries if not delivery.done()]
                deliveries.append(deliverers.submit(self._deliver, progress, account))
            wait(deliveries)
        except Terminated:
            log("terminating", level="warning", deliveries=len(deliveries))
            wait(deliveries, timeout=GRACE_SECONDS)
            raise
        finally:
            fetchers.shutdown(wait=False, cancel_futures=True)
            deliverers.shutdown(wait=False, cancel_futures=True)
            self._bucket.abort_copies()
        return account.exit_code()

    def _fetch_ahead(
        self, fetchers: ThreadPoolExecutor, recordings: Iterable[Recording]
    ) -> Iterator[tuple[Recording, Future[Fetched]]]:
        """Yield the recordings in order, and fetch the next ones in the background."""
        waiting = iter(recordings)
        following = next(waiting, None)
        ahead: deque[tuple[Recording, Future[Fetched]]] = deque()
        while following or ahead:
            while following and self._fits(ahead, following):
                ahead.append((following, fetchers.submit(self._fetch, following)))
                following = next(waiting, None)
            yield ahead.popleft()

    @staticmethod
    def _fits(ahead: Sequence[tuple[Recording, object]], recording: Recording) -> bool:
        size = recording.source_size + sum(other.source_size for other, _ in ahead)
        return not ahead or (len(ahead) < AHEAD_FILES and size <= AHEAD_BYTES)

    def _fetch(self, recording: Recording) -> Fetched:
        if self._delivery.has_transcript(recording):
            return Fetched()
        source = Source(self._bucket, recording)
        if recording.source_size <= MEMORY_BYTES:
            memory = io.BytesIO()
            source.download(memory)
            decoding = self._decoder.open(memory.getvalue(), self._rate, self._separate, self._piece_seconds)
            return Fetched(decoding, decoding.next_pieces())
        space = shutil.disk_usage(self._scratch).total
        if recording.source_size > space:
            raise Rejected(ErrorCode.TOO_LARGE, TOO_LARGE, f"{recording.source_size} bytes, {space} of scratch space")
        with scratch_space():
            number, name = tempfile.mkstemp(dir=self._scratch)
        try:
            with scratch_space(), os.fdopen(number, "wb") as file:
                source.download(file)
            decoding = self._decoder.open(name, self._rate, self._separate, self._piece_seconds)
            return Fetched(decoding, decoding.next_pieces(), Path(name))
        except BaseException:
            Path(name).unlink()
            raise

    def _send_through_engines(self, recording: Recording, fetching: Future[Fetched]) -> RecordingInProgress:
        """Submit a recording's pieces to the engines at the engines' speed."""
        progress = RecordingInProgress(recording)
        scratch = None
        try:
            fetched = fetching.result()
            scratch = fetched.scratch
            progress.has_transcript = fetched.decoding is None
            decoded = fetched.first
            logged = time.monotonic()
            while decoded and fetched.decoding:
                for piece in decoded.pieces:
                    progress.pending.append(self._submit(piece))
                    progress.collect_answers()
                progress.duration, progress.channels = decoded.duration, decoded.channels
                progress.warnings = decoded.warnings
                if time.monotonic() - logged >= PROGRESS_SECONDS:
                    log("transcribing", key=recording.source_key, audio_seconds=round(decoded.duration))
                    logged = time.monotonic()
                decoded = None if decoded.last else fetched.decoding.next_pieces()
        except Exception as error:
            progress.failure = error
        finally:
            if scratch:
                scratch.unlink()
        return progress

    def _submit(self, piece: Piece) -> PendingPiece:
        self._pieces.acquire()
        answer = self._engines.transcribe(piece.samples, self._rate)
        answer.add_done_callback(lambda _: self._pieces.release())
        channel = piece.channel if self._separate else None
        return PendingPiece(piece.start, channel, answer)

    def _deliver(self, progress: RecordingInProgress, account: Account) -> None:
        recording = progress.recording
        try:
            account.ended(recording, self._delivery.deliver(recording, progress.transcript))
        except (WorkerError, RecordingFailed) as error:
            account.failed(recording, error, str(error))
        except Exception as error:  # a bug must not stop the other recordings
            account.failed(recording, RecordingFailed(repr(error)), traceback.format_exc())
        finally:
            self._deliveries.release()
