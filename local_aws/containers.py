"""Container runtimes: how a Batch container becomes a process of this machine.

Both give a command line to run; the caller starts it, reads its output and signals it. `docker run`
passes SIGTERM on to the container and exits with its code, so the two look alike from outside.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PROJECT = Path(__file__).resolve().parents[1]
WORKER_IMAGE = PROJECT / "worker_image"
PLUGINS = PROJECT / "plugins"


class Runtime(Protocol):
    """Turns a container into a command line and the environment to start it with."""

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """The arguments and the environment of the process that is the container."""


@dataclass(frozen=True)
class WorkerProcess:
    """Runs the worker's code with the interpreter of its own environment instead of its image.

    What the Dockerfile sets with ENV is given here; all else is what Batch passes, so a container sees
    nothing of the caller's environment but the way to the local AWS.
    """

    image_environment: Mapping[str, str] = field(
        default_factory=lambda: {"MODEL": "asterisk-en", "PYTHONUNBUFFERED": "1"}
    )
    interpreter: Path = PROJECT / ".venv" / "worker" / "bin" / "python"

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """See `Runtime`; the image's name does not matter."""
        program = self.interpreter if command[0] == "python" else command[0]
        inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LANG") if name in os.environ}
        return [str(program), *command[1:]], {
            **inherited,
            "PYTHONPATH": f"{WORKER_IMAGE}:{PLUGINS}",
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.image_environment,
            **environment,
        }


@dataclass(frozen=True)
class DockerContainer:
    """Runs the image with Docker, as Batch does, on the host's network so that it finds the local AWS.

    Args:
        tag: The image to run whatever the job definition names, since its registry is not there.
    """

    tag: str

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """See `Runtime`."""
        names = [argument for name in environment for argument in ("--env", name)]
        limits = ["--init", "--read-only", "--tmpfs", "/tmp", "--network", "host"]  # noqa: S108
        arguments = ["docker", "run", "--rm", *limits, *names, self.tag, *command]
        return arguments, {**os.environ, **environment}


def local_credentials(endpoint: str, region: str) -> dict[str, str]:
    """Variables with which any AWS SDK finds the local AWS, and nothing but it."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
