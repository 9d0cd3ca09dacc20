"""Decode any audio to the engines' format: 16-bit samples at the model's rate.

PyAV, because its wheel carries ffmpeg: it knows every container users send, by content, and decodes as a
stream, so that a ten-hour file needs no more memory than a short one. The channels are mixed by ffmpeg's
matrix or kept apart, the rate is changed by soxr. Audio that is in the engines' format already passes bit for bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import av
import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped]
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from transcription_contract.results import ErrorCode

from .failures import NOT_AUDIO, Rejected
from .samples import Samples

# Only audio and video containers. A playlist (hls, concat, sdp) could make ffmpeg open other files or URLs.
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,gsm,matroska,webm,mov,mp4,m4a,mp3,mpeg,mpegts,ogg,rm,tta,voc,w64,"
    "wav,wv"
)
# Containers whose headers have a reliable duration. That of an MP3 is often an estimate.
EXACT_DURATION = ("aiff", "au", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "w64", "wav")
MAX_HOURS = 24
MAX_CHANNELS = 64  # limit of ffmpeg's conversion
MAX_SEPARATE_CHANNELS = 32  # each channel needs memory for half a minute

UNKNOWN_ENCODING = (
    "The sound in this file is in an encoding that cannot be read. Convert it to WAV, FLAC or MP3 and upload it again."
)
NO_SOUND = "This file holds no sound. Check the recording and upload it again."


class Audio:
    """An opened recording.

    Args:
        source: the file's content, seekable.
        sample_rate: of the result, in Hz.
        separate: keep the channels separate instead of mixing them.

    Attributes:
        channels: number of channels in the part decoded so far.
        warnings: sentences about defects that did not stop the decoding.

    Raises:
        Rejected: it is not audio.
    """

    def __init__(self, source: BinaryIO, sample_rate: int, separate: bool = False) -> None:
        self.sample_rate = sample_rate
        self.channels = 0
        self._separate = separate
        self.samples = 0
        self.warnings: list[str] = []
        self._damaged = 0
        self._cut_off = _missing_bytes(source)
        self._container = _open(source)
        stream = self._container.streams.best("audio")
        if stream is None:
            raise Rejected(ErrorCode.NO_AUDIO, "This file has no sound track. Upload one that has sound.")
        if stream.codec_context is None:  # ffmpeg has no decoder; PyAV would crash on the first packet
            raise Rejected(ErrorCode.UNDECODABLE, UNKNOWN_ENCODING)
        self._stream = cast(AudioStream, stream)

    @property
    def duration(self) -> float:
        """Seconds decoded so far."""
        return self.samples / self.sample_rate

    def chunks(self) -> Iterator[Samples]:
        """Decode to int16 arrays of shape (n, channels), in order, of about a second each. Mixed audio has one channel.

        Raises:
            Rejected: it has no audio, is longer than MAX_HOURS, or has too many channels.
        """
        with self._container:
            for chunk in _resampled(self._frames(), self.sample_rate, self._separate):
                self.samples += len(chunk)
                if self.duration > MAX_HOURS * 3600:
                    raise Rejected(
                        ErrorCode.TOO_LONG,
                        f"This recording is longer than {MAX_HOURS} hours. Cut it into shorter files.",
                    )
                if len(chunk):
                    yield chunk
            if not self.samples:
                raise Rejected(ErrorCode.NO_AUDIO, NO_SOUND, f"{self._damaged} undecodable packets")
            self._note_what_is_missing()

    def _frames(self) -> Iterator[AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:  # the file is truncated or damaged; use the audio before this point
                self.warnings.append(f"The file is damaged after {self.duration:.1f} s: {error.strerror}")
                return
            if packet is None:
                return
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.FFmpegError:
                self._damaged += 1
                continue
            for frame in frames:
                self._count_channels(frame.layout.nb_channels)
                yield frame

    def _count_channels(self, channels: int) -> None:
        self.channels = max(self.channels, channels)
        most = MAX_SEPARATE_CHANNELS if self._separate else MAX_CHANNELS
        if channels > most:
            how = "separately" if self._separate else "mixed"
            raise Rejected(
                ErrorCode.TOO_MANY_CHANNELS,
                f"This recording has {channels} channels, and {most} at most can be transcribed {how}. "
                "Upload a file for each speaker.",
            )

    def _note_what_is_missing(self) -> None:
        if self._damaged:
            self.warnings.append(f"{self._damaged} damaged parts of the file were left out")
        promised = self._promised()
        if promised - self.duration > max(0.5, 0.01 * self.duration):
            self.warnings.append(
                f"The file ends early: its header promises {promised:.1f} s, {self.duration:.1f} s are there"
            )

    def _promised(self) -> float:
        """The duration in the header in seconds; 0 if it is missing or unreliable."""
        bit_rate = self._stream.codec_context.bit_rate
        if self._cut_off and bit_rate:
            return self.duration + self._cut_off * 8 / bit_rate
        if self._container.format.name in EXACT_DURATION:
            return (self._container.duration or 0) / av.time_base
        return 0.0


def _missing_bytes(source: BinaryIO) -> int:
    """The number of bytes that are missing from a WAV according to its header. ffmpeg uses the file's real size.

    Programs that do not know the length beforehand write sizes of 2 GiB and more.
    """
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    header = source.read(12)
    source.seek(0)
    if header[:4] != b"RIFF" or header[8:] != b"WAVE":
        return 0
    stated = int.from_bytes(header[4:8], "little") + 8
    return stated - size if size < stated < 0x7FFF_0000 else 0


def _open(source: BinaryIO) -> av.container.InputContainer:
    if not source.read(1):
        raise Rejected(ErrorCode.EMPTY, "This file is empty. Upload the recording again.")
    source.seek(0)
    try:
        # Not `options`: PyAV would pass them to the streams too, and crash if these are found only later (FLV).
        return av.open(source, mode="r", container_options={"format_whitelist": CONTAINERS})
    except (av.FFmpegError, ValueError) as error:
        raise Rejected(ErrorCode.NOT_AUDIO, NOT_AUDIO, str(error)) from error


def _resampled(frames: Iterator[AudioFrame], sample_rate: int, separate: bool) -> Iterator[Samples]:
    """Convert frames, whose format may change, to int16 chunks of shape (n, channels) at one rate."""
    form: tuple[str, str, int] | None = None
    conversion: _Conversion | None = None
    for frame in frames:
        if (frame.format.name, frame.layout.name, frame.sample_rate) != form:
            if conversion:
                yield conversion.rest()
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            conversion = _Conversion(frame, sample_rate, separate)
        assert conversion
        yield from conversion.feed(frame)
    if conversion:
        yield conversion.rest()


class _Conversion:
    """Convert audio of one format to int16 at the target rate, with mixed or separate channels."""

    def __init__(self, frame: AudioFrame, sample_rate: int, separate: bool) -> None:
        # ffmpeg cannot mix layouts whose channels have no position, such as 9, 11 or 13 channels.
        self._average = not separate and frame.layout.nb_channels > 1 and frame.layout.name.endswith(" channels")
        layout = frame.layout if separate or self._average else av.AudioLayout("mono")
        self._channels = layout.nb_channels if separate else 1
        self._fits = frame.format.packed.name == "s16" and frame.layout.nb_channels == self._channels
        # Convert to integers, because only then does ffmpeg scale the mix to prevent clipping.
        self._form = None if self._fits else AudioResampler("s32", layout, frame.sample_rate)
        self._full_scale = 2.0**15 if self._fits else 2.0**31
        self._rate = (
            None
            if frame.sample_rate == sample_rate
            else soxr.ResampleStream(frame.sample_rate, sample_rate, self._channels, dtype="float32")
        )
        self._second = frame.sample_rate
        self._waiting: list[npt.NDArray[Any]] = []
        self._count = 0

    def feed(self, frame: AudioFrame) -> Iterator[Samples]:
        self._take(self._form.resample(frame) if self._form else [frame])
        if self._count >= self._second:
            yield self._convert(last=False)

    def rest(self) -> Samples:
        self._take(self._form.resample(None) if self._form else [])
        return self._convert(last=True)

    def _take(self, parts: Sequence[AudioFrame]) -> None:
        for part in parts:
            samples = part.to_ndarray()
            samples = samples.T if part.format.is_planar else samples.reshape(part.samples, -1)
            self._waiting.append(samples.mean(axis=1, keepdims=True) if self._average else samples)
            self._count += part.samples

    def _convert(self, last: bool) -> Samples:
        samples = np.concatenate([np.zeros((0, self._channels), np.int16), *self._waiting])
        self._waiting, self._count = [], 0
        if self._rate is None and self._fits:
            return cast(Samples, samples)
        samples = samples.astype(np.float32) / self._full_scale
        if self._rate is not None:
            samples = self._rate.resample_chunk(samples, last=last)
        return cast(Samples, np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16))
