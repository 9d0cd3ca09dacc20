"""Recordings without speech: silence, noise and music, made by arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

RATE = 16_000
SECONDS = 12
Wave = npt.NDArray[np.float64]
"""Samples of shape (n,), full scale ±1."""

TIME: Wave = np.arange(SECONDS * RATE) / RATE


def white(seed: int = 20) -> Wave:
    return np.random.default_rng(seed).normal(0, 1, len(TIME))


def coloured(exponent: float) -> Wave:
    """Noise whose power falls with this power of the frequency: 1 is pink, 2 is brown."""
    spectrum = np.fft.rfft(white())
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (exponent / 2)
    wave = np.fft.irfft(spectrum, len(TIME))
    return wave / np.std(wave)


def tone(hertz: float) -> Wave:
    return np.sin(2 * np.pi * hertz * TIME)


def hum(hertz: float) -> Wave:
    """A tone with its overtones, as of a transformer."""
    return sum(tone(hertz * number) / number for number in range(1, 8))


def gated(wave: Wave, on: float, off: float) -> Wave:
    """The sound for `on` seconds, then nothing for `off` seconds, again and again."""
    return wave * (TIME % (on + off) < on)


def notes(pitches: list[int], seconds: float, overtones: int) -> Wave:
    """A melody of plucked notes (MIDI numbers), repeated."""
    number = (TIME // seconds).astype(int) % len(pitches)
    hertz = 440 * 2 ** ((np.array(pitches)[number] - 69) / 12)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    since = TIME % seconds
    return sum(np.sin(phase * part) / part**1.5 for part in range(1, overtones + 1)) * np.exp(-3 * since / seconds)


def chords() -> Wave:
    progression = ([60, 64, 67], [57, 60, 64], [53, 57, 60], [55, 59, 62])
    return sum(notes([chord[voice] for chord in progression], 1.5, 4) for voice in range(3))


def drums() -> Wave:
    beat = TIME % 0.5
    kick = np.sin(2 * np.pi * 60 * TIME) * np.exp(-20 * beat)
    return kick + 0.4 * white() * np.exp(-60 * (TIME % 0.25))


def clicks() -> Wave:
    return white() * (white(21) > 3)


def waves() -> Wave:
    """Noise that swells and fades, like the sea."""
    return coloured(1.0) * (1.1 + np.sin(2 * np.pi * 0.15 * TIME))


def sweep() -> Wave:
    return np.sin(2 * np.pi * (100 + 300 * TIME) * TIME)


def engine() -> Wave:
    return hum(32) + 0.3 * coloured(2.0)


def band(low: float, high: float) -> Wave:
    """Noise between two frequencies, like a bad line."""
    spectrum = np.fft.rfft(white())
    hertz = np.fft.rfftfreq(len(TIME), 1 / RATE)
    spectrum[(hertz < low) | (hertz > high)] = 0
    return np.fft.irfft(spectrum, len(TIME))


MELODY = [60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65]
SOUNDS: dict[str, Callable[[], Wave]] = {
    "silence": lambda: np.zeros(len(TIME)),
    "soft white noise": lambda: 0.001 * white(),
    "white noise": lambda: 0.1 * white(),
    "loud white noise": lambda: 0.5 * white(),
    "pink noise": lambda: 0.1 * coloured(1.0),
    "brown noise": lambda: 0.2 * coloured(2.0),
    "50 Hz hum": lambda: 0.2 * hum(50),
    "60 Hz hum with noise": lambda: 0.2 * hum(60) + 0.02 * white(),
    "sine": lambda: 0.3 * tone(440),
    "dialling tone": lambda: 0.2 * (tone(350) + tone(440)),
    "engaged tone": lambda: gated(0.3 * tone(425), 0.5, 0.5),
    "ringing tone": lambda: gated(0.2 * (tone(440) + tone(480)), 2, 4),
    "key presses": lambda: gated(0.2 * (tone(770) + tone(1336)), 0.15, 0.35),
    "fax": lambda: gated(0.3 * tone(1100), 0.5, 3) + gated(0.1 * band(1500, 2500), 3, 1),
    "beeps": lambda: gated(0.4 * tone(1000), 0.1, 1.9),
    "sweep": lambda: 0.3 * sweep(),
    "clicks": clicks,
    "sea": lambda: 0.1 * waves(),
    "bad line": lambda: 0.2 * band(300, 3400),
    "engine": lambda: 0.2 * engine(),
    "melody": lambda: 0.3 * notes(MELODY, 0.4, 5),
    "slow melody": lambda: 0.3 * notes(MELODY[::-1], 1.2, 8),
    "bass": lambda: 0.4 * notes([number - 24 for number in MELODY], 0.5, 6),
    "chords": lambda: 0.2 * chords(),
    "drums": lambda: 0.4 * drums(),
    "band": lambda: 0.15 * chords() + 0.2 * drums() + 0.15 * notes(MELODY, 0.25, 3),
}


def samples(name: str) -> npt.NDArray[np.int16]:
    """The sound as int16 mono samples of shape (n,) at RATE."""
    wave = SOUNDS[name]()
    return np.clip(32767 * wave, -32768, 32767).astype(np.int16)
