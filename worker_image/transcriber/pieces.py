"""Cuts long audio at silences, to limit the length of engine calls and to skip long silences.

An engine's cost grows faster than the length of what it is given, and pieces of one file can be spread over
all engines. The WebRTC voice detector finds the pauses: it is small, needs no model and runs as a stream. It
can mistake soft speech for a pause, so it decides only where to cut. What is left out must be quiet, too.
Channels that are kept apart are cut each on its own, side by side.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import webrtcvad  # type: ignore[import-untyped]

from .samples import USUAL_PIECES, Piece, PieceSeconds, Samples

Flags = npt.NDArray[np.bool_]  # one per frame

FRAME_SECONDS = 0.03  # the detector accepts 10, 20 or 30 ms
PAUSE_SECONDS = 0.3  # a shorter pause can be part of a word
KEPT_SILENCE_SECONDS = 0.5  # kept at each end of a long silence
QUIET_RMS = 32768 * 10 ** (-50 / 20)  # -50 dBFS
DETECTOR_RATES = (8000, 16000, 32000, 48000)
DETECTOR_MODE = 2  # 0 classifies most as speech, 3 least


def cut(
    chunks: Iterator[Samples], sample_rate: int, piece_seconds: PieceSeconds = USUAL_PIECES
) -> Iterator[list[Piece]]:
    """Cut a stream of int16 samples of shape (n, channels) into pieces, in order per channel.

    Yields, for each chunk and channel, the pieces that are complete with it, often none, and at the end the rest.

    A channel that is no longer than a piece may be is one piece, as it is. Of a longer one everything is in exactly
    one piece, except the inside of long silences. A channel that starts later or ends earlier is silent there.

    Args:
        chunks: The samples.
        sample_rate: In Hz.
        piece_seconds: A longer recording is cut into pieces of this length.
    """
    windows: list[_Window] = []
    length = 0
    for chunk in chunks:
        windows += [
            _Window(sample_rate, number + 1, length, piece_seconds) for number in range(len(windows), chunk.shape[1])
        ]
        length += len(chunk)
        for number, window in enumerate(windows):
            window.add(chunk[:, number] if number < chunk.shape[1] else np.zeros(len(chunk), np.int16))
            yield list(window.full_pieces())
    for window in windows:
        yield list(window.rest())


class _Window:
    """The remaining samples of one channel, with the loudness and pause flag of each complete frame.

    Args:
        first: where the channel starts, counted in samples from the start of the recording.
        piece_seconds: as `cut`.
    """

    def __init__(self, sample_rate: int, channel: int, first: int, piece_seconds: PieceSeconds) -> None:
        self._rate = sample_rate
        self._least, self._longest, self._silence = piece_seconds
        self._channel = channel
        self._long = False
        self._frame = int(sample_rate * FRAME_SECONDS)
        self._detector = webrtcvad.Vad(DETECTOR_MODE) if sample_rate in DETECTOR_RATES else None
        self._first = first
        self._samples = np.zeros(0, np.int16)
        self._added: list[Samples] = []
        self._length = 0
        self._pause = np.zeros(0, bool)  # no speech in this frame
        self._loudness = np.zeros(0, np.float32)  # RMS of this frame

    @property
    def _seconds(self) -> float:
        return self._length / self._rate

    def add(self, chunk: Samples) -> None:
        self._added.append(chunk)
        self._length += len(chunk)

    def full_pieces(self) -> Iterator[Piece]:
        """Cut off the pieces that are complete."""
        while self._seconds > self._longest:
            self._long = True
            yield from self._take(last=False)

    def rest(self) -> Iterator[Piece]:
        """Cut the rest of the channel."""
        if not self._long:
            yield self._piece(self._length)
        while self._length:
            yield from self._take(last=True)

    def _take(self, last: bool) -> Iterator[Piece]:
        """Take the next piece from the start, or drop the silence there.

        Args:
            last: nothing follows what is in the window.
        """
        self._look_at_new_frames()
        limit = _frames(self._longest)
        kept = _frames(KEPT_SILENCE_SECONDS)
        pause = self._pause[:limit]
        quiet = pause & (self._loudness[:limit] < QUIET_RMS)
        leading = len(quiet) if quiet.all() else int(np.argmin(quiet))
        if last and leading and leading == len(self._pause):
            self._drop(leading * self._frame)
        elif leading > kept:
            self._drop((leading - kept) * self._frame)
        else:
            yield self._piece(self._end_of_piece(pause, quiet))

    def _end_of_piece(self, pause: Flags, quiet: Flags) -> int:
        silences = _runs(quiet, _frames(self._silence))
        if silences:
            return (silences[0][0] + _frames(KEPT_SILENCE_SECONDS)) * self._frame
        if self._seconds <= self._longest:
            return self._length
        earliest = _frames(self._least)
        pauses = _runs(pause[earliest:], _frames(PAUSE_SECONDS))
        if pauses:
            start, end = max(pauses, key=lambda run: run[1] - run[0])
            return (earliest + (start + end) // 2) * self._frame
        # Without a pause, the softest moment is the least likely to be inside a word.
        soft = np.convolve(self._loudness[earliest : len(pause)], np.ones(7), mode="same")
        return (earliest + int(np.argmin(soft))) * self._frame

    def _look_at_new_frames(self) -> None:
        self._gather()
        known = len(self._pause)
        frames = self._samples[known * self._frame : self._length // self._frame * self._frame]
        frames = frames.reshape(-1, self._frame)
        loudness = np.sqrt(np.mean(np.square(frames, dtype=np.float32), axis=1))
        pause = np.array([not self._is_speech(frame) for frame in frames], bool)
        self._pause = np.concatenate([self._pause, pause if self._detector else loudness < QUIET_RMS])
        self._loudness = np.concatenate([self._loudness, loudness])

    def _is_speech(self, frame: Samples) -> bool:
        return self._detector is None or self._detector.is_speech(frame.tobytes(), self._rate)

    def _piece(self, end: int) -> Piece:
        self._gather()
        piece = Piece(self._first / self._rate, self._samples[:end].copy(), self._channel)
        self._drop(end)
        return piece

    def _drop(self, end: int) -> None:
        self._first += end
        self._length -= end
        self._samples = self._samples[end:]
        self._pause = self._pause[end // self._frame :]
        self._loudness = self._loudness[end // self._frame :]

    def _gather(self) -> None:
        self._samples = np.concatenate([self._samples, *self._added])
        self._added = []


def _frames(seconds: float) -> int:
    return round(seconds / FRAME_SECONDS)


def _runs(flags: Flags, at_least: int) -> list[tuple[int, int]]:
    """The ranges [start, end) with at least this number of consecutive true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return [(start, end) for start, end in runs if end - start >= at_least]
