"""From its first instant a worker ends with the right exit code, and writes nothing but events."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.worker.harness import SOURCES, Bucket

# Sends SIGTERM while Python imports the worker's libraries.
AT_AN_IMPORT = """
import os, signal, sys
class Stop:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "boto3":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Stop)
"""
# Sends SIGTERM before Python starts, in a process that the image's entry point would have started.
BEFORE_PYTHON = """exec env --block-signal=TERM sh -c 'kill -TERM $$; exec "$0" -m transcriber' "$0";"""


@pytest.mark.parametrize("moment", ["before Python starts", "at an import"])
def test_a_worker_that_is_stopped_at_its_start_ends_for_a_retry(moment: str, bucket: Bucket, tmp_path: Path) -> None:
    bucket.plan(bucket.put("call.wav"))
    if moment == "at an import":
        (tmp_path / "sitecustomize.py").write_text(AT_AN_IMPORT)
        run = bucket.run(PYTHONPATH=f"{tmp_path}:{SOURCES}")
    else:
        run = bucket.run(BEFORE_PYTHON)
    assert run.code == 75, run
    assert [event["event"] for event in run.events] == ["stopped"]
    assert run.reason() == "SIGTERM: the container must stop"
    assert bucket.listing() == ["input/call.wav"]


@pytest.mark.parametrize(
    ("model", "engine"), [("asterisk-en", "deepspeech-tflite"), ("asterisk-en-pbmm", "deepspeech")]
)
def test_what_libraries_write_to_stderr_becomes_events(model: str, engine: str, bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav"))
    bucket.set_options(engine=engine)
    run = bucket.run("exec 2>&1;", MODEL=model)  # one pipe for both streams
    assert run.code == 0, run
    assert {event["event"] for event in run.events} == {"started", "stderr", "file", "done"}
    lines = [event["line"] for event in run.events if event["event"] == "stderr"]
    assert [line for line in lines if line.startswith("DeepSpeech: ")]
    assert not [line for line in lines if "boto3" in line.lower()]


def test_what_a_library_writes_last_before_the_worker_ends_is_an_event(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nfrom transcriber import storage\n"
        "def failing(*_, **__):\n    os.write(2, b'no line end')\n    raise KeyError('library')\n"
        "storage.boto3.client = failing\n"
    )
    run = bucket.run(PYTHONPATH=f"{tmp_path}:{SOURCES}")
    assert run.code == 1
    assert {event.get("line") for event in run.events} == {None, "no line end"}
    assert run.reason() == "KeyError('library')"
    assert "in failing" in next(event["traceback"] for event in run.events if event["event"] == "stopped")


def test_a_worker_without_a_scratch_folder_says_what_to_do(bucket: Bucket, tmp_path: Path) -> None:
    bucket.plan(bucket.put("call.wav"))
    run = bucket.run(TMPDIR=str(tmp_path / "missing"))
    assert run.code == 78, run
    assert run.reason() == (
        f"The scratch folder {tmp_path}/missing cannot be written (No such file or directory). "
        f"Mount a volume there that the user {os.geteuid()} may write, or set TMPDIR to another folder"
    )
