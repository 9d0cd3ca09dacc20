"""`make airflow` for tests: the scheduler, the triggerer and the UI's server on the local AWS."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

PROJECT = Path(__file__).resolve().parents[1]
DEADLINE = 180  # time limit of a step in seconds; normally a step is much faster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any]) -> Any:
    for _ in range(DEADLINE * 4):
        found = condition()
        if found:
            return found
        time.sleep(0.25)
    raise AssertionError(f"The condition is still false after {DEADLINE} s.")


@dataclass
class Running:
    """Airflow with its UI's server on the local AWS."""

    process: subprocess.Popen[str]
    url: str
    home: Path
    variables: dict[str, str]

    @property
    def s3(self) -> Any:
        names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
        endpoint, key, secret, region = (self.variables[name] for name in names)
        return boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=key, aws_secret_access_key=secret, region_name=region
        )

    @property
    def bucket(self) -> str:
        return self.variables["BUCKET"]

    def keys(self, prefix: str) -> list[str]:
        return [item["Key"] for item in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", ())]

    def is_idle(self, user: str = "") -> bool:
        """Whether the nightly run has ended that Airflow starts when the DAG is switched on."""
        runs = self.request_json("/api/v2/dags/transcription/dagRuns", user=user)["dag_runs"]
        return bool(runs) and all(run["state"] in ("success", "failed") for run in runs)

    def password(self, user: str) -> str:
        """The password that Airflow made for a user."""
        return str(json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text())[user])

    def token(self, user: str = "") -> str:
        """A token of a user, or of everybody if no password is needed."""
        body = json.dumps({"username": user, "password": self.password(user)}).encode() if user else None
        request = urllib.request.Request(f"{self.url}/auth/token", body, {"Content-Type": "application/json"})
        return str(json.load(urllib.request.urlopen(request))["access_token"])

    def request_json(self, path: str, body: Any = None, user: str = "") -> Any:
        """Send a GET request, or a POST request with the body. Return the response."""
        request = urllib.request.Request(
            f"{self.url}{path}",
            json.dumps(body).encode() if body else None,
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.token(user)}"},
        )
        return json.load(urllib.request.urlopen(request))


def until_ready(process: subprocess.Popen[str]) -> str:
    """Wait until `make airflow` says how to use it. Return what it printed until then."""
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if "Ctrl-C stops everything" in line:
            break
    assert process.poll() is None, "".join(output)
    return "".join(output)


@contextmanager
def running_airflow(name: str, *, assembly: str, users: str = "", audio: Path | None = None) -> Iterator[Running]:
    """Run Airflow until the block ends, and check that nothing of it is left then.

    Args:
        name: Of its home folder under `.local/`.
        assembly: The output folder of the CDK app's synthesis.
        users: As `local_aws.ui.ui_variables`.
        audio: Folder of recordings for a first run.
    """
    home = PROJECT / ".local" / name
    aws_port, ui_port = free_port(), free_port()
    options = {
        "home": home,
        "aws-port": aws_port,
        "ui-port": ui_port,
        **({"users": users} if users else {}),
        **({"audio": audio} if audio else {}),
    }
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "local_aws", "--assembly", assembly, "airflow"),
            *(part for option, value in options.items() for part in (f"--{option}", str(value))),
        ],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until_ready(process)
    exports = (home / "env").read_text().splitlines()
    pairs = (shlex.split(line.removeprefix("export "))[0].split("=", 1) for line in exports)
    variables = {**os.environ, **dict(pairs), "PATH": os.environ["PATH"]}
    try:
        yield Running(process, f"http://127.0.0.1:{ui_port}", home, variables)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
