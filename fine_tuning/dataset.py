"""Converts a folder of recordings and texts to the trainer's format.

Finds all problems before the training starts and reports each problem with its file.
"""

from __future__ import annotations

import csv
import hashlib
import unicodedata
import wave
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from transcriber.audio import Audio
from transcriber.failures import Rejected
from transcriber.samples import Samples

PARTS = ("train", "dev", "test")
MAX_SECONDS = 30.0  # the worker's maximum for a piece; the longest clip of a batch determines the memory


class DatasetError(Exception):
    """The data are not fit for training. Each of `problems` is a sentence that names a file."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class UnfitText(Exception):
    """The model's alphabet lacks characters of a text, or the text is empty. The message says which characters."""


@dataclass(frozen=True)
class Example:
    """A recording and its transcript in the alphabet's letters; name is its path in the folder, without extension."""

    name: str
    recording: Path
    text: str


@dataclass(frozen=True)
class Clip:
    """An example as a 16-bit mono WAV file with the model's sample rate."""

    name: str
    wav: Path
    text: str
    seconds: float


def read_examples(folder: Path, alphabet: AbstractSet[str]) -> list[Example]:
    """Find every recording with the text of the same name: `a/b.mp3` with `a/b.txt`. Ignore hidden files.

    Raises:
        DatasetError: there are no recordings; a recording has no text, or a text no recording; a text is not UTF-8,
            or has characters that the alphabet lacks.
    """
    if not folder.is_dir():
        raise DatasetError([f"{folder} is not a folder. Set DATA to the folder with the recordings and their texts"])
    examples, problems = [], []
    for name, files in sorted(_by_name(folder).items()):
        texts = [file for file in files if file.suffix.lower() == ".txt"]
        recordings = [file for file in files if file.suffix.lower() != ".txt"]
        if not texts:
            problems += [
                f"{file}: no text {Path(name).name}.txt beside it. Write one, or move the file away"
                for file in recordings
            ]
        elif len(recordings) != 1 or len(texts) != 1:
            found = ", ".join(file.name for file in recordings) or "none"
            problems.append(f"{texts[0]}: it needs one recording of the same name in its folder. Found: {found}")
        else:
            try:
                examples.append(Example(name, recordings[0], normalise(texts[0].read_text("utf-8-sig"), alphabet)))
            except (UnfitText, UnicodeDecodeError) as unfit:
                problems.append(f"{texts[0]}: {unfit}")
    if problems or not examples:
        raise DatasetError(problems or [f"{folder} contains no recordings with texts"])
    return examples


def read_sentences(path: Path, alphabet: AbstractSet[str]) -> list[str]:
    """Read more sentences for the scorer, one per line. Skip empty lines.

    Raises:
        DatasetError: the file is missing or not UTF-8, or a line has characters that the alphabet lacks.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError([f"TEXT is {path}: {error}"]) from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    problems = [f"{path}, line {number}: {problem}" for number, line in numbered if (problem := _unfit(line, alphabet))]
    if problems:
        raise DatasetError(problems)
    return [normalise(line, alphabet) for _, line in numbered]


def _unfit(text: str, alphabet: AbstractSet[str]) -> str:
    try:
        normalise(text, alphabet)
    except UnfitText as unfit:
        return str(unfit)
    return ""


def _by_name(folder: Path) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):
            files.setdefault(inside.with_suffix("").as_posix(), []).append(path)
    return files


def normalise(text: str, alphabet: AbstractSet[str]) -> str:
    """Convert a text to the model's alphabet: no punctuation, single spaces.

    Changes only characters that the alphabet lacks: capitals become lower-case letters, curly apostrophes become
    straight ones, dashes and slashes become spaces. Digits and signs are an error, because only the author knows
    whether the speaker says "ten" or "one zero" for 10.

    Raises:
        UnfitText: the result has characters that the alphabet lacks, or is empty.
    """
    composed = unicodedata.normalize("NFC", text)
    spelling = {letter: _spelt(letter) for letter in set(composed) - alphabet}
    table = {ord(letter): spelt for letter, spelt in spelling.items() if set(spelt) <= alphabet}
    words = " ".join(composed.translate(table).split())
    foreign = sorted(set(words) - alphabet)
    if foreign:
        raise UnfitText(
            f"the model's alphabet lacks {' '.join(map(repr, foreign))}. Write numbers and signs as words, "
            "in the alphabet's letters"
        )
    if not words:
        raise UnfitText("the text is empty. Write the recording's transcript, or move both files away")
    return words


def _spelt(letter: str) -> str:
    """The usual replacement of a character that the alphabet lacks."""
    if letter in "\u2019\u02bc":
        return "'"
    if letter.isspace() or unicodedata.category(letter) == "Pd" or letter == "/":
        return " "
    if unicodedata.category(letter).startswith("P") and letter not in "%&@#*":
        return ""
    return letter.lower()


def part_of(name: str) -> str:
    """The part of an example: 80% belong to `train`, 10% to `dev` and 10% to `test`.

    The part depends on the name only, so an example stays in its part when the user adds recordings. Thus no later
    model trains on a test example of an earlier model.
    """
    tenth = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return {0: "test", 1: "dev"}.get(tenth, "train")


def split(clips: Iterable[Clip]) -> dict[str, list[Clip]]:
    """Divide the clips into the parts.

    Raises:
        DatasetError: a part has no clips.
    """
    parts: dict[str, list[Clip]] = {part: [] for part in PARTS}
    for clip in clips:
        parts[part_of(clip.name)].append(clip)
    if not all(parts.values()):
        counts = ", ".join(f"{part} {len(clips)}" for part, clips in parts.items())
        raise DatasetError([f"There are too few recordings to split ({counts}). Provide fifty or more"])
    return parts


def decode(examples: Sequence[Example], sample_rate: int, folder: Path) -> list[Clip]:
    """Decode every recording with the worker's decoder, and write it as 16-bit mono WAV into the folder.

    Args:
        sample_rate: the WAV files' sample rate in Hz.

    Raises:
        DatasetError: a recording is not audio, or its length does not fit its text.
    """
    clips, problems = [], []
    for number, example in enumerate(examples):
        try:
            samples = _samples(example.recording, sample_rate)
        except Rejected as rejected:
            problems.append(f"{example.recording}: {rejected.reason}")
            continue
        clip = Clip(example.name, folder / f"{number:06}.wav", example.text, len(samples) / sample_rate)
        problem = unfit_length(clip)
        if problem:
            problems.append(f"{example.recording}: {problem}")
            continue
        write_wav(samples, sample_rate, clip.wav)
        clips.append(clip)
    if problems:
        raise DatasetError(problems)
    return clips


def unfit_length(clip: Clip, step: float = 0.02) -> str:
    """Describe the problem with a clip's length. Empty if there is no problem.

    CTC assigns at most one letter to each window of `step` seconds. It needs an extra window between two equal letters.
    """
    letters = len(clip.text) + sum(a == b for a, b in pairwise(clip.text))
    if clip.seconds < letters * step:
        return f"{clip.seconds:.1f} s are too short for its {len(clip.text)} letters. Is it the right text?"
    if clip.seconds > MAX_SECONDS:
        return (
            f"{clip.seconds:.1f} s are too long. Cut it into pieces of at most {MAX_SECONDS:.0f} s, each with its text"
        )
    return ""


def _samples(recording: Path, sample_rate: int) -> Samples:
    with recording.open("rb") as source:
        return np.concatenate([chunk[:, 0] for chunk in Audio(source, sample_rate).chunks()])


def write_wav(samples: Samples, sample_rate: int, path: Path) -> None:
    """Write samples of shape (n,) as a 16-bit mono WAV file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())


def write_tables(parts: Mapping[str, Iterable[Clip]], folder: Path) -> None:
    """Write `train.csv`, `dev.csv` and `test.csv`, as DeepSpeech's trainers read them."""
    for part, clips in parts.items():
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("wav_filename", "wav_filesize", "transcript"))
            rows.writerows((clip.wav.resolve(), clip.wav.stat().st_size, clip.text) for clip in clips)
