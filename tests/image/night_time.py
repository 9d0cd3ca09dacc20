"""Measures a night with nothing to do in the orchestrator's container, under the job definition's limits.

`make image-bench` writes benchmark/night.json, from which `python -m benchmark.deployment_costs` computes the costs.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.deployment_costs import NIGHT, Size, orchestrator_size, read_template
from benchmark.document import machine
from local_aws import deployment, server
from tests.image import docker_engine, stand_in
from tests.image.docker_engine import Docker
from tests.image.orchestrator_in_docker import OrchestratorInDocker
from transcription_stack import build_context

ROUNDS = 3
ENDED = ("SUCCEEDED", "FAILED")


def main() -> None:
    """Build the image, measure, and write the figures."""
    size = orchestrator_size(read_template("build/on_demand"))
    with contextlib.ExitStack() as stack:
        docker = stack.enter_context(docker_engine.running())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        image = build(docker, stack, folder)
        runtime = Measured(image, docker, cpus=f"{size.vcpus:g}", memory=f"{size.gb * 1024:.0f}m")
        aws = stack.enter_context(server.running(runtime))
        deployed = deployment.deploy(aws, docker_engine.PROJECT / "build" / "on_demand")
        rounds = [_night(aws, deployed, number) for number in range(ROUNDS)]
    write(rounds, size)


def build(docker: Docker, stack: contextlib.ExitStack, folder: Path) -> str:
    """Build the image. Return its name."""
    arguments = []
    if os.geteuid() == 0:
        bases = stack.enter_context(stand_in.bases(docker))
        arguments = [f"--build-arg=PYTHON={bases['PYTHON']}"]
    name = "transcription-image-test-orchestrator"
    context = build_context.stage_orchestrator(folder / "context")
    docker.run("build", "--network", "host", "--tag", name, *arguments, context)
    return name


class Measured(OrchestratorInDocker):
    """Makes each container say the peak of its memory at its end."""

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        arguments, variables = super().command(image, command, environment)
        script = '"$@"; code=$?; echo "peak $(cat /sys/fs/cgroup/memory.peak 2>/dev/null || cat \
/sys/fs/cgroup/memory/memory.max_usage_in_bytes)"; exit $code'
        at = arguments.index(self.tag) + 1
        return [*arguments[:at], "sh", "-c", script, "sh", *arguments[at:]], variables


def _night(aws: Any, deployed: Any, number: int) -> dict[str, float]:
    """Seconds and megabytes of one night."""
    job_id = deployed.schedule.fire(datetime.datetime(2026, 1, 1 + number, 1, tzinfo=datetime.UTC))
    batch = aws.client("batch")
    while (job := batch.describe_jobs(jobs=[job_id])["jobs"][0])["status"] not in ENDED:
        time.sleep(0.5)
    if job["status"] != "SUCCEEDED":
        raise RuntimeError(f"The night failed: {job}")
    [attempt] = job["attempts"]
    stream = attempt["taskProperties"][0]["containers"][0]["logStreamName"]
    group = deployed.outputs["RunLogGroupName"]
    events = aws.client("logs").get_log_events(logGroupName=group, logStreamName=stream)["events"]
    peaks = [float(event["message"].split()[1]) for event in events if event["message"].startswith("peak ")]
    return {"seconds": (attempt["stoppedAt"] - attempt["startedAt"]) / 1000, "megabytes": max(peaks) / 1e6}


def write(rounds: Sequence[Mapping[str, float]], size: Size) -> None:
    seconds = [found["seconds"] for found in rounds]
    figures = {
        "date": str(datetime.date.today()),
        "machine": machine().partition(",")[0],  # the containers would count as other programs
        "vcpus": size.vcpus,
        "gb": size.gb,
        "seconds": statistics.median(seconds),
        "megabytes": max(found["megabytes"] for found in rounds),
        "rounds": seconds,
    }
    NIGHT.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
