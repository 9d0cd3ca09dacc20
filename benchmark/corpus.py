"""The audio of the benchmarks: the sample recordings, also at other speeds, joined, and in other formats."""

from __future__ import annotations

import io
import json
import random
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped]

Samples = npt.NDArray[np.int16]

RATE = 16_000
VOICES = Path(__file__).parent / "voices"
RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
SPEEDS = (1.0, 0.95, 1.05, 0.97, 1.03, 0.92, 1.08)  # speeds that the demo's model still recognises
FORMS = {  # extension: container, codec, rate, channels
    "mp3": ("mp3", "libmp3lame", 44_100, "stereo"),
    "m4a": ("mp4", "aac", 44_100, "stereo"),
    "flac": ("flac", "flac", 44_100, "stereo"),
    "opus": ("ogg", "libopus", 48_000, "mono"),
}


@dataclass(frozen=True)
class Clip:
    name: str
    text: str
    samples: Samples  # int16 mono at RATE

    @property
    def seconds(self) -> float:
        return len(self.samples) / RATE

    @property
    def wav(self) -> bytes:
        return wav(self.samples)


def originals() -> list[Clip]:
    """The unchanged sample recordings."""
    entries = json.loads((RECORDINGS / "transcripts.json").read_text("utf-8"))
    return [Clip(entry["file"], entry["text"], samples_of(RECORDINGS / entry["file"])) for entry in entries]


def other_voices() -> list[Clip]:
    """Sentences of other people, from packages (benchmark/voices/ATTRIBUTION.md)."""
    entries = json.loads((VOICES / "transcripts.json").read_text("utf-8"))
    return [Clip(entry["file"], entry["text"], samples_of(VOICES / entry["file"])) for entry in entries]


def short_clips(count: int) -> list[Clip]:
    """`count` recordings of 2 to 9 seconds: the samples, repeated at different speeds."""
    clips = originals()
    return [
        changed_speed(clips[number % len(clips)], SPEEDS[number // len(clips) % len(SPEEDS)]) for number in range(count)
    ]


def changed_speed(clip: Clip, speed: float) -> Clip:
    samples = clip.samples if speed == 1 else resampled(clip.samples, RATE * speed, RATE)
    return Clip(f"{Path(clip.name).stem}-{round(100 * speed)}.wav", clip.text, samples)


def long_clip(minutes: float, seed: int = 7, clips: list[Clip] | None = None) -> Clip:
    """Clips (the samples) in random order with pauses of 0.3 to 1 s, similar to natural speech."""
    chance = random.Random(seed)  # noqa: S311
    parts: list[Samples] = []
    texts: list[str] = []
    clips = clips or originals()
    length = 0
    while length < minutes * 60 * RATE:
        clip = chance.choice(clips)
        pause = np.zeros(int(chance.uniform(0.3, 1.0) * RATE), np.int16)
        parts += [clip.samples, pause]
        texts.append(clip.text)
        length += len(clip.samples) + len(pause)
    return Clip(f"long-{minutes:g}-minutes.wav", " ".join(texts), np.concatenate(parts))


def worse_recordings() -> Iterator[tuple[str, list[Clip]]]:
    """The samples, unchanged and degraded: telephone line, noise, other speeds. Yields (condition, clips)."""
    clips = originals()
    noise = np.random.default_rng(7)

    def each(change: object) -> list[Clip]:
        return [Clip(clip.name, clip.text, change(clip.samples)) for clip in clips]  # type: ignore[operator]

    yield "as they are", clips
    yield "telephone line (8 kHz)", each(lambda samples: resampled(resampled(samples, RATE, 8000), 8000, RATE))
    for decibels in (20, 10):
        yield f"white noise {decibels} dB below", each(lambda samples, level=decibels: noisy(samples, level, noise))
    yield "12% slower", [changed_speed(clip, 0.88) for clip in clips]
    yield "15% faster", [changed_speed(clip, 1.15) for clip in clips]


def noisy(samples: Samples, decibels: float, noise: np.random.Generator) -> Samples:
    loudness = np.sqrt(np.mean(np.square(samples.astype(np.float64))))
    added = noise.normal(0, loudness * 10 ** (-decibels / 20), len(samples))
    return np.clip(samples + added, -32768, 32767).astype(np.int16)


def resampled(samples: Samples, source: float, target: float) -> Samples:
    return soxr.resample(samples, source, target)  # type: ignore[no-any-return]


def samples_of(path: Path) -> Samples:
    with wave.open(str(path)) as recording:
        assert (recording.getframerate(), recording.getnchannels(), recording.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(recording.readframes(recording.getnframes()), np.int16)


def wav(samples: Samples) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setparams((1, 2, RATE, 0, "NONE", ""))
        recording.writeframes(samples.tobytes())
    return file.getvalue()


def encoded(samples: Samples, extension: str) -> bytes:
    """The content of a file with the samples, in one of FORMS."""
    container, codec, rate, layout = FORMS[extension]
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        form = stream.codec_context.format or av.AudioFormat("s16")
        fit = av.AudioResampler(form.name, layout, rate, frame_size=stream.codec_context.frame_size or None)
        for part in [*fit.resample(frame), *fit.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()
