"""Starts the local AWS on a port of 127.0.0.1, and stops it with all of its containers."""

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
ACCOUNT = "123456789012"  # moto's


@dataclass(frozen=True)
class LocalAws:
    """A running local AWS."""

    endpoint: str

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that make any AWS SDK or CLI use this local AWS."""
        return local_credentials(self.endpoint, REGION)

    def environment_of(self, role_arn: str) -> dict[str, str]:
        """The same for a process that has only the rights of a role."""
        from local_aws import authorization

        return {**self.environment, **authorization.credentials_of(role_arn, REGION)}

    def client(self, service: str, region: str = REGION) -> Any:
        """A boto3 client for a service of this local AWS, with all rights."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=region,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106
        )


@contextmanager
def running(
    runtime: Runtime, *, port: int = 0, slots: int | None = None, stop_timeout: float = 120.0
) -> Iterator[LocalAws]:
    """Run the local AWS in this process until the block ends. Then stop its server and its containers.

    Args:
        runtime: Converts the containers of Batch jobs to command lines.
        port: Port on 127.0.0.1. 0 means a free port.
        slots: Maximum number of containers of one Batch queue that run at the same time. The default is half the
            number of CPUs, because a child uses two CPUs, but at least two.
        stop_timeout: Maximum number of seconds between SIGTERM and SIGKILL for a container.
    """
    from moto.server import ThreadedMotoServer  # moto reads its settings when it is first imported

    from local_aws import authorization, batch, cloudformation, s3, starts

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    logging.getLogger("moto").setLevel(logging.ERROR)
    cloudformation.install()
    s3.install()
    authorization.install()
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    aws = LocalAws(f"http://127.0.0.1:{server.get_host_and_port()[1]}")
    starts.install(aws.endpoint)
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
