"""Fixtures with the worker's image, built by Docker."""

from __future__ import annotations

import os
import tarfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.image import docker_engine, stand_in
from tests.image.children import Children
from tests.image.docker_engine import Docker, NoDockerError
from transcription_stack import build_context

Files = dict[str, tarfile.TarInfo]


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """Docker, or the reason why the tests are skipped. In CI they are not."""
    try:
        with docker_engine.running() as docker:
            yield docker
    except NoDockerError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


@pytest.fixture(scope="session")
def bases(docker: Docker) -> Iterator[dict[str, str]]:
    """The images to build on, by build argument; none: the Dockerfile's own, because only root can make stand-ins."""
    if os.geteuid() != 0:
        yield {}
        return
    with stand_in.bases(docker) as arguments:
        yield arguments


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build context of the image, as in a deployment."""
    return build_context.stage(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="session")
def build_image(docker: Docker, bases: dict[str, str], context: Path) -> Callable[..., str]:
    """Builds a context's unmodified Dockerfile, up to a stage, with build arguments. Returns the image's name."""

    def build_image(context: Path = context, stage: str = "", name: str = "", **arguments: str) -> str:
        given = {**bases, **arguments}
        options = [f"--build-arg={name}={value}" for name, value in given.items()]
        if stage:
            options.append(f"--target={stage}")
        tag = "-".join(filter(None, ("transcription-image-test", name, stage)))
        docker.run("build", "--network", "host", "--force-rm", "--tag", tag, *options, context)
        return tag

    return build_image


@pytest.fixture(scope="session")
def image(build_image: Callable[..., str]) -> str:
    """The image with the demo's model, which needs no download."""
    return build_image(MODEL="asterisk-en")


def content(docker: Docker, image: str, folder: Path) -> Files:
    """Every file and folder of an image, by its path without the first slash."""
    container = docker.run("create", image, "true").stdout.strip()
    try:
        docker.run("export", "--output", folder / "image.tar", container)
    finally:
        docker.run("rm", "--volumes", container)
    with tarfile.open(folder / "image.tar") as files:
        return {file.name: file for file in files}


@pytest.fixture(scope="session")
def orchestrator_image(docker: Docker, bases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image that runs the DAG without Amazon MWAA."""
    context = build_context.stage_orchestrator(tmp_path_factory.mktemp("orchestrator"))
    options = [f"--build-arg=PYTHON={bases['PYTHON']}"] if bases else []
    name = "transcription-image-test-orchestrator"
    docker.run("build", "--network", "host", "--force-rm", "--tag", name, *options, context)
    return name


@pytest.fixture(scope="session")
def files(docker: Docker, image: str, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What is in the image."""
    return content(docker, image, tmp_path_factory.mktemp("image"))


@pytest.fixture
def children(docker: Docker, image: str, aws: Any, monkeypatch: pytest.MonkeyPatch) -> Children:
    """A new bucket, and children in containers of the image."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"image-{uuid.uuid4()}"
    aws.client("s3").create_bucket(Bucket=bucket)
    return Children(docker, image, aws, bucket)
