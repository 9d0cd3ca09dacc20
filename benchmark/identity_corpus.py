"""Recordings of several voices, in several conditions, to compare two engines on.

The voices are the prompts of Asterisk in five languages. Debian has them as packages, at 16 kHz:

    apt-get install asterisk-core-sounds-en-g722 asterisk-core-sounds-es-g722 asterisk-core-sounds-fr-g722 \\
        asterisk-core-sounds-it-g722 asterisk-core-sounds-ru-g722
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from benchmark.corpus import RATE, RECORDINGS, Samples, noisy, resampled

SOUNDS = Path("/usr/share/asterisk/sounds")
LONGEST = 30 * RATE  # of a piece
LEAST_BYTES = 1000  # some prompts are empty
LONG = "10 to 30 seconds"  # one in three of its turns, because it costs so much


@dataclass(frozen=True)
class Recording:
    """A recording, with how it was made."""

    name: str
    condition: str
    samples: Samples  # int16 mono at RATE


Change = Callable[[Samples, Callable[[], Samples], np.random.Generator], Samples]


def recordings(count: int, sounds: Path = SOUNDS) -> Iterator[Recording]:
    """`count` recordings, the same ones each time: each voice and each condition in turn.

    Raises:
        FileNotFoundError: the folder does not exist, because the packages are not installed.
    """
    chance = np.random.default_rng(16)
    voices = [list(map(str, chance.permutation(files))) for files in _voices(sounds)]
    names = list(CONDITIONS)
    for number in range(count):
        voice = voices[number % len(voices)]
        condition = names[number // len(voices) % len(names)]
        if condition == LONG and number // len(voices) // len(names) % 3:
            condition = names[0]
        path = Path(voice[number // len(voices) % len(voice)])

        def another(voice: list[str] = voice) -> Samples:
            return prompt(Path(str(chance.choice(voice))))

        samples = CONDITIONS[condition](prompt(path), another, chance)
        yield Recording(f"{number:04}-{path.relative_to(sounds).with_suffix('')}", condition, samples)


def _voices(sounds: Path) -> Iterator[list[str]]:
    """The files of each voice, without those that the project has as its samples: the engine was built with them."""
    samples = {path.stem.replace("__", "/") for path in RECORDINGS.glob("*.wav")}
    for folder in sorted(sounds.iterdir()):
        files = [path for path in sorted(folder.rglob("*.g722")) if path.stat().st_size > LEAST_BYTES]
        yield [str(path) for path in files if str(path.relative_to(folder).with_suffix("")) not in samples]


def prompt(path: Path) -> Samples:
    """The samples of a `.g722` file."""
    with av.open(str(path), format="g722") as file:
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]).astype(np.int16)


def _quieter(decibels: float) -> Change:
    return lambda samples, _, __: _clipped(samples * 10 ** (-decibels / 20))


def _with_noise(decibels: float) -> Change:
    return lambda samples, _, chance: noisy(samples, decibels, chance)


def _faster(speed: float) -> Change:
    return lambda samples, _, __: resampled(samples, RATE * speed, RATE)


def _telephone(samples: Samples, _: object, __: object) -> Samples:
    return resampled(resampled(samples, RATE, 8000), 8000, RATE)


def _cut(samples: Samples, _: object, chance: np.random.Generator) -> Samples:
    """Starts and ends anywhere, also inside a word, and may be shorter than a frame."""
    start = chance.integers(0, len(samples))
    return samples[start : start + chance.integers(0, RATE)]


def _second_voice(samples: Samples, another: Callable[[], Samples], _: object) -> Samples:
    other = np.resize(another(), len(samples))
    return _clipped(samples * 0.7 + other * 0.3)


def _long(samples: Samples, another: Callable[[], Samples], chance: np.random.Generator) -> Samples:
    """Several prompts with pauses, some of them digital silence, up to the longest piece."""
    parts = [samples]
    end = chance.integers(10 * RATE, LONGEST)
    while sum(map(len, parts)) < end:
        pause = chance.integers(0, RATE)
        parts += [np.zeros(pause, np.int16) if pause % 2 else chance.integers(-20, 20, pause, np.int16), another()]
    return np.concatenate(parts)[:end]


def _clipped(samples: np.ndarray) -> Samples:
    return np.clip(samples, -32768, 32767).astype(np.int16)


CONDITIONS: dict[str, Change] = {
    "as it is": lambda samples, _, __: samples,
    "noise 20 dB below": _with_noise(20),
    "noise 10 dB below": _with_noise(10),
    "noise as loud as the voice": _with_noise(0),
    "telephone line": _telephone,
    "12% slower": _faster(0.88),
    "15% faster": _faster(1.15),
    "40 dB quieter": _quieter(40),
    "clipped": _quieter(-20),
    "less than a second": _cut,
    "a second voice": _second_voice,
    LONG: _long,
}
