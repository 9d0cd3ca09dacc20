"""Batch containers of the local AWS: the orchestrator in a container of its image, the children as processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from local_aws.containers import DockerContainer, Runtime, WorkerProcess, is_orchestrator
from tests.image.docker_engine import Docker


class OrchestratorInDocker(Runtime):
    """Runs the orchestrator in a container of its image, and the children as processes.

    Args:
        tag: The orchestrator's image.
        docker: Docker's command line.
        cpus: CPUs of the orchestrator's container.
        memory: Its memory, as Docker writes it.
    """

    def __init__(self, tag: str, docker: Docker, *, cpus: str, memory: str) -> None:
        self.tag = tag
        self._docker = docker
        limits = ("--cpus", cpus, "--memory", memory, "--memory-swap", memory)
        self._container = DockerContainer(tag, options=limits, orchestrator_tag=tag)
        self._process = WorkerProcess()

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        if not is_orchestrator(command):
            return self._process.command(image, command, environment)
        given = {**environment, **self._process.orchestrator_environment}
        arguments, variables = self._container.command(image, command, given)
        return arguments, {**variables, **self._docker.environment}

    def remove(self, arguments: Sequence[str]) -> None:
        if arguments[0] == "docker":
            name = arguments[arguments.index("--name") + 1]
            self._docker.run("rm", "--force", "--volumes", name, check=False)
