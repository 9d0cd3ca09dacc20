"""Measures cost and word errors by beam width and by length of pieces: `python -m benchmark.defaults JOB`.

JOB is a JSON object: `python` (an engine's interpreter), `model`, `scorer` (or null), `beams`, `pieces` (seconds),
`quick`. Prints a JSON object with a row for each beam and each length of pieces. Measures in the given order and prints
in ascending order. CPU seconds are those of the engine's process, which works in one thread.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any

from benchmark import corpus
from fine_tuning.word_errors import word_error_rate
from transcriber import pieces
from transcriber.engine_programs import PROGRAMS, EngineProcess, EngineProgram, EngineSpec
from transcriber.samples import PieceSeconds, Samples
from transcription_contract.speech_engines import SpeechEngine
from transcription_contract.words import joined

LIMIT_SECONDS = 3600.0  # for a piece
ENGINE = SpeechEngine(name="measured", models=frozenset(), options=frozenset())


def main(job: dict[str, Any]) -> None:
    known = bool(job["scorer"])  # the model is for the samples' language, so word errors are meaningful
    print(json.dumps({"beams": beams(job, known), "pieces": lengths(job, known)}))


@contextmanager
def engine(job: dict[str, Any], beam: int) -> Iterator[EngineProcess]:
    """DeepSpeech with this beam width, in the job's environment."""
    program = EngineProgram(ENGINE, PROGRAMS / "deepspeech" / "program.py", Path(job["python"]))
    scorer = Path(job["scorer"]) if job["scorer"] else None
    process = EngineProcess(EngineSpec(program, Path(job["model"]), scorer, {"beam_width": beam}, readings=1))
    try:
        process.prepared()
        yield process
    finally:
        process.stop()


def transcribed(process: EngineProcess, samples: Sequence[Samples]) -> tuple[list[str], float]:
    """The text of each piece, and the CPU seconds for all."""
    found = [process.recognise([piece], LIMIT_SECONDS)[0] for piece in samples]
    texts = [joined(recognition.words) for recognition in found]
    return texts, sum(recognition.compute_seconds for recognition in found)


def beams(job: dict[str, Any], known: bool) -> list[dict[str, Any]]:
    conditions = dict(corpus.worse_recordings()) if known else {"as they are": corpus.originals()[:4]}
    if job["quick"]:
        conditions = {name: clips[::4] for name, clips in conditions.items()}
    rows = []
    texts: dict[int, list[str]] = {}
    for beam in job["beams"]:
        seconds = spent = 0.0
        errors = {}
        texts[beam] = []
        with engine(job, beam) as process:
            for name, clips in conditions.items():
                transcripts, cost = transcribed(process, [clip.samples for clip in clips])
                spent += cost
                seconds += sum(clip.seconds for clip in clips)
                errors[name] = word_error_rate((clip.text, text) for clip, text in zip(clips, transcripts, strict=True))
                texts[beam] += transcripts
        rows.append({"beam": beam, "rtf": spent / seconds, "errors": errors if known else {}})
    widest = texts[500]
    for row in rows:
        row["same"] = sum(a == b for a, b in zip(texts[row["beam"]], widest, strict=True)) / len(widest)
    return sorted(rows, key=itemgetter("beam"))


def lengths(job: dict[str, Any], known: bool) -> list[dict[str, Any]]:
    if not job["pieces"]:
        return []
    clip = corpus.long_clip(3 if known and not job["quick"] else 1)
    clips = {"as it is": clip.samples}
    if known:
        clips["telephone line"] = corpus.resampled(corpus.resampled(clip.samples, 16_000, 8000), 8000, 16_000)
    rows = []
    with engine(job, 500) as process:
        for length in job["pieces"]:
            row: dict[str, Any] = {"seconds": length, "errors": {}}
            spent = 0.0
            for name, samples in clips.items():
                chunks = (samples[at : at + corpus.RATE, None] for at in range(0, len(samples), corpus.RATE))
                cut = itertools.chain.from_iterable(pieces.cut(chunks, corpus.RATE, PieceSeconds(length / 3, length)))
                texts, cost = transcribed(process, [piece.samples for piece in cut])
                spent += cost
                if known:
                    row["errors"][name] = word_error_rate([(clip.text, " ".join(filter(None, texts)))])
            row["rtf"] = spent / (len(clips) * clip.seconds)
            rows.append(row)
    return sorted(rows, key=itemgetter("seconds"))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
