"""Decode in a separate process, because audio is untrusted input and codecs are large C libraries.

A crash, a hang or a lack of memory there costs only one file. The process sends pieces on request, so it never runs
ahead by more than a few. It answers at least every ANSWER_SECONDS, also without a piece; it hangs if an answer takes
longer than LIMIT_SECONDS, or if the answers of that time bring no progress.
"""

from __future__ import annotations

import io
import itertools
import resource
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from transcription_contract.results import ErrorCode

from .failures import NOT_AUDIO, RecordingFailed, Rejected
from .process import IsolatedProcess, ProcessDied, ProcessHangs
from .samples import USUAL_PIECES, Piece, PieceSeconds

if TYPE_CHECKING:
    from .audio import Audio

Source = bytes | str  # a file's content, or its path when it is large
PIECES_SECONDS = 120  # maximum of audio per answer
ANSWER_SECONDS = 10.0  # maximum time for an answer, which may have only the position
LIMIT_SECONDS = 300.0  # maximum for an answer, and for answers without progress
MEMORY_BYTES = 3 << 30  # of address space


@dataclass(frozen=True)
class Form:
    """How a file is decoded."""

    sample_rate: int
    """Hz."""
    separate: bool
    """Whether its channels are kept apart."""
    piece_seconds: PieceSeconds
    """Length of the pieces of a long recording."""


@dataclass(frozen=True)
class DecodedPieces:
    """The next pieces of a file, perhaps none. The other fields are final when `last` is true."""

    pieces: list[Piece]
    last: bool
    seconds: float  # wall time of this answer
    duration: float  # decoded so far, in seconds
    channels: int
    warnings: list[str]


class Decoder:
    """The decoding process, for several files at a time."""

    def __init__(self) -> None:
        self._process = IsolatedProcess(_prepare)
        self._tokens = itertools.count()

    def open(
        self, source: Source, sample_rate: int, separate: bool = False, piece_seconds: PieceSeconds = USUAL_PIECES
    ) -> DecodingSession:
        """Decode a file to samples of that rate (Hz), its channels mixed or separate, in pieces of that length."""
        form = Form(sample_rate, separate, piece_seconds)
        return DecodingSession(self._process, next(self._tokens), source, form)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()


class DecodingSession:
    """A file that the decoding process decodes step by step."""

    def __init__(self, process: IsolatedProcess[None], token: int, source: Source, form: Form) -> None:
        self._process = process
        self._token = token
        self._source = source
        self._form = form
        self._is_open = False  # in the process
        self._had = 0  # pieces
        self._failures = 0
        self._position = -1.0  # decoded so far, in seconds
        self._stuck = 0.0  # seconds without progress

    def next_pieces(self) -> DecodedPieces:
        """Continue to decode for at most ANSWER_SECONDS. The result may have no piece.

        Raises:
            Rejected: it is not audio, or the decoder crashes or hangs on it twice.
            RecordingFailed: the operating system killed the decoder at it twice.
            TemporaryError: the decoder cannot be started.
        """
        while True:
            try:
                source = None if self._is_open else self._source
                decoded = self._process.call(
                    _next_pieces, self._token, source, self._form, self._had, limit=LIMIT_SECONDS
                )
                self._check_progress(decoded)
            except _Unknown:  # another file crashed the process
                self._start_again()
                continue
            except (ProcessDied, ProcessHangs) as error:
                self._start_again()
                self._failures += 1
                if self._failures == 2:
                    raise _meaning(error) from error
                continue
            self._is_open = True
            self._had += len(decoded.pieces)
            return decoded

    def _check_progress(self, decoded: DecodedPieces) -> None:
        if decoded.last or decoded.duration > self._position:
            self._position, self._stuck = decoded.duration, 0.0
            return
        self._stuck += decoded.seconds
        if self._stuck > LIMIT_SECONDS:
            self._process.call(_forget, self._token, limit=LIMIT_SECONDS)
            raise ProcessHangs(f"no progress within {LIMIT_SECONDS:g} s, at {decoded.duration:.1f} s of the recording")

    def _start_again(self) -> None:
        self._is_open, self._position, self._stuck = False, -1.0, 0.0


def _meaning(error: ProcessDied | ProcessHangs) -> Exception:
    """Convert the decoder's second failure to the recording's error."""
    if isinstance(error, ProcessDied) and error.exitcode == -signal.SIGKILL:
        # At its own memory limit the process raises MemoryError, so here the machine ran out of memory.
        return RecordingFailed("The decoder was killed, most likely because memory ran out")
    return Rejected(ErrorCode.UNDECODABLE, NOT_AUDIO, f"the decoder crashes: {error!r}")


class _Unknown(Exception):
    """The file is not open in the process."""


# The code below runs in the decoding process. Only this process imports the codecs.


@dataclass
class _Open:
    audio: Audio
    steps: Iterator[list[Piece]]
    skip: int  # number of pieces that the worker already has


_files: dict[int, _Open] = {}


def _prepare() -> None:
    from . import audio, pieces  # noqa: F401, imported while the worker reads its manifest

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _next_pieces(token: int, source: Source | None, form: Form, skip: int) -> DecodedPieces:
    from .audio import Audio
    from .pieces import cut

    started = time.monotonic()
    if source is not None:
        audio = Audio(_content(source), form.sample_rate, form.separate)
        _files[token] = _Open(audio, cut(audio.chunks(), form.sample_rate, form.piece_seconds), skip)
    if token not in _files:
        raise _Unknown
    file = _files[token]
    try:
        pieces, last = _some(file, form, started + ANSWER_SECONDS)
    except MemoryError:
        _forget(token)
        raise Rejected(ErrorCode.UNDECODABLE, NOT_AUDIO, "it needs more memory than any recording should") from None
    except BaseException:
        _forget(token)
        raise
    if last:
        _forget(token)
    seconds = time.monotonic() - started
    return DecodedPieces(pieces, last, seconds, file.audio.duration, file.audio.channels, file.audio.warnings)


def _some(file: _Open, form: Form, deadline: float) -> tuple[list[Piece], bool]:
    """Decode until there are enough pieces, the time is over or the file ends. Return whether it has ended."""
    some: list[Piece] = []
    enough = (PIECES_SECONDS - form.piece_seconds.most) * form.sample_rate
    for pieces in file.steps:
        some += pieces[file.skip :]
        file.skip = max(0, file.skip - len(pieces))
        if sum(len(piece.samples) for piece in some) >= enough:
            return some, False
        if time.monotonic() >= deadline:
            return some, False
    return some, True


def _forget(token: int) -> None:
    _files.pop(token, None)


def _content(source: Source) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")
