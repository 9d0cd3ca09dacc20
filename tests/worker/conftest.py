"""Fixtures of the worker's tests: an S3 server, and a bucket for each test."""

from __future__ import annotations

import socket
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.worker.harness import ROOT, Bucket, aws_environment, wait_for

# moto's server. local_aws adds S3's conditions for writes and copies.
SERVER = "from local_aws import s3; s3.install(); from moto.server import main; main()"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fuzz: random input; FUZZ=n runs n times as many examples")


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The address of the tests' S3 server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [str(ROOT / ".venv/airflow/bin/python"), "-c", SERVER, "-H", "127.0.0.1", "-p", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: urllib.request.urlopen(address, timeout=1).status == 200)
        yield address
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(autouse=True)
def _aws(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    aws_environment(endpoint, monkeypatch)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()
