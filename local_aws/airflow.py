"""The local Airflow: it has the same DAG, plugins and configuration options as the MWAA environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from local_aws.containers import EMPTY_DATABASE, PROJECT
from local_aws.deployment import Stack
from local_aws.server import LocalAws


def environment(aws: LocalAws, stack: Stack, home: Path) -> dict[str, str]:
    """Environment variables for Airflow's commands, which have only the rights of the environment's execution role.

    MWAA also passes its configuration options as variables: `transcription.bucket` is AIRFLOW__TRANSCRIPTION__BUCKET.
    """
    return {
        **os.environ,
        **aws.environment_of(stack.airflow_role),
        **option_variables(stack.airflow_options),
        "AIRFLOW__TRANSCRIPTION__POLL_SECONDS": "1",
        **folder_variables(home),
    }


def option_variables(options: Mapping[str, str]) -> dict[str, str]:
    """Environment variables for options of Airflow's configuration, such as `transcription.bucket`."""
    return {f"AIRFLOW__{option.replace('.', '__').upper()}": str(value) for option, value in options.items()}


def folder_variables(home: Path) -> dict[str, str]:
    """Environment variables that make Airflow run this project's DAG, with this home folder."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        **home_variables(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONWARNINGS": "ignore",
    }


def home_variables(home: Path) -> dict[str, str]:
    """Environment variables that select Airflow's home folder and the database in it."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
    }


def migrate(variables: Mapping[str, str]) -> None:
    """Create or update Airflow's database, once for each version of Airflow.

    Raises:
        subprocess.CalledProcessError: the command failed. Its output is on stderr.
    """
    home = Path(variables["AIRFLOW_HOME"])
    made = home / f"migrated-{version('apache-airflow')}"
    if made.exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    run(["db", "migrate"], variables)
    made.touch()


def migrate_empty() -> None:
    """Create the empty database that the orchestrator's image has, so that its processes start sooner."""
    migrate({**os.environ, **home_variables(EMPTY_DATABASE.parent)})


def run(arguments: list[str], variables: Mapping[str, str]) -> None:
    """Run an Airflow command and wait for its end. Print its output only if it fails.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    done = subprocess.run(command(arguments), env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        done.check_returncode()


def command(arguments: list[str]) -> list[str]:
    """The command line of an Airflow command."""
    return [sys.executable, "-m", "airflow", *arguments]
