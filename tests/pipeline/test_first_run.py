"""`make airflow` opens with a run to look at, and `make status` shows it in a second terminal."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.airflow_ui import running_airflow, wait_for

PROJECT = Path(__file__).resolve().parents[2]
RECORDINGS = PROJECT / "tests" / "recordings"


def test_a_first_run_transcribes_the_recordings_and_the_status_shows_it(tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    shutil.copy(RECORDINGS / "vm-leavemsg.wav", audio / "a.wav")
    (audio / "broken.mp3").write_bytes(b"no audio")
    with running_airflow("tests-first-run", assembly="build/local", audio=audio) as airflow:
        wait_for(lambda: [key for key in airflow.keys("runs/") if key.endswith("/search.sqlite")])
        done = subprocess.run(
            [sys.executable, "infra/status.py", "--local", airflow.home],
            cwd=PROJECT,
            env={**airflow.variables, "COLUMNS": "200"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "broken.mp3" in done.stdout
        assert "not-audio" in done.stdout
