"""The image that runs the DAG without Amazon MWAA: what is in it, and whole runs under the job definition's limits.

The schedule is fired by hand on the local AWS. Batch runs the orchestrator in a container of its image, and the
children as processes.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from local_aws import deployment, server
from tests.image.children import RECORDINGS, TEXTS
from tests.image.conftest import content
from tests.image.docker_engine import PROJECT, Docker
from tests.image.orchestrator_in_docker import OrchestratorInDocker
from tests.image.test_image import privileged, programs
from transcription_contract import layout

NIGHT = datetime(2026, 11, 25, 1, tzinfo=UTC)
CPUS, MEMORY = "1", "1024m"  # the memory is the job definition's; a quarter of a vCPU would only take longer
WAIT_SECONDS = 300.0


@pytest.fixture(scope="module")
def aws(docker: Docker, orchestrator_image: str) -> Iterator[Any]:
    with server.running(
        OrchestratorInDocker(orchestrator_image, docker, cpus=CPUS, memory=MEMORY), slots=2, stop_timeout=10
    ) as running:
        yield running


@pytest.fixture(scope="module")
def stack(aws: Any) -> Any:
    return deployment.deploy(aws, PROJECT / "build" / "on_demand")


def wait_for(aws: Any, job_id: str, *statuses: str) -> Any:
    batch, deadline = aws.client("batch"), time.monotonic() + WAIT_SECONDS
    while True:
        job = batch.describe_jobs(jobs=[job_id])["jobs"][0]
        if job["status"] in statuses:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.2)


def log_of(aws: Any, stack: Any, job: Any) -> str:
    """The log of the last attempt."""
    stream = job["attempts"][-1]["taskProperties"][0]["containers"][0]["logStreamName"]
    group = stack.outputs["RunLogGroupName"]
    events = aws.client("logs").get_log_events(logGroupName=group, logStreamName=stream)["events"]
    return "\n".join(event["message"] for event in events)


def test_the_image_has_exactly_the_locked_packages_and_imports_the_dag(docker: Docker, orchestrator_image: str) -> None:
    code = """
from importlib.metadata import distributions
print(*(f"{found.metadata['Name']}=={found.version}" for found in distributions()))
"""
    installed = docker.run("run", "--rm", orchestrator_image, "python", "-c", code).stdout.split()
    locked = re.findall(
        r"^([\w.-]+==[\w.]+)", (PROJECT / "orchestrator_image" / "requirements.lock").read_text(), re.MULTILINE
    )
    normal = {
        re.sub(r"[-_.]+", "-", name.partition("==")[0].lower()) + "==" + name.partition("==")[2] for name in installed
    }
    assert normal == {
        re.sub(r"[-_.]+", "-", item.partition("==")[0]) + "==" + item.partition("==")[2] for item in locked
    }


def test_the_image_cannot_install_anything_and_has_no_setuid_program(
    docker: Docker, orchestrator_image: str, tmp_path: Path
) -> None:
    files = content(docker, orchestrator_image, tmp_path)
    assert not [name for name in programs(files) if re.match(r"(pip|apt|dpkg|gcc|cc$|make$|easy_install)", name)]
    assert privileged(files) == set()
    assert {name.split("/")[1] for name in files if name.startswith("opt/")} == {
        "airflow", "dags", "plugins", "orchestrator", "empty-database",
    }  # fmt: skip


def test_a_night_is_run_in_a_container_and_its_repeated_start_does_nothing(aws: Any, stack: Any) -> None:
    s3, bucket = aws.client("s3"), stack.outputs["BucketName"]
    names = sorted(TEXTS)[:4]
    for name in names:
        s3.upload_file(str(RECORDINGS / name), bucket, layout.INPUT + name)

    job = wait_for(aws, stack.schedule.fire(NIGHT), "SUCCEEDED", "FAILED")

    assert job["status"] == "SUCCEEDED", log_of(aws, stack, job)
    for name in names:
        text = s3.get_object(Bucket=bucket, Key=layout.OUTPUT + Path(name).stem)["Body"].read().decode()
        assert text.strip() == TEXTS[name]
    again = wait_for(aws, stack.schedule.fire(NIGHT), "SUCCEEDED", "FAILED")
    assert "Nothing is left to do" in log_of(aws, stack, again)


def test_a_container_that_is_stopped_ends_at_once_and_leaves_the_job_alone(
    aws: Any, stack: Any, docker: Docker
) -> None:
    s3, bucket, batch = aws.client("s3"), stack.outputs["BucketName"], aws.client("batch")
    name = sorted(TEXTS)[0]
    s3.upload_file(str(RECORDINGS / name), bucket, layout.INPUT + name)
    job_id = stack.schedule.fire(NIGHT.replace(day=26))
    queue = stack.airflow_options["transcription.job_queue"]
    filters = [{"name": "JOB_NAME", "values": ["transcription-manual__2026-11-26*"]}]
    deadline = time.monotonic() + WAIT_SECONDS
    while not (jobs := batch.list_jobs(jobQueue=queue, filters=filters)["jobSummaryList"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    [name_of_container] = docker.run("ps", "--filter", "name=transcription-", "--format", "{{.Names}}").stdout.split()
    docker.run("stop", "--time", "30", name_of_container)

    job = wait_for(aws, job_id, "SUCCEEDED", "FAILED")

    codes = [attempt["taskProperties"][0]["containers"][0]["exitCode"] for attempt in job["attempts"]]
    assert codes == [143, 0]
    after = batch.list_jobs(jobQueue=queue, filters=filters)["jobSummaryList"]
    assert [item["jobId"] for item in after] == [item["jobId"] for item in jobs]
    assert job["status"] == "SUCCEEDED"


def test_an_empty_night_needs_less_than_the_memory_of_the_job_definition(docker: Docker, aws: Any, stack: Any) -> None:
    [definition] = [
        resource["Properties"]
        for resource in json.loads((PROJECT / "build/on_demand/Transcription.template.json").read_text())[
            "Resources"
        ].values()
        if resource["Type"] == "AWS::Batch::JobDefinition" and "Ref::time" in json.dumps(resource)
    ]
    [task] = definition["EcsProperties"]["TaskProperties"]
    needs = {need["Type"]: need["Value"] for need in task["Containers"][0]["ResourceRequirements"]}
    assert f"{needs['MEMORY']}m" == MEMORY
    job = wait_for(aws, stack.schedule.fire(NIGHT.replace(day=27)), "SUCCEEDED", "FAILED")
    assert job["status"] == "SUCCEEDED", log_of(aws, stack, job)
    assert "No recording waits" in log_of(aws, stack, job)
