"""The command of `make fine-tune`, up to the start of the training."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
MODELS = PROJECT / "worker_image/models/asterisk-en"


def fine_tune(data: Path, out: Path, *options: str) -> str:
    """Run the command, which must fail. Return its stderr."""
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


def test_a_text_with_unknown_characters_stops_the_command_before_it_writes_anything(data: Path, tmp_path: Path) -> None:
    (data / "a.txt").write_text("press 0")
    error = fine_tune(data, tmp_path / "out")
    assert error == (
        f"{data}/a.txt: the model's alphabet lacks '0'. Write numbers and signs as words, in the alphabet's letters\n"
        "Nothing was trained.\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "reason"),
    [("asterisk-en.tflite", "Give the .pbmm or .pb"), ("asterisk-en.scorer", "is a scorer"), ("none", "no such file")],
)
def test_a_model_that_cannot_be_trained_further_is_rejected(
    data: Path, tmp_path: Path, model: str, reason: str
) -> None:
    error = fine_tune(data, tmp_path / "out", "--model", str(MODELS / model))
    assert model in error
    assert reason in error


def test_the_output_folder_and_the_data_folder_may_not_contain_each_other(data: Path) -> None:
    for out in (data, data / "out", data.parent):
        assert "neither is in the other" in fine_tune(data, out)
    assert sorted(path.name for path in data.iterdir()) == ["a.txt", "a.wav"]
