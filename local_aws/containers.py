"""Container runtimes: run a Batch container as a local process or with Docker.

A runtime returns a command line. The caller starts it, reads its output and sends it signals. `docker run` forwards
SIGTERM to the container and exits with the container's exit code. But SIGKILL ends only `docker run`, so the caller
also asks the runtime to remove the container.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from transcription_contract import deployment

PROJECT = Path(__file__).resolve().parents[1]
WORKER_IMAGE = PROJECT / "worker_image"
ORCHESTRATOR_IMAGE = PROJECT / "orchestrator_image"
PLUGINS = PROJECT / "plugins"


EMPTY_DATABASE = PROJECT / ".local" / "orchestrator" / "airflow.db"
"""Airflow's empty database, if `local_aws.airflow.migrate_empty` has made it."""


def is_orchestrator(command: Sequence[str]) -> bool:
    """Whether this is the command of the container that runs the DAG."""
    return tuple(command[: len(deployment.ORCHESTRATOR_COMMAND)]) == deployment.ORCHESTRATOR_COMMAND


class Runtime(Protocol):
    """Converts a container to a command line and its environment variables."""

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The arguments and the environment variables of the container's process."""

    def remove(self, arguments: Sequence[str]) -> None:
        """Remove what the ended process of these arguments left. It may have left nothing."""


def orchestrator_variables() -> dict[str, str]:
    """The variables of the orchestrator's Dockerfile, with this project's folders."""
    return {
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        "EMPTY_DATABASE": str(EMPTY_DATABASE),
    }


@dataclass(frozen=True)
class WorkerProcess:
    """Runs the code of an image with an interpreter of this project, without the image.

    That is the worker's in .venv/worker, or the orchestrator's, which runs the DAG, in .venv/airflow. The process gets
    the Dockerfile's ENV variables, Batch's variables and PATH, TMPDIR and LANG. It gets no other variables of the
    caller.
    """

    image_environment: Mapping[str, str] = field(
        default_factory=lambda: {
            "MODEL": "asterisk-en",
            "MODELS_DIR": str(PROJECT / "build" / "models"),
            "PYTHONUNBUFFERED": "1",
        }
    )
    interpreter: Path = PROJECT / ".venv" / "worker" / "bin" / "python"
    orchestrator_environment: Mapping[str, str] = field(
        default_factory=lambda: {"AIRFLOW__TRANSCRIPTION__POLL_SECONDS": "1"}
    )
    """Further variables of the orchestrator."""

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """See `Runtime`. The command tells the images apart, whose names only the CDK knows."""
        inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
        own: Mapping[str, str] = self.image_environment
        program, source = str(self.interpreter) if command[0] == "python" else command[0], WORKER_IMAGE
        if is_orchestrator(command):
            own = {**orchestrator_variables(), **self.orchestrator_environment}
            program, source = sys.executable, ORCHESTRATOR_IMAGE
        return [program, *command[1:]], {
            **inherited,
            "PYTHONPATH": f"{source}:{PLUGINS}",
            "PYTHONDONTWRITEBYTECODE": "1",
            **own,
            **environment,
        }

    def remove(self, arguments: Sequence[str]) -> None:
        """See `Runtime`. A process leaves nothing."""


@dataclass(frozen=True)
class DockerContainer:
    """Runs the image with Docker, in the host's network so that the container reaches the local AWS.

    Args:
        tag: The image to run. The job definition's image is ignored, because its registry is on AWS.
        options: Further options of `docker run`.
        orchestrator_tag: The image that runs the DAG without Amazon MWAA. Empty: that runs as a process.
    """

    tag: str
    options: Sequence[str] = ()
    orchestrator_tag: str = ""

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """See `Runtime`. The container has a name, by which `remove` finds it."""
        tag = self.tag
        if is_orchestrator(command):
            if not self.orchestrator_tag:
                return WorkerProcess().command(image, command, environment)
            tag = self.orchestrator_tag
        variables = [argument for name in environment for argument in ("--env", name)]
        name = f"transcription-{uuid.uuid4()}"
        limits = ["--init", "--read-only", "--volume", "/tmp", "--network", "host"]  # noqa: S108
        options = ["--name", name, "--rm", "--pull", "never", *limits, *variables]
        return ["docker", "run", *options, *self.options, tag, *command], {**os.environ, **environment}

    def remove(self, arguments: Sequence[str]) -> None:
        """See `Runtime`."""
        if "--name" not in arguments:
            return
        name = arguments[arguments.index("--name") + 1]
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False)

    def problem(self) -> str | None:
        """Docker's words if it does not have the image, or does not run at all."""
        try:
            found = subprocess.run(
                ["docker", "image", "inspect", self.tag], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            return "Docker is not installed: there is no command `docker`."
        return found.stderr.strip() if found.returncode else None


def local_credentials(endpoint: str, region: str) -> dict[str, str]:
    """Environment variables that make any AWS SDK use the local AWS only."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_SESSION_TOKEN": "",  # replaces that of the user's real account
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
