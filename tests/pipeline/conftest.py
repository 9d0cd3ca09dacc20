from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from local_aws import airflow
from tests.conftest import HOME
from tests.pipeline import warm_airflow


@pytest.fixture
def empty_bucket(s3: Any, configured: Any) -> str:
    """The name of the deployed audio bucket, which is empty."""
    name = configured.outputs["BucketName"]
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        versions = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        for version in versions:
            s3.delete_object(Bucket=name, Key=version["Key"], VersionId=version["VersionId"])
    return name


@pytest.fixture
def put(s3: Any, empty_bucket: str) -> Callable[..., str]:
    """Writes an object and returns its ETag. `modified` sets the time of the write."""

    def put(key: str, body: bytes = b"x", *, modified: datetime | None = None, **metadata: str) -> str:
        from moto.s3.models import s3_backends

        from local_aws.server import ACCOUNT

        etag = s3.put_object(Bucket=empty_bucket, Key=key, Body=body, Metadata=metadata)["ETag"]
        if modified is not None:
            s3_backends[ACCOUNT]["aws"].buckets[empty_bucket].keys[key].last_modified = modified.replace(tzinfo=None)
        return etag.strip('"')

    return put


@pytest.fixture
def keys(s3: Any, empty_bucket: str) -> Callable[[str], list[str]]:
    """Lists the bucket's keys under a prefix."""

    def keys(prefix: str = "") -> list[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=empty_bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    return keys


@pytest.fixture
def read(s3: Any, empty_bucket: str) -> Any:
    return lambda key: s3.get_object(Bucket=empty_bucket, Key=key)["Body"].read()


@pytest.fixture(scope="module")
def variables(aws: Any, stack: Any) -> dict[str, str]:
    """Environment variables for Airflow's commands, with the rights of the environment's role."""
    values = airflow.environment(aws, stack, HOME)
    airflow.migrate(values)
    return values


@pytest.fixture(scope="session")
def warm() -> None:
    """Import Airflow once for all runs."""
    warm_airflow.start()


@pytest.fixture
def run(variables: dict[str, str], warm: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs the whole DAG with these params."""

    def run(**params: Any) -> subprocess.CompletedProcess[str]:
        command = ["dags", "test", "transcription", "--conf", json.dumps(params)]
        return warm_airflow.run(command, variables, tmp_path_factory.mktemp("run"))

    return run
