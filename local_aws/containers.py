"""Container runtimes: run a Batch container as a local process or with Docker.

A runtime returns a command line. The caller starts it, reads its output and sends it signals. `docker run` forwards
SIGTERM to the container and exits with the container's exit code. But SIGKILL ends only `docker run`, so the caller
also asks the runtime to remove the container.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PROJECT = Path(__file__).resolve().parents[1]
WORKER_IMAGE = PROJECT / "worker_image"
PLUGINS = PROJECT / "plugins"


class Runtime(Protocol):
    """Converts a container to a command line and its environment variables."""

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The arguments and the environment variables of the container's process."""

    def remove(self, arguments: Sequence[str]) -> None:
        """Remove what the ended process of these arguments left. It may have left nothing."""


@dataclass(frozen=True)
class WorkerProcess:
    """Runs the worker's code with the interpreter in .venv/worker, without an image.

    The process gets the Dockerfile's ENV variables, Batch's variables and PATH, TMPDIR and LANG. It gets no other
    variables of the caller.
    """

    image_environment: Mapping[str, str] = field(
        default_factory=lambda: {
            "MODEL": "asterisk-en",
            "MODELS_DIR": str(PROJECT / "build" / "models"),
            "PYTHONUNBUFFERED": "1",
        }
    )
    interpreter: Path = PROJECT / ".venv" / "worker" / "bin" / "python"

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """See `Runtime`. Ignores the image's name."""
        program = self.interpreter if command[0] == "python" else command[0]
        inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
        return [str(program), *command[1:]], {
            **inherited,
            "PYTHONPATH": f"{WORKER_IMAGE}:{PLUGINS}",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.image_environment,
            **environment,
        }

    def remove(self, arguments: Sequence[str]) -> None:
        """See `Runtime`. A process leaves nothing."""


@dataclass(frozen=True)
class DockerContainer:
    """Runs the image with Docker, in the host's network so that the container reaches the local AWS.

    Args:
        tag: The image to run. The job definition's image is ignored, because its registry is on AWS.
    """

    tag: str

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """See `Runtime`. The container has a name, by which `remove` finds it."""
        variables = [argument for name in environment for argument in ("--env", name)]
        name = f"transcription-{uuid.uuid4()}"
        limits = ["--init", "--read-only", "--volume", "/tmp", "--network", "host"]  # noqa: S108
        options = ["--name", name, "--rm", "--pull", "never", *limits, *variables]
        return ["docker", "run", *options, self.tag, *command], {**os.environ, **environment}

    def remove(self, arguments: Sequence[str]) -> None:
        """See `Runtime`."""
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
