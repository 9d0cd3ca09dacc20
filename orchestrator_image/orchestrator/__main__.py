"""The container's first process: starts the run as a child process, and ends with its result.

python -m orchestrator TIME CONF   see `run.main`

It is apart from the run because Airflow's tasks set signal handlers of their own: SIGTERM would be ignored during
`wait`, and would stop the Batch job during `submit`. This process kills the run at SIGTERM, and leaves the job alone.
The next start goes on with both.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.exit_codes import ExitCode, container_code

EMPTY_DATABASE_VARIABLE = "EMPTY_DATABASE"


class _Stopped(BaseException):
    """SIGTERM came."""


def _stop(*_: object) -> None:
    raise _Stopped


def airflow_variables(home: Path) -> dict[str, str]:
    """Environment variables that give Airflow this home folder."""
    return {"AIRFLOW_HOME": str(home), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}"}


def prepare(home: Path, variables: Mapping[str, str]) -> None:
    """Make Airflow's database: a copy of the image's empty one, or a new one, which takes longer.

    Raises:
        subprocess.CalledProcessError: Airflow could not make it. Its output is on stderr.
    """
    home.mkdir(parents=True)
    empty = Path(variables.get(EMPTY_DATABASE_VARIABLE) or os.devnull)
    if empty.is_file():
        shutil.copyfile(empty, home / "airflow.db")
        return
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=dict(variables), stdout=subprocess.DEVNULL, check=True)


def main() -> int:
    """Run to the end. Return the container's exit code."""
    signal.signal(signal.SIGTERM, _stop)
    child = None
    try:
        home = Path(tempfile.gettempdir()) / "airflow"
        variables = {**os.environ, **airflow_variables(home)}
        prepare(home, variables)
        child = subprocess.Popen([sys.executable, "-m", "orchestrator.run", *sys.argv[1:]], env=variables)
        return container_code(child.wait())
    except _Stopped:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if child is not None:
            child.kill()
            child.wait()
        print("Stopped by SIGTERM. The Batch job of the run goes on; the next start goes on with the run.", flush=True)
        return ExitCode.STOPPED


if __name__ == "__main__":
    sys.exit(main())
