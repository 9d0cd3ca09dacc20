"""Measures cost and word errors by beam width and by length of pieces: `python -m benchmark.defaults JOB`.

JOB is a JSON object: `engine`, `model`, `scorer` (or null), `beams`, `pieces` (seconds), `quick`. Prints a JSON object
with a row for each beam and each length of pieces. Measures in the given order and prints in ascending order. CPU
seconds are those of this process, which works in one thread.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
import time
from operator import itemgetter
from typing import Any

from benchmark import corpus
from fine_tuning.word_errors import word_error_rate
from transcriber import pieces


def main(job: dict[str, Any]) -> None:
    model = importlib.import_module(job["engine"]).Model(job["model"])
    if job["scorer"]:
        model.enableExternalScorer(job["scorer"])
    known = bool(job["scorer"])  # the model is for the samples' language, so word errors are meaningful
    print(json.dumps({"beams": beams(model, job, known), "pieces": lengths(model, job, known)}))


def beams(model: Any, job: dict[str, Any], known: bool) -> list[dict[str, Any]]:
    conditions = dict(corpus.worse_recordings()) if known else {"as they are": corpus.originals()[:4]}
    if job["quick"]:
        conditions = {name: clips[::4] for name, clips in conditions.items()}
    rows = []
    texts: dict[int, list[str]] = {}
    for beam in job["beams"]:
        model.setBeamWidth(beam)
        seconds = spent = 0.0
        errors = {}
        texts[beam] = []
        for name, clips in conditions.items():
            started = time.process_time()
            transcripts = [model.stt(clip.samples) for clip in clips]
            spent += time.process_time() - started
            seconds += sum(clip.seconds for clip in clips)
            errors[name] = word_error_rate((clip.text, text) for clip, text in zip(clips, transcripts, strict=True))
            texts[beam] += transcripts
        rows.append({"beam": beam, "rtf": spent / seconds, "errors": errors if known else {}})
    widest = texts[500]
    for row in rows:
        row["same"] = sum(a == b for a, b in zip(texts[row["beam"]], widest, strict=True)) / len(widest)
    return sorted(rows, key=itemgetter("beam"))


def lengths(model: Any, job: dict[str, Any], known: bool) -> list[dict[str, Any]]:
    if not job["pieces"]:
        return []
    model.setBeamWidth(500)
    clip = corpus.long_clip(3 if known and not job["quick"] else 1)
    clips = {"as it is": clip.samples}
    if known:
        clips["telephone line"] = corpus.resampled(corpus.resampled(clip.samples, 16_000, 8000), 8000, 16_000)
    rows = []
    for length in job["pieces"]:
        pieces.MAX_SECONDS, pieces.MIN_SECONDS = float(length), length / 3
        row: dict[str, Any] = {"seconds": length, "errors": {}}
        spent = 0.0
        for name, samples in clips.items():
            chunks = (samples[at : at + corpus.RATE, None] for at in range(0, len(samples), corpus.RATE))
            cut = list(itertools.chain.from_iterable(pieces.cut(chunks, corpus.RATE)))
            started = time.process_time()
            transcript = " ".join(filter(None, (model.stt(piece.samples) for piece in cut)))
            spent += time.process_time() - started
            if known:
                row["errors"][name] = word_error_rate([(clip.text, transcript)])
        row["rtf"] = spent / (len(clips) * clip.seconds)
        rows.append(row)
    return sorted(rows, key=itemgetter("seconds"))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
