"""Airflow's commands without the start of Airflow, which takes most of a short command's time.

A process imports Airflow and makes its internal API once (`warm_up`). Each command is a fork of this process, with
variables of its own. Nothing of the project is imported before the fork.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

import pytest

PROCESSES = multiprocessing.get_context("forkserver")


def start() -> None:
    """Start the process that imports Airflow. Its home and folders are those of the tests."""
    PROCESSES.set_forkserver_preload(["tests.pipeline.warm_up"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Python 3.12.1 does not pass sys.path to it
        forkserver.ensure_running()


def _run(arguments: Sequence[str], variables: Mapping[str, str], outputs: Sequence[str]) -> None:
    """Become an Airflow command that prints to these files."""
    from airflow.__main__ import main

    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["airflow", *arguments]
    main()


def run(arguments: Sequence[str], variables: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an Airflow command with these variables. Its output goes through files in the folder, which is empty."""
    outputs = [folder / "stdout", folder / "stderr"]
    process = PROCESSES.Process(target=_run, args=(arguments, dict(variables), [str(path) for path in outputs]))
    process.start()
    process.join()
    assert process.exitcode is not None
    stdout, stderr = (path.read_text("utf-8") for path in outputs)
    return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)
