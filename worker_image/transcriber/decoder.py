"""A process of its own that decodes: audio is untrusted input, and codecs are large C libraries.

What crashes, hangs or fills the memory there costs only the file at hand. The process sends pieces when
asked, so it never runs ahead by more than a few.
"""

from __future__ import annotations

import io
import itertools
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Union

from .errors import NOT_AUDIO, Rejected, TemporaryError
from .process import IsolatedProcess, ProcessDied, ProcessHangs
from .samples import Piece

if TYPE_CHECKING:
    from .audio import Audio

Source = Union[bytes, str]  # a file's content, or its path when it is large
BATCH_SECONDS = 120  # how much sound one answer carries at most
LIMIT_SECONDS = 300.0  # for one answer, thousands of times what decoding takes
MEMORY_BYTES = 3 << 30  # of address space


@dataclass(frozen=True)
class Batch:
    """The next pieces of a file; what is told of the whole of it is final when it is the last."""

    pieces: list[Piece]
    last: bool
    duration: float  # seconds
    channels: int
    warnings: list[str]


class Decoder:
    """The decoding process, for several files at a time."""

    def __init__(self) -> None:
        self._process = IsolatedProcess(_prepare)
        self._tokens = itertools.count()

    def open(self, source: Source, sample_rate: int, separate: bool = False) -> Decoding:
        """Decode a file to samples of that rate (Hz), piece by piece, its channels mixed or separate."""
        return Decoding(self._process, next(self._tokens), source, sample_rate, separate)

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stop()


class Decoding:
    """One file on its way through the decoder."""

    def __init__(
        self, process: IsolatedProcess[None], token: int, source: Source, sample_rate: int, separate: bool
    ) -> None:
        self._process = process
        self._token = token
        self._source = source
        self._rate = sample_rate
        self._separate = separate
        self._known = False  # to the process
        self._had = 0  # pieces
        self._crashes = 0

    def next_batch(self) -> Batch:
        """Decode on.

        Raises:
            Rejected: it is no audio, or the decoder crashes or hangs on it twice.
            TemporaryError: the decoder was killed, or cannot be started.
        """
        while True:
            try:
                source = None if self._known else self._source
                batch = self._process.call(
                    _next_batch, self._token, source, self._rate, self._separate, self._had, limit=LIMIT_SECONDS
                )
            except _Unknown:  # another file has crashed the process since
                self._known = False
                continue
            except (ProcessDied, ProcessHangs) as error:
                self._known = False
                self._crashes += 1
                if self._crashes == 2 and isinstance(error, ProcessDied) and error.exitcode == -signal.SIGKILL:
                    # Its own limit ends in a MemoryError: it was somebody else who took the machine's memory.
                    raise TemporaryError("The decoder was killed, most likely because memory ran out") from error
                if self._crashes == 2:
                    raise Rejected("undecodable", NOT_AUDIO, f"the decoder crashes: {error!r}") from error
                continue
            self._known = True
            self._had += len(batch.pieces)
            return batch


class _Unknown(Exception):
    """The process has no such file open."""


# What follows runs in the decoding process. It alone imports the codecs: the worker starts without them.


@dataclass
class _Open:
    audio: Audio
    pieces: Iterator[Piece]


_files: dict[int, _Open] = {}


def _prepare() -> None:
    from . import audio, pieces  # noqa: F401, while the worker looks for its manifest

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _next_batch(token: int, source: Source | None, sample_rate: int, separate: bool, skip: int) -> Batch:
    from .audio import Audio
    from .pieces import cut

    if source is not None:
        audio = Audio(_content(source), sample_rate, separate)
        _files[token] = _Open(audio, itertools.islice(cut(audio.chunks(), sample_rate), skip, None))
    if token not in _files:
        raise _Unknown
    file = _files[token]
    try:
        pieces, last = _some(file.pieces, sample_rate)
    except MemoryError:
        del _files[token]
        raise Rejected("undecodable", NOT_AUDIO, "it needs more memory than any recording should") from None
    except BaseException:
        del _files[token]
        raise
    if last:
        del _files[token]
    return Batch(pieces, last, file.audio.duration, file.audio.channels, file.audio.warnings)


def _some(pieces: Iterator[Piece], sample_rate: int) -> tuple[list[Piece], bool]:
    some: list[Piece] = []
    while sum(len(piece.samples) for piece in some) < (BATCH_SECONDS - 30) * sample_rate:
        piece = next(pieces, None)
        if piece is None:
            return some, True
        some.append(piece)
    return some, False


def _content(source: Source) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")
