"""Fixtures with the stack's template, synthesised once for each choice of settings in the CDK's environment."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.infra.stack_template import PROJECT, Assembly

Run = Callable[[dict[str, Any]], tuple[subprocess.CompletedProcess[str], Path]]

# Two deployments. Together they change every default that the template depends on.
CLOSED = {
    "region": "eu-west-1",
    "egress": "endpoints",
    "airflow_ui": "PRIVATE_ONLY",
    "spot_share": 1,
    "image_scanning": "ENHANCED",
    "delete_everything": True,
    "keep_processed_days": 7,
    "keep_transcripts_days": 365,
}
LARGE = {
    "stack_name": "Team-B",
    "environment_name": "team_b",
    "image_scanning": "OFF",
    "airflow_class": "mw1.small",
    "airflow_max_workers": 3,
    "airflow_ui": "PUBLIC_AND_PRIVATE",
    "schedule": "30 3 * * 1-5",
    "start_on_upload": True,
    "quiet_minutes": 5,
    "nat_gateways": 2,
    "max_vcpus": 400,
    "spot_share": 0,
    "vcpus_per_child": 4,
    "memory_gb_per_child": 8,
    "model": "s3://my-models/a.tflite",
    "model_buckets": ["arn:aws:s3:::my-models"],
    "alarm_email": "team@example.com",
}
# Two deployments without Amazon MWAA.
ON_DEMAND = {"orchestration": "on_demand"}
ON_DEMAND_LARGE = {
    "orchestration": "on_demand",
    "stack_name": "Team-C",
    "environment_name": "team_c",
    "egress": "nat",
    "schedule": "30 3 * * 1-5",
    "start_on_upload": True,
    "quiet_minutes": 15,
    "orchestrator_vcpus": 1,
    "orchestrator_memory_gb": 4,
    "dashboard": True,
    "model_buckets": ["arn:aws:s3:::my-models"],
}
# Amazon MWAA, whose children have public addresses.
PUBLIC = {"egress": "public"}


@pytest.fixture(scope="session")
def run_app(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the CDK app with the given settings. Returns the completed process and the output folder."""

    def run(settings: dict[str, Any]) -> tuple[subprocess.CompletedProcess[str], Path]:
        folder = tmp_path_factory.mktemp("app")
        (folder / "settings.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in settings.items()))
        done = subprocess.run(
            [PROJECT / ".venv" / "infra" / "bin" / "python", PROJECT / "infra" / "app.py"],
            env=os.environ | {"CDK_OUTDIR": str(folder / "cdk.out"), "SETTINGS": str(folder / "settings.toml")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, folder / "cdk.out"

    return run


def _assembly(run_app: Run, settings: dict[str, Any]) -> Assembly:
    done, folder = run_app(settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return Assembly(folder)


@pytest.fixture(scope="session")
def stack(run_app: Run) -> Assembly:
    """The assembly with every setting at its default."""
    return _assembly(run_app, {})


@pytest.fixture(scope="session")
def closed(run_app: Run) -> Assembly:
    """A deployment without internet access, with Spot only, whose buckets are deleted with the stack."""
    return _assembly(run_app, CLOSED)


@pytest.fixture(scope="session")
def large(run_app: Run) -> Assembly:
    """A second, larger deployment in the same account, with another model and on-demand capacity only."""
    return _assembly(run_app, LARGE)


@pytest.fixture(scope="session")
def on_demand(run_app: Run) -> Assembly:
    """A deployment without Amazon MWAA, with every other setting at its default."""
    return _assembly(run_app, ON_DEMAND)


@pytest.fixture(scope="session")
def on_demand_large(run_app: Run) -> Assembly:
    """A second deployment without Amazon MWAA, in private subnets, which uploads start, too."""
    return _assembly(run_app, ON_DEMAND_LARGE)


@pytest.fixture(scope="session")
def public(run_app: Run) -> Assembly:
    """A deployment with Amazon MWAA, whose children have public addresses."""
    return _assembly(run_app, PUBLIC)
