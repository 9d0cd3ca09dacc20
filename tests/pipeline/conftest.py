from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]

# Before anything imports Airflow: its home and folders, away from the user's own.
os.environ["AIRFLOW_HOME"] = str(PROJECT / ".local" / "tests")
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(PROJECT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(PROJECT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{PROJECT / '.local' / 'tests' / 'airflow.db'}"


@pytest.fixture(scope="session")
def aws() -> Iterator[Any]:
    from local_aws import server
    from local_aws.containers import WorkerProcess

    with server.running(WorkerProcess(), slots=2, stop_timeout=2) as running:
        yield running


@pytest.fixture(scope="session")
def stack(aws: Any) -> Any:
    from local_aws import deployment

    return deployment.deploy(aws, PROJECT / "build" / "cdk.out")


@pytest.fixture
def configured(aws: Any, stack: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """This process as a task of the deployed environment would find it: configuration and AWS."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    for option, value in stack.airflow_options.items():
        monkeypatch.setenv(f"AIRFLOW__{option.replace('.', '__').upper()}", str(value))
    return stack


@pytest.fixture
def s3(aws: Any) -> Any:
    return aws.client("s3")


@pytest.fixture
def empty_bucket(s3: Any, configured: Any) -> str:
    """The deployed audio bucket, with nothing in it."""
    name = configured.outputs["BucketName"]
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name):
        versions = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        for version in versions:
            s3.delete_object(Bucket=name, Key=version["Key"], VersionId=version["VersionId"])
    return name


@pytest.fixture
def put(s3: Any, empty_bucket: str) -> Callable[..., str]:
    """Puts an object and returns its ETag; it may be given the time at which it was put."""

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
