"""Containers as processes, some of which reach AWS through a proxy of the test, or start again only later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from local_aws.containers import WorkerProcess, is_orchestrator
from transcription_contract import deployment


@dataclass(frozen=True)
class FaultyContainers(WorkerProcess):
    """Starts containers as processes, and those of the given runs with the faults of a test.

    A run is known by its time, the orchestrator's first argument, and its children by their manifest prefix.
    """

    addresses: dict[str, str] = field(default_factory=dict)
    """The address of AWS, by the run."""
    waits: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What a repeated start of the orchestrator waits for, by the run."""

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        arguments, variables = super().command(image, command, environment)
        if is_orchestrator(command):
            run = command[len(deployment.ORCHESTRATOR_COMMAND)]
            if environment["AWS_BATCH_JOB_ATTEMPT"] != "1":
                self.waits.get(run, lambda: None)()
        else:
            run = environment.get(deployment.MANIFEST_PREFIX_VARIABLE, "")
        return arguments, {**variables, "AWS_ENDPOINT_URL": self.addresses.get(run, variables["AWS_ENDPOINT_URL"])}
