"""The local AWS: started on a free port of 127.0.0.1, stopped with everything that it started."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

from local_aws.containers import Runtime, local_credentials

REGION = "us-east-1"
ACCOUNT = "123456789012"


@dataclass(frozen=True)
class LocalAws:
    """A running local AWS."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point any AWS SDK or CLI at it."""
        return local_credentials(self.endpoint, REGION)

    def client(self, service: str) -> Any:
        """A boto3 client for it."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106
        )


@contextmanager
def running(
    runtime: Runtime, *, port: int = 0, slots: int | None = None, stop_timeout: float = 120.0
) -> Iterator[LocalAws]:
    """Run the local AWS in this process until the block is left; then its containers are stopped too.

    Args:
        runtime: What starts the containers of Batch jobs.
        port: Port on 127.0.0.1; 0 takes a free one.
        slots: Containers at once; by default half the CPUs, since a child has two, and at least two.
        stop_timeout: Seconds that a container has at most between SIGTERM and SIGKILL.
    """
    from moto.server import ThreadedMotoServer  # moto reads its settings when it is first imported

    from local_aws import batch, cloudformation, s3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("moto").setLevel(logging.ERROR)
    cloudformation.install()
    s3.install()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    aws = LocalAws(f"http://127.0.0.1:{server.get_host_and_port()[1]}")
    batch.install(
        slots=slots or max(2, (os.cpu_count() or 2) // 2),
        runtime=runtime,
        container_environment=aws.environment,
        stop_timeout=stop_timeout,
    )
    try:
        yield aws
    finally:
        batch.stop_all()
        server.stop()
