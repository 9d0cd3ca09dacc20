"""Measures a child's time from its start to its first transcript, as a bare process and in a container.

The bare process has the bytecode of all that it imports, as the container does. Both run in turns. `make image-bench`
writes the table in docs/benchmarks.md.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from benchmark.document import machine, table, write
from local_aws import server
from local_aws.containers import WorkerProcess
from tests.image import docker_engine, stand_in
from tests.image.children import MANIFESTS, Children
from transcription_contract import deployment
from transcription_stack import build_context

SOURCES = ("worker_image/transcriber", "plugins/transcription_contract")
ROUNDS = 9
RECORDINGS = 4
WAYS = ("bare process", "container")


def main() -> None:
    """Build the image, measure, and write the table."""
    with contextlib.ExitStack() as stack:
        docker = stack.enter_context(docker_engine.running())
        aws = stack.enter_context(server.running(WorkerProcess()))
        bases = stack.enter_context(stand_in.bases(docker))
        os.environ.update(aws.environment)
        context = build_context.stage(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "context")
        subprocess.run(
            [stand_in.PYTHONS["PYTHON"], "-m", "compileall", "-q", *SOURCES], cwd=docker_engine.PROJECT, check=True
        )
        image = "transcription-image-test"
        arguments = [f"--build-arg={name}={value}" for name, value in {**bases, "MODEL": "asterisk-en"}.items()]
        docker.run("build", "--network", "host", "--tag", image, *arguments, context)
        rounds = [_round(Children(docker, image, aws, f"start-{uuid.uuid4()}")) for _ in range(ROUNDS)]
    medians = [statistics.median(found[way] for found in rounds) for way in range(len(WAYS))]
    ratio = statistics.median(container / bare for bare, container in rounds)
    rows = [*zip(WAYS, (f"{seconds:.2f}" for seconds in medians), strict=True)]
    write(
        "container start",
        f"Median of {ROUNDS} rounds, {datetime.date.today()}, {machine()}.\n\n"
        + table(("way", "start to first transcript, s"), rows)
        + f"\nContainer / bare process: **{ratio:.2f}** (goal: ≤ 1.2), the median of the ratios within a round.\n",
        rounds,
    )


def _round(children: Children) -> tuple[float, float]:
    """Seconds to the first transcript of a bare process, and of a container."""
    children.s3.create_bucket(Bucket=children.bucket)
    children.plan(RECORDINGS)
    variables = {
        **children.aws.environment,
        deployment.BUCKET_VARIABLE: children.bucket,
        deployment.MANIFEST_PREFIX_VARIABLE: MANIFESTS,
    }
    bare = _seconds(*WorkerProcess().command("", deployment.COMMAND, variables))
    children.plan(RECORDINGS)
    with children.container() as name:
        container = _seconds(["docker", "start", "--attach", name], children.docker.environment)
    return bare, container


def _seconds(arguments: Sequence[str], environment: dict[str, str]) -> float:
    started = time.monotonic()
    seconds = 0.0
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if not seconds and '"outcome": "transcribed"' in line:
                seconds = time.monotonic() - started
    if process.returncode or not seconds:
        raise RuntimeError(f"{arguments} ended with {process.returncode}")
    return seconds


if __name__ == "__main__":
    main()
