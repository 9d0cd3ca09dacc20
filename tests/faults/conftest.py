"""Fixtures: the deployed template, and workers with injected faults."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.injection import FaultyWorkers
from tests.faults.ledger import Ledger


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> FaultyWorkers:
    return FaultyWorkers(folder=tmp_path_factory.mktemp("workers"))


def without_content(key: Any, _memo: object) -> Any:
    """A copy of moto's object without content, which is enough for a listing."""
    listed = object.__new__(type(key))
    listed.__dict__.update(key.__dict__, _etag=key.etag.strip('"'), _value_buffer=io.BytesIO(), multipart=None)
    return listed


@pytest.fixture(scope="session")
def aws(workers: FaultyWorkers) -> Iterator[Any]:
    from moto.s3.models import FakeKey

    from local_aws import server

    # moto 5.2.5 copies the content of every object to list versions. That would be gigabytes in each round.
    FakeKey.__deepcopy__ = without_content
    with server.running(workers, slots=3, stop_timeout=2) as running:
        yield running


@pytest.fixture(scope="module")
def deployed(aws: Any, stack: Any) -> Iterator[Any]:
    """Set the environment variables of a deployed task for the tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in aws.environment.items():
            patch.setenv(name, value)
        for option, value in stack.airflow_options.items():
            patch.setenv(f"AIRFLOW__{option.replace('.', '__').upper()}", str(value))
        patch.setattr("airflow.providers.amazon.aws.links.batch.BatchJobDetailsLink.persist", lambda **_: None)
        yield stack


@pytest.fixture(scope="module")
def ledger(aws: Any, deployed: Any) -> Ledger:
    return Ledger(aws.client("s3"), deployed.outputs["BucketName"])
