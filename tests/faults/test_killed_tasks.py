"""Tasks as processes of their own, which are killed.

`submit` is, around the one call that costs money: one job comes of it.
`plan` is, under its lock: its next attempt goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from tests.faults.runs import Run
from tests.worker.proxy import Call, Proxy, Reset, proxied
from transcription import array_job
from transcription_contract import layout

SUBMIT_JOB = "submitjob"  # the path's last part
# Airflow is imported once, and each attempt is forked from there.
PROCESSES = multiprocessing.get_context("forkserver")


class Store:
    """Airflow's task state store, in a file: it outlives the process.

    Args:
        deadly: The process is killed when it is about to store something.
    """

    def __init__(self, path: Path, deadly: bool) -> None:
        self.path = path
        self.deadly = deadly

    def get(self, key: str) -> Any:
        return json.loads(self.path.read_text())[key] if self.path.exists() else None

    def set(self, key: str, value: Any) -> None:
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        self.path.write_text(json.dumps({key: value}))


def submit(run_id: str, plan: dict[str, Any], variables: dict[str, str], store: Store) -> None:
    """What Airflow's worker process does for the task."""
    from airflow.providers.amazon.aws.links.batch import BatchJobDetailsLink

    from transcription.submission import SubmitOnce

    os.environ.update(variables)
    BatchJobDetailsLink.persist = lambda **_: None  # type: ignore[method-assign]
    context = {"run_id": run_id, "params": {}, "task_state_store": store, "ti": None, "task_instance": None}
    SubmitOnce(task_id="submit", plan=plan).execute(context)  # type: ignore[arg-type]


def plan(name: str, folder: str, variables: dict[str, str]) -> None:
    """The same for the task `plan`."""
    os.environ.update(variables)
    assert Run(SimpleNamespace(client=boto3.client), name, prefix=folder).plan() == 1


@dataclass
class Task:
    """The task `submit` of one run, whose calls to AWS go through a proxy."""

    batch: Any
    queue: str
    proxy: Proxy
    address: str
    run_id: str
    store: Path
    plan: dict[str, Any]
    process: Any = field(default=None)

    def attempt(self, *, deadly_store: bool = False) -> int:
        """Run the task in a new process; return its exit code, which is negative if it was killed."""
        variables = {**os.environ, "AWS_ENDPOINT_URL": self.address}
        arguments = (self.run_id, self.plan, variables, Store(self.store, deadly_store))
        self.process = PROCESSES.Process(target=submit, args=arguments)
        self.process.start()
        self.process.join(120)
        return int(self.process.exitcode)

    def kill(self, call: Call) -> None:
        """A proxy's fault: the process is killed at its SubmitJob."""
        if call.key == SUBMIT_JOB:
            os.kill(self.process.pid, signal.SIGKILL)
            raise Reset

    def lose_answer(self, call: Call) -> None:
        """A proxy's fault: the answer of SubmitJob never arrives."""
        if call.key == SUBMIT_JOB:
            raise Reset

    def calm(self) -> None:
        self.proxy.before = self.proxy.after = lambda call: None

    def submissions(self) -> int:
        return [call.key for call in self.proxy.calls].count(SUBMIT_JOB)

    def live_jobs(self) -> list[str]:
        name = f"transcription-{layout.run_folder(self.run_id)}-*"
        listed = self.batch.list_jobs(jobQueue=self.queue, filters=[{"name": "JOB_NAME", "values": [name]}])
        return [job["jobId"] for job in listed["jobSummaryList"] if job["status"] in array_job.ACTIVE]

    def stored_job(self) -> str:
        return str(json.loads(self.store.read_text())["batch_job"]["id"])


@pytest.fixture(scope="module")
def preloaded() -> None:
    """The process that attempts are forked from, with all imported that they need."""
    PROCESSES.set_forkserver_preload(["transcription.submission"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Python 3.12.1 does not tell it the path
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
    """A run that is planned, with children that only sleep."""
    batch = aws.client("batch")
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}]
    container = {"name": "worker", "image": "worker", "command": ["sleep", "60"], "resourceRequirements": sizes}
    batch.register_job_definition(
        jobDefinitionName="sleeper",
        type="container",
        ecsProperties={"taskProperties": [{"containers": [container]}]},
    )
    monkeypatch.setenv("AIRFLOW__TRANSCRIPTION__JOB_DEFINITION", "sleeper")
    run_id = f"manual__{request.node.name}"
    plan = {
        "planned": datetime.now(UTC).isoformat(),
        "digest": "0123456789abcdef",
        "files": 2,
        "children": 2,
        "manifest_prefix": layout.manifest_prefix(run_id),
        "dry_run": False,
    }
    queue = deployed.airflow_options["transcription.job_queue"]
    with proxied(aws.endpoint) as (proxy, address):
        task = Task(batch, queue, proxy, address, run_id, tmp_path / "store.json", plan)
        yield task
        for job in task.live_jobs():
            batch.terminate_job(jobId=job, reason="The test is over.")


def test_a_plan_that_is_killed_under_the_lock_is_made_by_its_next_attempt(
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


def killed_before(task: Task) -> int:
    task.proxy.before = task.kill  # type: ignore[assignment]
    return task.attempt()


def killed_after(task: Task) -> int:
    task.proxy.after = task.kill
    return task.attempt()


def killed_at_the_store(task: Task) -> int:
    return task.attempt(deadly_store=True)


@pytest.mark.parametrize(
    ("killed", "accepted"),
    [
        pytest.param(killed_before, 0, id="before-batch-is-asked"),
        pytest.param(killed_after, 1, id="before-the-answer-arrives"),
        pytest.param(killed_at_the_store, 1, id="before-the-job-is-stored"),
    ],
)
def test_a_submit_that_is_killed_leaves_one_job_which_its_next_attempt_adopts(
    task: Task, killed: Callable[[Task], int], accepted: int
) -> None:
    assert killed(task) == -signal.SIGKILL
    assert not task.store.exists()
    before = task.live_jobs()
    assert len(before) == accepted
    task.calm()
    assert task.attempt() == 0
    assert task.live_jobs() == [task.stored_job()]
    assert before in ([], [task.stored_job()])


def test_an_answer_that_is_lost_costs_an_attempt_and_no_second_job(task: Task) -> None:
    task.proxy.after = task.lose_answer
    assert task.attempt() == 1
    assert task.submissions() == 1, "botocore must not ask again"
    task.calm()
    assert task.attempt() == 0
    assert task.live_jobs() == [task.stored_job()]
    assert task.submissions() == 1
