"""Compares the batched engine's transcripts with libdeepspeech's: `python -m benchmark.identity [--recordings N]`.

Both engines get the same pieces, as the worker gives them. A recognition is the same if all words and all times are.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from benchmark import document, ways
from benchmark.document import RESULTS, table, write
from benchmark.identity_corpus import SOUNDS, Recording, recordings
from benchmark.ways import Model
from transcriber.engine_programs import PROGRAMS, EngineProcess, EngineSpec, engine_programs
from transcriber.recognition import Reading, Recognition
from transcription_contract.words import joined

READINGS = 20  # as for the JSON
LIMIT_SECONDS = 3600.0
BATCHED = "deepspeech-batched"


@dataclass(frozen=True)
class Comparison:
    """A model and scorer, and the share of the recordings that both engines get."""

    name: str
    library: str
    """The engine with libdeepspeech."""
    model: Model
    one_in: int


@dataclass(frozen=True)
class Difference:
    """A recording that both engines do not recognise alike."""

    recording: str
    condition: str
    library: str
    batched: str
    cause: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recordings", type=int, default=1080)
    parser.add_argument("--sounds", type=Path, default=SOUNDS, help="folder of Asterisk's sounds")
    parser.add_argument("--continue", action="store_true", dest="go_on", help="keep the comparisons that are done")
    given = parser.parse_args()
    chosen = list(recordings(given.recordings, given.sounds))
    known = RESULTS / "identity.json"
    found: dict[str, Any] = json.loads(known.read_text()) if given.go_on and known.exists() else {}
    for comparison in comparisons():
        if comparison.name not in found:
            found[comparison.name] = compared(comparison, chosen[:: comparison.one_in])
            report(found)


def comparisons() -> Iterator[Comparison]:
    """The cheapest one gets all recordings, and the others so many that each takes a few minutes."""
    scorer = ways.SMALL / "asterisk-en.scorer"
    large, full_size, full_size_pbmm = ways.full_size_scorer(), ways.FULL_SIZE, ways.full_size_pbmm().path
    small, small_pbmm = (ways.SMALL / f"asterisk-en.{kind}" for kind in ("tflite", "pbmm"))
    tflite, tensorflow = "deepspeech-tflite", "deepspeech"
    yield Comparison("256 units, `.tflite`, scorer", tflite, Model(small, scorer), 1)
    yield Comparison("2,048 units, `.tflite`, large scorer", tflite, Model(full_size, large), 8)
    yield Comparison("256 units, `.pbmm`, scorer", tensorflow, Model(small_pbmm, scorer), 8)
    yield Comparison("256 units, `.tflite`", tflite, Model(small), 8)
    yield Comparison("2,048 units, `.pbmm`, large scorer", tensorflow, Model(full_size_pbmm, large), 24)
    yield Comparison("2,048 units, `.tflite`", tflite, Model(full_size), 16)
    yield Comparison("256 units, `.pbmm`", tensorflow, Model(small_pbmm), 16)
    yield Comparison("2,048 units, `.pbmm`", tensorflow, Model(full_size_pbmm), 32)


def compared(comparison: Comparison, chosen: Sequence[Recording]) -> dict[str, Any]:
    """Compare both engines on the recordings."""
    with ThreadPoolExecutor() as threads:
        library, batched = threads.map(recognised, (comparison.library, BATCHED), [comparison.model] * 2, [chosen] * 2)
    pairs = list(zip(chosen, library, batched, strict=True))
    different = [difference(*pair) for pair in pairs if words(pair[1]) != words(pair[2])]
    letters = sum(len(text(one)) for one in library)
    found = {
        "recordings": len(chosen),
        "conditions": Counter(one.condition for one in chosen),
        "seconds": sum(len(one.samples) for one in chosen) / 16_000,
        "same": len(chosen) - len(different),
        "same_text": sum(text(one) == text(other) for one, other in zip(library, batched, strict=True)),
        "same_alternatives": sum(
            [reading.text for reading in readings(one)] == [reading.text for reading in readings(other)]
            for one, other in zip(library, batched, strict=True)
        ),
        "with_words": sum(bool(one.words) for one in library),
        "letters": letters,
        "different_letters": sum(edits(text(one), text(other)) for one, other in zip(library, batched, strict=True)),
        "score": max(abs(score(one) - score(other)) for one, other in zip(library, batched, strict=True)),
        "differences": [vars(one) for one in different],
    }
    print(comparison.name, {key: value for key, value in found.items() if key != "conditions"}, flush=True)
    return found


def recognised(engine: str, model: Model, chosen: Sequence[Recording]) -> list[Recognition]:
    """What an engine recognises in the recordings."""
    program = next(program for program in engine_programs(PROGRAMS) if program.name == engine)
    process = EngineProcess(EngineSpec(program, model.path, model.scorer, {"alternatives": 5}, READINGS))
    try:
        at_once = process.prepared().pieces
        found: list[Recognition] = []
        for start in range(0, len(chosen), at_once):
            samples = [one.samples for one in chosen[start : start + at_once]]
            found += process.recognise(samples, LIMIT_SECONDS)
        return found
    finally:
        process.stop()


def words(recognition: Recognition) -> list[tuple[str, float, float]]:
    return [(word.text, word.start, word.end) for word in recognition.words]


def text(recognition: Recognition) -> str:
    return joined(recognition.words)


def readings(recognition: Recognition) -> list[Reading]:
    return [reading for segment in recognition.segments for reading in segment.alternatives]


def score(recognition: Recognition) -> float:
    return sum(segment.score for segment in recognition.segments)


def edits(first: str, second: str) -> int:
    """How many letters are replaced, missing or added."""
    changes = SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    return sum(max(end - start, to - since) for kind, start, end, since, to in changes if kind != "equal")


def difference(recording: Recording, library: Recognition, batched: Recognition) -> Difference:
    """Describe a difference. The gap between the best two readings shows whether a rounding can decide it."""
    if text(library) == text(batched):
        return Difference(recording.name, recording.condition, text(library), "the same", "the time of a letter")
    rival = next((one for one in readings(library) if one.text == text(batched)), None)
    if rival is None:
        cause = "unknown"
    else:
        cause = f"the library's score of this text is {score(library) - rival.score:.1g} lower than that of its own"
    return Difference(recording.name, recording.condition, text(library), text(batched), cause)


def report(found: dict[str, Any]) -> None:
    """Write the tables into docs/batched-engine.md."""
    head = ["model", "recordings", "with words", "same words and times", "same text", "same five alternatives"]
    head += ["different letters", "largest difference of scores"]
    rows = [
        (
            name, one["recordings"], one["with_words"], f"{one['same'] / one['recordings']:.2%}",
            f"{one['same_text'] / one['recordings']:.2%}", f"{one['same_alternatives'] / one['recordings']:.2%}",
            f"{one['different_letters'] / max(1, one['letters']):.4%}", f"{one['score']:.1g}",
        )
        for name, one in found.items()
    ]  # fmt: skip
    body = f"{datetime.date.today()}.\n\n" + table(head, rows)
    listed = [
        (name, one["recording"], one["condition"], one["library"], one["batched"], one["cause"])
        for name, all_of_it in found.items()
        for one in all_of_it["differences"]
    ]
    if listed:
        head = ["model", "recording", "condition", "libdeepspeech", "batched", "cause"]
        body += "\nEvery difference:\n\n" + table(head, listed)
    write("identity", body, found, document.BATCHED)


if __name__ == "__main__":
    main()
