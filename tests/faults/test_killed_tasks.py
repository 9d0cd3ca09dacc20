"""Tasks run as separate processes, and the tests kill them.

They kill `submit` before or after its SubmitJob request: there is always exactly one job.
They kill `plan` while it holds the lock: its next attempt writes the plan.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from tests.faults.runs import Run
from tests.plans import plan_summary, register_job
from tests.worker.proxy import Call, Proxy, Reset, proxied
from transcription import batch_jobs
from transcription_contract import layout

SUBMIT_JOB = "submitjob"  # the last part of the request's path
# The fork server imports Airflow once, and each attempt is a fork of it.
PROCESSES = multiprocessing.get_context("forkserver")


class Store:
    """Airflow's task state store in a file, so that it survives the process.

    Args:
        path: The file.
        kill_on_set: Kill the process instead of storing a value.
    """

    def __init__(self, path: Path, kill_on_set: bool) -> None:
        self.path = path
        self.kill_on_set = kill_on_set

    def get(self, key: str) -> Any:
        return json.loads(self.path.read_text())[key] if self.path.exists() else None

    def set(self, key: str, value: Any) -> None:
        if self.kill_on_set:
            os.kill(os.getpid(), signal.SIGKILL)
        self.path.write_text(json.dumps({key: value}))


def submit(run_id: str, plan: dict[str, Any], variables: dict[str, str], store: Store) -> None:
    """Run the task `submit`, as Airflow's worker process does."""
    from airflow.providers.amazon.aws.links.batch import BatchJobDetailsLink

    from transcription.tasks.submit import SubmitOnce

    os.environ.update(variables)
    BatchJobDetailsLink.persist = lambda **_: None  # type: ignore[method-assign]
    context = {"run_id": run_id, "params": {}, "task_state_store": store, "ti": None, "task_instance": None}
    SubmitOnce(task_id="submit", plan=plan).execute(context)  # type: ignore[arg-type]


def plan(name: str, folder: str, variables: dict[str, str]) -> None:
    """Run the task `plan`, as Airflow's worker process does."""
    os.environ.update(variables)
    assert Run(SimpleNamespace(client=boto3.client), name, prefix=folder).plan() == 1


@dataclass
class Task:
    """The task `submit` of one run. Its calls to AWS go through a proxy."""

    batch: Any
    queue: str
    proxy: Proxy
    address: str
    run_id: str
    store: Path
    plan: dict[str, Any]
    process: Any = field(default=None)

    def attempt(self, *, kill_on_set: bool = False) -> int:
        """Run the task in a new process. Return its exit code, which is negative if a signal killed it."""
        variables = {**os.environ, "AWS_ENDPOINT_URL": self.address}
        arguments = (self.run_id, self.plan, variables, Store(self.store, kill_on_set))
        self.process = PROCESSES.Process(target=submit, args=arguments)
        self.process.start()
        self.process.join(120)
        return int(self.process.exitcode)

    def kill(self, call: Call) -> None:
        """Kill the process at its SubmitJob request. The proxy calls this."""
        if call.key == SUBMIT_JOB:
            os.kill(self.process.pid, signal.SIGKILL)
            raise Reset

    def drop_response(self, call: Call) -> None:
        """Drop the response to SubmitJob. The proxy calls this."""
        if call.key == SUBMIT_JOB:
            raise Reset

    def remove_faults(self) -> None:
        self.proxy.before = self.proxy.after = lambda call: None

    def submissions(self) -> int:
        return [call.key for call in self.proxy.calls].count(SUBMIT_JOB)

    def active_jobs(self) -> list[str]:
        name = f"transcription-{layout.run_folder(self.run_id)}-*"
        listed = self.batch.list_jobs(jobQueue=self.queue, filters=[{"name": "JOB_NAME", "values": [name]}])
        return [job["jobId"] for job in listed["jobSummaryList"] if job["status"] in batch_jobs.ACTIVE]

    def stored_job(self) -> str:
        return str(json.loads(self.store.read_text())["batch_job"]["id"])


@pytest.fixture(scope="module")
def preloaded() -> None:
    """Start the fork server with all imports that the attempts need."""
    PROCESSES.set_forkserver_preload(["transcription.tasks.submit"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Python 3.12.1 does not pass sys.path to it
        forkserver.ensure_running()


@pytest.fixture
def task(
    aws: Any,
    deployed: Any,
    preloaded: None,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Task]:
    """A planned run whose children only sleep."""
    batch = aws.client("batch")
    register_job(batch, "sleep", "60")
    monkeypatch.setenv("AIRFLOW__TRANSCRIPTION__JOB_DEFINITION", "sleeper")
    run_id = f"manual__{request.node.name}"
    prefix = layout.manifest_prefix(run_id)
    for index in range(2):
        aws.client("s3").put_object(Bucket=deployed.outputs["BucketName"], Key=layout.manifest_key(prefix, index))
    plan = plan_summary(prefix, files=2, children=2)
    queue = deployed.airflow_options["transcription.job_queue"]
    with proxied(aws.endpoint) as (proxy, address):
        task = Task(batch, queue, proxy, address, run_id, tmp_path / "store.json", plan)
        yield task
        for job in task.active_jobs():
            batch.terminate_job(jobId=job, reason="The test is over.")


def test_the_next_attempt_of_a_plan_task_that_was_killed_with_the_lock_writes_the_plan(
    aws: Any, deployed: Any, preloaded: None
) -> None:
    s3, bucket = aws.client("s3"), deployed.outputs["BucketName"]
    s3.put_object(Bucket=bucket, Key="input/killed plan/a.wav", Body=b"x")
    manifest = Run(aws, "killed-plan").manifest_prefix + "0"

    def keys() -> list[str]:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=layout.MANIFESTS).get("Contents", ())
        return [item["Key"] for item in listed if item["Key"] in (manifest, layout.PLAN_LOCK)]

    def kill(call: Call) -> None:
        if (call.method, call.key) == ("PUT", manifest):
            os.kill(process.pid, signal.SIGKILL)
            raise Reset

    with proxied(aws.endpoint) as (proxy, address):
        proxy.before = kill  # type: ignore[assignment]
        arguments = ("killed-plan", "killed plan/", {**os.environ, "AWS_ENDPOINT_URL": address})
        process: Any = PROCESSES.Process(target=plan, args=arguments)
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        assert keys() == [layout.PLAN_LOCK]
        proxy.before = lambda call: None
        process = PROCESSES.Process(target=plan, args=arguments)
        process.start()
        process.join(120)
        assert process.exitcode == 0
        assert keys() == [manifest]
    s3.delete_object(Bucket=bucket, Key="input/killed plan/a.wav")
    s3.delete_object(Bucket=bucket, Key=manifest)


def kill_before_the_request(task: Task) -> int:
    task.proxy.before = task.kill  # type: ignore[assignment]
    return task.attempt()


def kill_before_the_response(task: Task) -> int:
    task.proxy.after = task.kill
    return task.attempt()


def kill_before_storing(task: Task) -> int:
    return task.attempt(kill_on_set=True)


@pytest.mark.parametrize(
    ("kill", "accepted"),
    [
        pytest.param(kill_before_the_request, 0, id="before-the-request"),
        pytest.param(kill_before_the_response, 1, id="before-the-response"),
        pytest.param(kill_before_storing, 1, id="before-the-job-id-is-stored"),
    ],
)
def test_the_next_attempt_of_a_killed_submit_adopts_its_job_or_submits_the_only_one(
    task: Task, kill: Callable[[Task], int], accepted: int
) -> None:
    assert kill(task) == -signal.SIGKILL
    assert not task.store.exists()
    before = task.active_jobs()
    assert len(before) == accepted
    task.remove_faults()
    assert task.attempt() == 0
    assert task.active_jobs() == [task.stored_job()]
    assert before in ([], [task.stored_job()])


def test_a_lost_response_fails_the_attempt_but_creates_no_second_job(task: Task) -> None:
    task.proxy.after = task.drop_response
    assert task.attempt() == 1
    assert task.submissions() == 1, "botocore must not retry"
    task.remove_faults()
    assert task.attempt() == 0
    assert task.active_jobs() == [task.stored_job()]
    assert task.submissions() == 1
