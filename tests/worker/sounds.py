"""Encode the sample recordings in other formats, with ffmpeg's encoders."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import numpy as np
import soxr

from tests.worker.harness import recording

RATE = 16_000
BLOCK = 1 << 22  # samples per encoded block


def speech(name: str = "vm-rec-temp.wav") -> np.ndarray:
    """A recording's samples, int16 at 16 kHz."""
    return np.frombuffer(recording(name)[44:], np.int16)


def at_rate(samples: np.ndarray, rate: int) -> np.ndarray:
    return samples if rate == RATE else soxr.resample(samples, RATE, rate, quality="VHQ")


def stereo(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two channels of shape (n, 2). The shorter one ends with silence."""
    both = np.zeros((max(len(left), len(right)), 2), np.int16)
    both[: len(left), 0], both[: len(right), 1] = left, right
    return both


def interleaved(samples: np.ndarray, channels: int) -> np.ndarray:
    return samples.reshape(-1) if samples.ndim == 2 else np.repeat(samples, channels)


def wav(
    samples: np.ndarray, rate: int = RATE, channels: int = 1, junk: bytes = b"", stated_size: int | None = None
) -> bytes:
    """A PCM WAV file. `stated_size` is the data size in its header, if that is not the real size."""
    data = interleaved(samples, channels).astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    size = len(data) if stated_size is None else stated_size
    chunks = b"fmt " + struct.pack("<I", 16) + form + junk + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", (4 + len(chunks)) & 0xFFFFFFFF) + b"WAVE" + chunks


def encoded(
    samples: np.ndarray,
    container: str,
    codec: str,
    rate: int = RATE,
    layout: str = "mono",
    bit_rate: int | None = None,
    picture: bool = False,
) -> bytes:
    """Encode the samples as a file of this container and codec. Mono samples are copied to every channel."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if picture:
            video = output.add_stream("mpeg4", rate=5)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        stream = output.add_stream(codec, rate=rate, layout=layout)
        if bit_rate:
            stream.bit_rate = bit_rate
        if picture:
            for number in range(3):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 80 * number, np.uint8))
                frame.pts, frame.time_base = number, Fraction(1, 5)
                output.mux(video.encode(frame))
            output.mux(video.encode(None))
        channels = av.AudioLayout(layout).nb_channels
        interleaved_samples = interleaved(at_rate(samples, rate), channels).reshape(1, -1)
        form = stream.codec_context.format or av.AudioFormat("s16")
        resampler = av.AudioResampler(form.name, layout, rate, frame_size=stream.codec_context.frame_size or None)
        for start in range(0, interleaved_samples.size // channels, BLOCK):
            block = interleaved_samples[:, start * channels : (start + BLOCK) * channels]
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for part in resampler.resample(frame):
                output.mux(stream.encode(part))
        for part in resampler.resample(None):
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()
