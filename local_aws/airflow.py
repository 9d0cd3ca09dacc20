"""The local Airflow: the same DAG, plugins and configuration options that the MWAA environment has."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from local_aws.containers import PROJECT
from local_aws.deployment import Stack
from local_aws.server import LocalAws


def environment(aws: LocalAws, stack: Stack, home: Path) -> dict[str, str]:
    """Variables for Airflow's commands.

    MWAA passes its configuration options the same way: `transcription.bucket` as
    AIRFLOW__TRANSCRIPTION__BUCKET.
    """
    options = {
        f"AIRFLOW__{option.replace('.', '__').upper()}": str(value) for option, value in stack.airflow_options.items()
    }
    return {
        **os.environ,
        **aws.environment,
        **options,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "AIRFLOW__TRANSCRIPTION__POLL_SECONDS": "1",
        **home_variables(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONWARNINGS": "ignore",
    }


def home_variables(home: Path) -> dict[str, str]:
    """Variables for a home, and so a database, of its own."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
    }


def migrate(variables: Mapping[str, str]) -> None:
    """Make Airflow's database, if this version of Airflow has not done so yet.

    Raises:
        subprocess.CalledProcessError: Airflow could not; its output is printed.
    """
    home = Path(variables["AIRFLOW_HOME"])
    made = home / f"migrated-{version('apache-airflow')}"
    if made.exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    run(["db", "migrate"], variables)
    made.touch()


def run(arguments: list[str], variables: Mapping[str, str]) -> None:
    """Run an Airflow command to its end; its output is shown only if it fails."""
    done = subprocess.run(command(arguments), env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        done.check_returncode()


def command(arguments: list[str]) -> list[str]:
    """The command line of an Airflow command."""
    return [sys.executable, "-m", "airflow", *arguments]
