"""Batch children in containers, under the limits of the job definition in the synthesised template."""

from __future__ import annotations

import itertools
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.image.docker_engine import PROJECT, Docker
from tests.plans import planned
from transcription.bucket import Bucket
from transcription_contract import deployment, layout, manifest
from transcription_contract.manifest import Header
from transcription_contract.run_options import TranscriptionOptions

TEMPLATE = PROJECT / "build" / "cdk.out" / "Transcription.template.json"
RECORDINGS = PROJECT / "tests" / "recordings"
TEXTS = {entry["file"]: entry["text"] for entry in json.loads((RECORDINGS / "transcripts.json").read_text("utf-8"))}
MANIFESTS = "child_job_input/image/"
WAIT_SECONDS = 60.0
# What no option of the job definition says: Fargate's own restrictions, and the tests' network.
FURTHER_LIMITS = {
    "--network": "host", "--pids-limit": "256", "--security-opt": "no-new-privileges", "--cap-drop": "ALL",
}  # fmt: skip


def job_definition() -> dict[str, Any]:
    """The container of the only job definition in the template."""
    resources = json.loads(TEMPLATE.read_text())["Resources"].values()
    [definition] = [found["Properties"] for found in resources if found["Type"] == "AWS::Batch::JobDefinition"]
    [task] = definition["EcsProperties"]["TaskProperties"]
    [container] = task["Containers"]
    return container


def limits(container: Mapping[str, Any]) -> dict[str, str]:
    """The options of `docker run` that give a container the job definition's limits. Swap counts as memory."""
    amounts = {given["Type"]: given["Value"] for given in container["ResourceRequirements"]}
    [scratch] = [mount["ContainerPath"] for mount in container["MountPoints"] if not mount["ReadOnly"]]
    return {
        "--read-only": str(container["ReadonlyRootFilesystem"]).lower(),
        "--init": str(container["LinuxParameters"]["InitProcessEnabled"]).lower(),
        "--user": container["User"],
        "--volume": scratch,
        "--cpus": amounts["VCPU"],
        "--memory": f"{amounts['MEMORY']}m",
        "--memory-swap": f"{amounts['MEMORY']}m",
        "--stop-timeout": str(container["StopTimeout"]),
        **FURTHER_LIMITS,
    }


TEXT_ONLY = TranscriptionOptions(output_formats=())


@dataclass(frozen=True)
class Ended:
    """How a container ended, and what it wrote."""

    code: int
    stdout: str
    stderr: str
    events: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", [json.loads(line) for line in self.stdout.splitlines()])

    def event(self, name: str) -> dict[str, Any]:
        """The only event of this name."""
        [found] = [event for event in self.events if event["event"] == name]
        return found


@dataclass(frozen=True)
class Children:
    """Children of one manifest, one after the other.

    Args:
        aws: the local AWS.
        bucket: the name of a bucket on it.
    """

    docker: Docker
    image: str
    aws: Any
    bucket: str

    def plan(self, count: int) -> list[str]:
        """Upload so many recordings, copies of the samples, and write a manifest. Return their names."""
        names = [f"{number}-{file}" for number, file in zip(range(count), itertools.cycle(TEXTS), strict=False)]
        for name in names:
            self.s3.upload_file(str(RECORDINGS / name.partition("-")[2]), self.bucket, layout.INPUT + name)
        body = manifest.to_bytes(Header(options=TEXT_ONLY), planned(Bucket(self.bucket).listing(layout.INPUT)))
        self.s3.put_object(Bucket=self.bucket, Key=f"{MANIFESTS}0", Body=body)
        return names

    @property
    def s3(self) -> Any:
        """An S3 client."""
        return self.aws.client("s3")

    def listing(self, prefix: str) -> dict[str, str]:
        """The texts of the objects below a prefix, by their names; of audio the empty text."""
        found = {}
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                body = self.s3.get_object(Bucket=self.bucket, Key=item["Key"])["Body"].read()
                found[item["Key"].removeprefix(prefix)] = body.decode().strip() if prefix == layout.OUTPUT else ""
        return found

    @contextmanager
    def container(self, **changed: str) -> Iterator[str]:
        """Make a child's container, and remove it at the end. Yield its name.

        Args:
            changed: options of `docker run` that replace the job definition's, such as `pids_limit="20"`.
        """
        definition = job_definition()
        given = {f"--{option.replace('_', '-')}": value for option, value in changed.items()}
        if "--memory" in given:
            given["--memory-swap"] = given["--memory"]
        variables = {
            **self.aws.environment,
            deployment.BUCKET_VARIABLE: self.bucket,
            deployment.MANIFEST_PREFIX_VARIABLE: MANIFESTS,
        }
        options = [f"{option}={value}" for option, value in {**limits(definition), **given}.items()]
        environment = [f"--env={name}={value}" for name, value in variables.items()]
        name = f"image-test-{uuid.uuid4()}"
        self.docker.run("create", "--name", name, *options, *environment, self.image, *definition["Command"])
        try:
            yield name
        finally:
            self.docker.run("rm", "--force", "--volumes", name)

    def run(self, **changed: str) -> Ended:
        """Run a child to its end."""
        with self.container(**changed) as name:
            self.docker.run("start", name)
            return self.end(name)

    def end(self, name: str) -> Ended:
        """Wait for a container's end."""
        code = int(self.docker.run("wait", name).stdout)
        logs = self.docker.run("logs", name)
        return Ended(code, logs.stdout, logs.stderr)

    def wait_for_event(self, name: str, event: str) -> None:
        """Wait until a running container has logged an event."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not re.search(f'"event": "{event}"', self.docker.run("logs", name).stdout):
            assert time.monotonic() < deadline, f"no event {event}"
            time.sleep(0.05)


def transcripts(names: list[str]) -> dict[str, str]:
    """The right text of each recording, by the name of its transcript."""
    return {Path(name).stem: TEXTS[name.partition("-")[2]] for name in names}
