"""`make fine-tune`'s command, up to where the training would start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
MODELS = PROJECT / "worker_image/models/asterisk-en"


def fine_tune(data: Path, out: Path, *options: str) -> str:
    """Run it to its error, and return that."""
    command = [sys.executable, "-m", "fine_tuning", str(data), str(out), *options]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done
    return done.stderr


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(PROJECT / "tests/recordings/dictate__forhelp.wav", folder / "a.wav")
    (folder / "a.txt").write_text("press zero for help")
    return folder


def test_a_text_that_does_not_fit_stops_it_before_anything_is_made(data: Path, tmp_path: Path) -> None:
    (data / "a.txt").write_text("press 0")
    error = fine_tune(data, tmp_path / "out")
    assert error == (
        f"{data}/a.txt: the model's alphabet lacks '0'. Write it as it is said, in the alphabet's letters: "
        "numbers and signs as words\nNothing was trained.\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "reason"),
    [("asterisk-en.tflite", "Give the .pbmm or .pb"), ("asterisk-en.scorer", "is a scorer"), ("none", "no such file")],
)
def test_a_model_that_cannot_be_trained_further_is_refused(data: Path, tmp_path: Path, model: str, reason: str) -> None:
    error = fine_tune(data, tmp_path / "out", "--model", str(MODELS / model))
    assert model in error
    assert reason in error


def test_what_is_made_never_lies_among_the_recordings(data: Path) -> None:
    for out in (data, data / "out", data.parent):
        assert "neither is in the other" in fine_tune(data, out)
    assert sorted(path.name for path in data.iterdir()) == ["a.txt", "a.wav"]
