"""Decodes any audio to what the engines take: 16-bit samples at the model's rate.

PyAV, because its wheel carries ffmpeg: it knows every container users send, by content, and decodes as a
stream, so that a ten-hour file needs no more memory than a short one. The channels are mixed by ffmpeg's
matrix or kept apart, the rate is changed by soxr. Audio that already is what the engines take passes bit for bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import av
import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped]
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

from .errors import NOT_AUDIO, Rejected
from .samples import Samples

# Only containers of sound and video: a playlist (hls, concat, sdp) could make ffmpeg open other files or URLs.
CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,gsm,matroska,webm,mov,mp4,m4a,mp3,mpeg,mpegts,ogg,rm,tta,voc,w64,"
    "wav,wv"
)
# Whose headers state a duration that can be relied on (an MP3's is often an estimate).
EXACT_DURATION = ("aiff", "au", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "w64", "wav")
MAX_HOURS = 24
MAX_CHANNELS = 64  # that ffmpeg's conversion takes
MAX_SEPARATE_CHANNELS = 32  # each needs memory for half a minute

UNKNOWN_ENCODING = (
    "The sound in this file is in an encoding that cannot be read. Convert it to WAV, FLAC or MP3 and upload it again."
)
NO_SOUND = "This file holds no sound. Check the recording and upload it again."


class Audio:
    """One recording, opened.

    Args:
        source: the file's content, seekable.
        sample_rate: of the samples to be made, in Hz.
        separate: keep the channels apart instead of mixing them.

    Attributes:
        channels: how many the recording has, as far as it is decoded.
        warnings: sentences about what was found wrong but did not stop the decoding.

    Raises:
        Rejected: it is no audio.
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
            raise Rejected("no-audio", "This file has no sound track. Upload one that has sound.")
        if stream.codec_context is None:  # ffmpeg knows no decoder: PyAV 15.1 crashes on the first packet
            raise Rejected("undecodable", UNKNOWN_ENCODING)
        self._stream = cast(AudioStream, stream)
        self._codec = _codec(self._stream)

    @property
    def duration(self) -> float:
        """Seconds decoded so far."""
        return self.samples / self.sample_rate

    def chunks(self) -> Iterator[Samples]:
        """Decode: int16 arrays of shape (n, channels), in order, about a second each; mixed, channels is 1.

        Raises:
            Rejected: there is no sound in it, more than MAX_HOURS of it, or too many channels to be kept apart.
        """
        with self._container:
            for chunk in _resampled(self._frames(), self.sample_rate, self._separate):
                self.samples += len(chunk)
                if self.duration > MAX_HOURS * 3600:
                    raise Rejected(
                        "too-long",
                        f"This recording is longer than {MAX_HOURS} hours. Cut it into shorter files.",
                    )
                if len(chunk):
                    yield chunk
            if not self.samples:
                raise Rejected("no-audio", NO_SOUND, f"{self._damaged} undecodable packets")
            self._note_what_is_missing()

    def _frames(self) -> Iterator[AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:  # the file breaks off or is damaged: what came before counts
                self.warnings.append(f"The file is damaged after {self.duration:.1f} s: {error.strerror}")
                return
            if packet is None:
                return
            try:
                frames = self._codec.decode(packet)
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
                "too-many-channels",
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
        """Seconds that the header states, 0 if it states none that can be relied on."""
        bit_rate = self._stream.codec_context.bit_rate
        if self._cut_off and bit_rate:
            return self.duration + self._cut_off * 8 / bit_rate
        if self._container.format.name in EXACT_DURATION:
            return (self._container.duration or 0) / av.time_base
        return 0.0


def _missing_bytes(source: BinaryIO) -> int:
    """How many bytes a WAV lacks of what its header states; ffmpeg takes the file's size instead.

    Sizes of 2 GiB and more are what programs write that do not know the length beforehand.
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
        raise Rejected("empty", "This file is empty. Upload the recording again.")
    source.seek(0)
    try:
        # Not `options`: PyAV 15.1 would pass them to the streams too, and crash if these are found only later (FLV).
        return av.open(source, mode="r", container_options={"format_whitelist": CONTAINERS}, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise Rejected("not-audio", NOT_AUDIO, str(error)) from error


def _codec(stream: AudioStream) -> AudioCodecContext:
    """What decodes the stream: ffmpeg's choice, but for Speex.

    Of wideband Speex, ffmpeg's own decoder (7.1) fills the second half of each frame with zeros.
    """
    if stream.codec_context.name != "speex":
        return stream.codec_context
    codec = cast(AudioCodecContext, av.CodecContext.create("libspeex", "r"))
    codec.extradata = stream.codec_context.extradata
    codec.sample_rate = stream.codec_context.sample_rate
    codec.layout = stream.codec_context.layout  # type: ignore[assignment]
    return codec


def _resampled(frames: Iterator[AudioFrame], sample_rate: int, separate: bool) -> Iterator[Samples]:
    """Change a stream of frames, whose form may change on the way, to int16 chunks of (n, channels) at one rate."""
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
    """From one form of audio to int16 at the target rate, the channels mixed or kept apart."""

    def __init__(self, frame: AudioFrame, sample_rate: int, separate: bool) -> None:
        # Of channels without a place in the room (9, 11, 13 and so on) ffmpeg knows no matrix.
        self._average = not separate and frame.layout.nb_channels > 1 and frame.layout.name.endswith(" channels")
        layout = frame.layout if separate or self._average else av.AudioLayout("mono")
        self._channels = layout.nb_channels if separate else 1
        self._fits = frame.format.packed.name == "s16" and frame.layout.nb_channels == self._channels
        # To integers, for ffmpeg scales its matrix so that nothing clips only then.
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
