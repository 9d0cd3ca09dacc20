"""Fine-tunes a model on a folder of recordings with their texts: `make fine-tune DATA=folder OUT=folder`.

Writes `model.tflite`, `model.pb`, `model.scorer` and `report.json` into OUT after all of them are complete.
Intermediate files are in OUT/training. `DATA=s3://bucket/` takes what was corrected on the Transcripts page, and
keeps it in OUT/corrected.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from transcriber.failures import ConfigError
from transcriber.model_file import alphabet_of, model_kind, sha256
from transcription_contract.model_files import ModelKind

from . import corrected, dataset, evaluation, scorer, training

PROJECT = Path(__file__).parents[1]
DEMO_MODEL = PROJECT / "worker_image/models/asterisk-en/asterisk-en.pbmm"
TRAINER = PROJECT / ".venv/fine-tuning/bin/python"
KENLM = PROJECT / ".venv/kenlm/build/bin"


def fine_tune(given: argparse.Namespace) -> None:
    """Check the data, train the model, build the scorer, measure word errors and write the results.

    Raises:
        ConfigError, DatasetError, TrainingError, ScorerError: only OUT/training has changed.
    """
    alphabet = _alphabet(given.model)
    data = _corrected(given) if given.data.startswith("s3://") else _folder(given)
    examples = dataset.read_examples(data, alphabet)
    more_text = dataset.read_sentences(given.text, alphabet) if given.text else []
    say(f"{len(examples)} recordings with texts in {data}")

    scratch = _emptied(given.out / "training")
    trainer = training.Trainer(TRAINER, scratch)
    facts = trainer.start_from(given.model)
    clips = dataset.decode(examples, facts.sample_rate, _emptied(scratch / "wav"))
    parts = dataset.split(clips)
    dataset.write_tables(parts, scratch)
    say(", ".join(f"{_minutes(parts[part])} to {purpose}" for part, purpose in PURPOSES.items()))

    for line in trainer.train(facts, training.Training(given.epochs, given.learning_rate, given.batch_size)):
        say(line)
    tflite, graph = trainer.export(facts)

    package = scratch / "model.scorer"
    sentences = [clip.text for clip in (*parts["train"], *parts["dev"])] + more_text
    scorer.build_scorer(sentences, facts.alphabet, KENLM, scratch, package)

    errors = _word_errors(given.model, tflite, package, parts["test"])
    for path, name in ((tflite, "model.tflite"), (graph, "model.pb"), (package, "model.scorer")):
        path.replace(given.out / name)
    report = _report(given, parts, errors, sentences)
    (given.out / "report.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    print(f"\nWord error rate on the {len(parts['test'])} test recordings:")
    for name, rate in errors.items():
        print(f"  {rate:6.1%}  {name}")
    print(
        f"\nThe results are in {given.out}: model.tflite and model.scorer for the pipeline, model.pb to train further."
    )


def _corrected(given: argparse.Namespace) -> Path:
    """Fetch the corrected recordings of a bucket into OUT/corrected."""
    folder = _emptied(given.out / "corrected")
    for sentence in corrected.fetch(boto3.client("s3"), given.data, folder):
        say(f"Left out: {sentence}")
    return folder


PURPOSES = {"train": "train", "dev": "decide when to stop", "test": "test"}


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def _alphabet(model: Path) -> frozenset[str]:
    if not model.is_file():
        raise ConfigError(f"MODEL is {model}: no such file")
    if model_kind(model) is ModelKind.TFLITE:
        raise ConfigError(f"MODEL is {model}. Training cannot start from a .tflite. Give the .pbmm or .pb of the model")
    alphabet = alphabet_of(model)
    if not alphabet:
        raise ConfigError(
            f"MODEL is {model}: cannot read its alphabet. Give a model with an alphabet of letters, not bytes"
        )
    return alphabet


def _folder(given: argparse.Namespace) -> Path:
    """The user's folder of recordings, which must be apart from the results."""
    data, out = Path(given.data).resolve(), given.out.resolve()
    if data == out or data in out.parents or out in data.parents:
        raise ConfigError(f"DATA is {data} and OUT is {out}. Choose two folders so that neither is in the other")
    return Path(given.data)


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _minutes(clips: Sequence[dataset.Clip]) -> str:
    return f"{len(clips)} ({sum(clip.seconds for clip in clips) / 60:.1f} min)"


def _word_errors(base: Path, tuned: Path, package: Path, clips: Sequence[dataset.Clip]) -> dict[str, float]:
    return {
        f"{name}, {'the new scorer' if scored else 'no scorer'}": evaluation.evaluate(
            model, package if scored else None, clips
        ).word_error_rate
        for name, model in ((base.name, base), ("model.tflite", tuned))
        for scored in (None, package)
    }


def _report(
    given: argparse.Namespace,
    parts: Mapping[str, Sequence[dataset.Clip]],
    errors: Mapping[str, float],
    sentences: Sequence[str],
) -> dict[str, Any]:
    """The content of report.json: the model's origin, its training and its word error rates."""
    known = {word for sentence in sentences for word in sentence.split()}
    return {
        "started_from": {"file": given.model.name, "sha256": sha256(given.model)},
        "training": {name: getattr(given, name) for name in ("epochs", "learning_rate", "batch_size")},
        "recordings": {part: [clip.name for clip in clips] for part, clips in parts.items()},
        "minutes": {part: round(sum(clip.seconds for clip in clips) / 60, 2) for part, clips in parts.items()},
        "word_error_rate": {name: round(rate, 4) for name, rate in errors.items()},
        "words_of_the_test_that_the_scorer_lacks": sorted(
            {word for clip in parts["test"] for word in clip.text.split()} - known
        ),
        "sha256": {name: sha256(given.out / name) for name in ("model.tflite", "model.pb", "model.scorer")},
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fine-tune", description=__doc__)
    parser.add_argument(
        "data", help="folder of recordings, each with a .txt of the same name; or s3://bucket/ for the corrected ones"
    )
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--model", type=Path, default=DEMO_MODEL, help="the .pbmm or .pb to start from")
    parser.add_argument("--text", type=Path, help="file with more sentences for the scorer, one per line")
    parser.add_argument("--epochs", type=int, default=30, help="maximum number of epochs")
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--batch-size", type=int, default=8)
    return parser.parse_args()


def _main() -> int:
    try:
        fine_tune(_arguments())
    except dataset.DatasetError as error:
        print("\n".join(error.problems), file=sys.stderr)
        print("Nothing was trained.", file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(f"AWS refuses to give the corrected recordings: {error}", file=sys.stderr)
        return 1
    except (ConfigError, scorer.ScorerError, training.TrainingError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
