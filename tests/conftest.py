"""Fixtures for tests with the deployed template: the local AWS, its stack, and Airflow's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).resolve().parents[1]

HOME = PROJECT / ".local" / "tests"

# Set Airflow's home and folders before any import of Airflow, so that tests do not use the user's Airflow.
os.environ["AIRFLOW_HOME"] = str(HOME)
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{HOME / 'airflow.db'}"

# Other programs may keep the machine busy. The current profile, which is another one in CI, is its base.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture(scope="session")
def aws() -> Iterator[Any]:
    from local_aws import server
    from local_aws.containers import WorkerProcess

    with server.running(WorkerProcess(), slots=2, stop_timeout=2) as running:
        yield running


@pytest.fixture(scope="session")
def stack(aws: Any) -> Any:
    from local_aws import deployment

    return deployment.deploy(aws, PROJECT / "build" / "local")


@pytest.fixture
def configured(aws: Any, stack: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the variables of this process as for a task of the deployed environment. Return the stack."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    for option, value in stack.airflow_options.items():
        monkeypatch.setenv(f"AIRFLOW__{option.replace('.', '__').upper()}", str(value))
    return stack


@pytest.fixture
def s3(aws: Any) -> Any:
    return aws.client("s3")
