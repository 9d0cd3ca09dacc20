"""Runs the trainer of Coqui STT, DeepSpeech's successor, in a separate Python environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKPOINT = Path(__file__).with_name("checkpoint.py")
_EPOCH = re.compile(r"Finished (training|validating) epoch (\d+).*loss: ([\d.naif]+)")


class TrainingError(Exception):
    """The trainer failed. The message has the last lines of its output and the path of its log."""


@dataclass(frozen=True)
class Facts:
    """The properties of the start model that the trainer needs."""

    alphabet: list[str]  # in the order of the labels
    n_hidden: int
    sample_rate: int  # Hz
    feature_win_len: int  # ms
    feature_win_step: int  # ms
    beam_width: int
    language: str

    def flags(self) -> list[str]:
        names = ("n_hidden", "feature_win_len", "feature_win_step")
        flags = [word for name in names for word in (f"--{name}", str(getattr(self, name)))]
        return [*flags, "--audio_sample_rate", str(self.sample_rate)]


@dataclass(frozen=True)
class Training:
    epochs: int
    learning_rate: float
    batch_size: int


class Trainer:
    """The trainer and its folder, which has `checkpoint/`, the tables of clips and the log.

    Args:
        python: the interpreter of the environment with coqui-stt-training.
        folder: the trainer's folder.
    """

    def __init__(self, python: Path, folder: Path) -> None:
        self._python = python
        self._folder = folder
        self._checkpoint = folder / "checkpoint"
        self._log = folder / "log.txt"

    def start_from(self, model: Path) -> Facts:
        """Convert a `.pbmm` or `.pb` to the initial checkpoint.

        Raises:
            TrainingError: the model cannot be converted.
        """
        self._checkpoint.mkdir()
        for _ in self._run(str(CHECKPOINT), str(model), str(self._checkpoint)):
            pass
        return Facts(**json.loads((self._checkpoint / "model.json").read_text("utf-8")))

    def train(self, facts: Facts, training: Training) -> Iterator[str]:
        """Train until the loss on dev.csv stops falling. Yield a progress line for each epoch.

        Raises:
            TrainingError: the trainer failed.
        """
        flags = {
            "train_files": self._folder / "train.csv",
            "dev_files": self._folder / "dev.csv",
            "train_batch_size": training.batch_size,
            "dev_batch_size": training.batch_size,
            "epochs": training.epochs,
            "learning_rate": training.learning_rate,
            "dropout_rate": 0.1,
            "early_stop": "true",
            "es_epochs": 5,
            "reduce_lr_on_plateau": "true",
            "plateau_epochs": 2,
            "plateau_reduction": 0.5,
            "skip_batch_test": "true",
            "show_progressbar": "false",
        }
        trained = ""
        for line in self._coqui("train", facts, flags):
            found = _EPOCH.search(line)
            if found and found[1] == "training":
                trained = found[3]
            elif found:
                yield f"epoch {int(found[2]) + 1}: loss {trained}, on dev recordings {found[3]}"
            elif line.startswith("E "):
                yield line[2:]

    def export(self, facts: Facts) -> tuple[Path, Path]:
        """Write the best checkpoint as a quantised `.tflite` and as a `.pb` in full precision. Return both paths.

        Raises:
            TrainingError: the export failed.
        """
        folder = self._folder / "export"
        flags = {
            "export_dir": folder,
            "export_file_name": "model",
            "export_beam_width": facts.beam_width,
            "export_language": facts.language,
        }
        for form in ({"export_tflite": "true", "export_quantize": "true"}, {"export_tflite": "false"}):
            for _ in self._coqui("export", facts, {**flags, **form}):
                pass
        return folder / "model.tflite", folder / "model.pb"

    def _coqui(self, module: str, facts: Facts, flags: dict[str, object]) -> Iterator[str]:
        given = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        given += ["--checkpoint_dir", str(self._checkpoint)]
        given += ["--alphabet_config_path", str(self._checkpoint / "alphabet.txt")]
        yield from self._run("-m", f"coqui_stt_training.{module}", *facts.flags(), *given)

    def _run(self, *arguments: str) -> Iterator[str]:
        """Run Python in the trainer's environment. Yield its output line by line.

        Raises:
            TrainingError: the exit code is not 0.
        """
        variables = {
            **os.environ,
            "PATH": f"{self._python.parent}:{os.environ['PATH']}",  # TensorFlow's converter is a program in this folder
            "PYTHONPATH": "",
            "PYTHONUNBUFFERED": "1",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        last: deque[str] = deque(maxlen=5)
        command = [str(self._python), "-W", "ignore", *arguments]
        process = subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        with process, self._log.open("a", buffering=1, encoding="utf-8") as log:
            for line in process.stdout or ():
                log.write(line)
                if line.strip():
                    last.append(line.rstrip())
                yield line.rstrip()
        if process.returncode:
            raise TrainingError(f"The trainer failed. The full log is {self._log}. Last lines:\n" + "\n".join(last))
