"""The container that runs the DAG is killed at every step of a run, and started again by Batch on an empty database.

The schedule starts each run on the local AWS, with real Airflow and real workers. Its requests pass a proxy, which
kills the container before or after one of them. The tests judge by the bucket and by Batch: one job for the run, one
final report, all recordings transcribed.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from benchmark.document import ROOT, table, write
from local_aws.containers import PROJECT
from tests.on_demand.conftest import Deployed
from tests.on_demand.faulty_containers import FaultyContainers
from tests.worker.proxy import Call, Proxy, Reset, proxied
from transcription_contract import layout

RECORDINGS = sorted((PROJECT / "tests" / "recordings").glob("*.wav"))[:4]
FIRST_NIGHT = datetime(2026, 3, 1, 1, tzinfo=UTC)
DEADLINE = 1800.0  # many trials at once on a busy machine
ENDED = ("SUCCEEDED", "FAILED")
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}
CODES = {"SIGKILL": 137, "SIGTERM": 143}

Step = Callable[[Sequence[Call]], bool]
"""Whether the newest request belongs to the step, by all requests so far."""


def request(method: str, ending: str) -> Step:
    return lambda calls: (calls[-1].method, calls[-1].key.endswith(ending)) == (method, True)


def manifest(calls: Sequence[Call]) -> bool:
    key = calls[-1].key
    return calls[-1].method == "PUT" and key.startswith(layout.MANIFESTS) and key != layout.PLAN_LOCK


def look(calls: Sequence[Call]) -> bool:
    """`wait` looks at the job."""
    return calls[-1].key == "describejobs" and "submitjob" in [call.key for call in calls]


def after_report(number: int) -> Step:
    """The request of this number after the report's totals: the metrics, the event, the mail, the deletion."""

    def step(calls: Sequence[Call]) -> bool:
        keys = [call.key.endswith("totals.json") and call.method == "PUT" for call in calls]
        if not any(keys) or (calls[-1].method, calls[-1].key) != ("POST", ""):
            return False
        later = calls[keys.index(True) :]
        return [(call.method, call.key) for call in later].count(("POST", "")) == number

    return step


STEPS: dict[str, Step] = {
    "look at own job": request("POST", "describejobs"),
    "lock PUT": request("PUT", layout.PLAN_LOCK),
    "plan PUT": request("PUT", "plan.json"),
    "manifest PUT": manifest,
    "lock DELETE": request("DELETE", layout.PLAN_LOCK),
    "SubmitJob": request("POST", "submitjob"),
    "wait": look,
    "wait, half is done": look,
    "wait, all ends meanwhile": look,
    "entries PUT": request("PUT", "entries.jsonl"),
    "report PUT": request("PUT", "report.json"),
    "totals PUT": request("PUT", "totals.json"),
    "data set PUT": request("PUT", ".jsonl.gz"),
    "search index PUT": request("PUT", layout.SEARCH_INDEX),
    "metrics": after_report(1),
    "event": after_report(2),
    "mail": after_report(3),
    "manifest DELETE": after_report(4),
}
HALF, MEANWHILE = "wait, half is done", "wait, all ends meanwhile"


@dataclass
class Trial:
    """A run whose container is killed once, before or after a request."""

    number: int
    step: str
    sent: str
    after: bool
    model: str = ""
    """A model whose file no worker has, so that the run's job fails."""
    job_id: str = ""
    killed: threading.Event = field(default_factory=threading.Event)
    problems: list[str] = field(default_factory=list)

    @property
    def time(self) -> datetime:
        return FIRST_NIGHT + timedelta(days=self.number)

    @property
    def folder(self) -> str:
        return f"trial {self.number}/"

    @property
    def name(self) -> str:
        failed = ", its job fails" if self.model else ""
        return f"{self.sent} {'after' if self.after else 'before'} {self.step}{failed}"

    def run_prefix(self) -> str:
        return layout.run_folder(f"manual__{self.time.isoformat()}")


def trials() -> list[Trial]:
    """Each step with SIGKILL or SIGTERM, before or after it; with FAULT_EVERY=1 each step with all four."""
    every = "FAULT_EVERY" in os.environ
    chosen: list[tuple[str, str, bool, str]] = []
    for number, step in enumerate(STEPS):
        if every:
            chosen += [(step, sent, after, "") for sent in SIGNALS for after in (False, True)]
        else:
            chosen.append((step, "SIGTERM" if number % 4 == 3 else "SIGKILL", number % 2 == 1, ""))
    chosen += [(step, "SIGKILL", True, "deepspeech-0.9.3-en") for step in ("report PUT", "mail")]
    return [Trial(number, *given) for number, given in enumerate(chosen)]


def container_of(job_id: str) -> psutil.Process:
    """The first process of the job's container."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("AWS_BATCH_JOB_ID") == job_id and process.cmdline()[2:3] == ["orchestrator"]:
                return process
        except (psutil.Error, IndexError):
            continue
    raise AssertionError(f"no container of {job_id}")


def has_not_ended(process: psutil.Process) -> bool:
    """Whether the process lives. The local Batch reaps it, so this must not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Killer:
    """Kills a trial's container at its step, once."""

    def __init__(self, trial: Trial, proxy: Proxy, is_time: Callable[[], bool]) -> None:
        self.trial = trial
        self.proxy = proxy
        self.is_time = is_time
        proxy.before = self.before  # type: ignore[assignment]
        proxy.after = self.after

    def before(self, call: Call) -> None:
        if not self.trial.after:
            self.kill_at_step()

    def after(self, call: Call) -> None:
        if self.trial.after:
            self.kill_at_step()

    def kill_at_step(self) -> None:
        trial = self.trial
        if trial.killed.is_set() or not STEPS[trial.step](list(self.proxy.calls)) or not self.is_time():
            return
        process = container_of(trial.job_id)
        if trial.sent == "SIGKILL":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.terminate()
        trial.killed.set()
        while has_not_ended(process):
            time.sleep(0.01)
        raise Reset


@dataclass
class World:
    """The local AWS with the stack, on which all trials run at the same time."""

    aws: Any
    stack: Any
    runtime: FaultyContainers

    @property
    def bucket(self) -> str:
        return str(self.stack.outputs["BucketName"])

    def keys(self, prefix: str) -> list[str]:
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", ())]

    def jobs(self, trial: Trial) -> list[dict[str, Any]]:
        """The children's jobs of a run."""
        listed = self.aws.client("batch").list_jobs(
            jobQueue=self.stack.airflow_options["transcription.job_queue"],
            filters=[{"name": "JOB_NAME", "values": [f"transcription-{trial.run_prefix()}-*"]}],
        )
        return list(listed["jobSummaryList"])

    def done(self, trial: Trial) -> int:
        return len(self.keys(layout.PROCESSED + trial.folder))

    def start(self, trial: Trial, stack: ExitStack) -> None:
        for path in RECORDINGS:
            self.aws.client("s3").upload_file(str(path), self.bucket, f"{layout.INPUT}{trial.folder}{path.name}")
        self._fault(trial, stack)
        trial.job_id = self.fire(trial)

    def fire(self, trial: Trial) -> str:
        """Fire the schedule, with the trial's params as a run by hand has them."""
        params = {"prefix": trial.folder, **({"model": trial.model} if trial.model else {})}
        return str(self.stack.schedule.fire(trial.time, conf=json.dumps(params)))

    def _fault(self, trial: Trial, stack: ExitStack) -> None:
        proxy, address = stack.enter_context(proxied(self.aws.endpoint))
        argument = f"{trial.time:%Y-%m-%dT%H:%M:%SZ}"
        self.runtime.addresses[argument] = address
        is_time: Callable[[], bool] = lambda: True  # noqa: E731
        if trial.step == HALF:
            child, child_address = stack.enter_context(proxied(self.aws.endpoint))
            child.s3 = self.aws.client("s3")
            child.before = self._hold_third(trial)  # type: ignore[assignment]
            self.runtime.addresses[layout.manifest_prefix(f"manual__{trial.time.isoformat()}")] = child_address
            is_time = lambda: self.done(trial) >= 2  # noqa: E731
        if trial.step == MEANWHILE:
            self.runtime.waits[argument] = lambda: self.wait_for(
                lambda: all(job["status"] in ENDED for job in self.jobs(trial))
            )
        Killer(trial, proxy, is_time)

    def _hold_third(self, trial: Trial) -> Callable[[Call], None]:
        """Hold the copies after the second one until the orchestrator was killed."""
        copies: list[str] = []

        def hold(call: Call) -> None:
            if call.is_copy and call.key not in copies:
                copies.append(call.key)
                if len(copies) > 2:
                    trial.killed.wait(DEADLINE)

        return hold

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.aws.client("batch").describe_jobs(jobs=[job_id])["jobs"][0])

    def exit_codes(self, job_id: str) -> list[int]:
        attempts = self.job(job_id)["attempts"]
        return [attempt["taskProperties"][0]["containers"][0]["exitCode"] for attempt in attempts]

    def check(self, trial: Trial) -> None:
        expected = {"transcribed": 0, "missing": len(RECORDINGS)} if trial.model else {"transcribed": len(RECORDINGS)}
        result = 1 if trial.model else 0
        self._expect(trial, "the container was killed", trial.killed.is_set(), True)
        self._expect(trial, "exit codes", self.exit_codes(trial.job_id), [CODES[trial.sent], result])
        self._expect(trial, "jobs of the run", len(self.jobs(trial)), 1)
        keys = self.keys(f"{layout.RUNS}{trial.run_prefix()}/")
        reports = [key for key in keys if key.endswith("/report.json")]
        self._expect(trial, "reports", len(reports), 1)
        indexes = [key for key in keys if layout.is_search_index(key)]
        self._expect(trial, "search indexes", len(indexes), 1)
        for key in reports:
            report = json.loads(self.aws.client("s3").get_object(Bucket=self.bucket, Key=key)["Body"].read())
            files = {state: count for state, count in report["totals"]["files"].items() if state in expected}
            self._expect(trial, "report", (files, report["final"]), (expected, True))
        waiting = len(self.keys(layout.INPUT + trial.folder))
        self._expect(trial, "waiting", waiting, len(RECORDINGS) if trial.model else 0)
        self._expect(trial, "manifests left", self.keys(layout.MANIFESTS + trial.run_prefix()), [])

    def _expect(self, trial: Trial, what: str, found: Any, expected: Any) -> None:
        if found != expected:
            trial.problems.append(f"{what}: {found}, expected {expected}")


@pytest.fixture(scope="module")
def world(deployed: Deployed, runtime: FaultyContainers) -> World:
    return World(deployed.aws, deployed.stack, runtime)


@pytest.fixture(scope="module")
def finished(world: World) -> list[Trial]:
    """All trials, after their end."""
    chosen = trials()
    with ExitStack() as stack:
        for trial in chosen:
            world.start(trial, stack)
        world.wait_for(lambda: all(world.job(trial.job_id)["status"] in ENDED for trial in chosen))
    for trial in chosen:
        world.check(trial)
    if "FAULT_TABLES" in os.environ:
        write_tables(chosen)
    return chosen


def write_tables(chosen: Sequence[Trial]) -> None:
    """Write the figures into docs/faults.md and README.md."""
    head = ("the container that runs the DAG gets", "steps", "trials", "second job", "no or wrong report", "lost")
    rows = []
    for sent in SIGNALS:
        mine = [trial for trial in chosen if trial.sent == sent]
        words = ("jobs of the run", "report", "waiting")
        wrong = [sum(any(line.startswith(word) for line in trial.problems) for trial in mine) for word in words]
        rows.append((sent, f"{len({trial.step for trial in mine})} of {len(STEPS)}", len(mine), *wrong))
    for page in ("docs/faults.md", "README.md"):
        write("orchestrator faults", table(head, rows), [(trial.name, trial.problems) for trial in chosen], ROOT / page)


def test_a_run_whose_container_is_killed_at_any_step_ends_with_one_job_and_the_right_report(
    finished: list[Trial],
) -> None:
    assert {trial.name: trial.problems for trial in finished if trial.problems} == {}
    assert {trial.step for trial in finished} == set(STEPS)


def test_two_starts_of_one_night_make_one_run(world: World) -> None:
    trial = Trial(1000, "", "", False)
    for path in RECORDINGS:
        world.aws.client("s3").upload_file(str(path), world.bucket, f"{layout.INPUT}{trial.folder}{path.name}")
    starts = [world.fire(trial), world.fire(trial)]
    world.wait_for(lambda: all(world.job(job_id)["status"] in ENDED for job_id in starts))
    later = world.fire(trial)
    world.wait_for(lambda: world.job(later)["status"] in ENDED)
    assert [world.job(job_id)["status"] for job_id in (*starts, later)] == ["SUCCEEDED"] * 3
    assert [world.exit_codes(job_id) for job_id in (*starts, later)] == [[0]] * 3
    assert len(world.jobs(trial)) == 1
    reports = [key for key in world.keys(f"{layout.RUNS}{trial.run_prefix()}/") if key.endswith("/report.json")]
    assert len(reports) == 1
    assert world.done(trial) == len(RECORDINGS)


def test_the_run_does_not_wait_in_the_queue_that_its_children_fill(world: World) -> None:
    """Every slot of the children's queue is taken."""
    batch, queue = world.aws.client("batch"), world.stack.airflow_options["transcription.job_queue"]
    container = {
        "name": "worker",
        "image": "worker",
        "command": ["sleep", "600"],
        "environment": [{"name": "MANIFEST_PREFIX", "value": "none"}],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
    }
    batch.register_job_definition(
        jobDefinitionName="filler", type="container", ecsProperties={"taskProperties": [{"containers": [container]}]}
    )
    fillers = [batch.submit_job(jobName="filler", jobQueue=queue, jobDefinition="filler")["jobId"] for _ in range(3)]
    world.wait_for(lambda: all(world.job(job_id)["status"] == "RUNNING" for job_id in fillers))
    trial = Trial(1001, "", "", False)
    job_id = world.fire(trial)
    world.wait_for(lambda: world.job(job_id)["status"] in ENDED)
    assert world.exit_codes(job_id) == [0]
    for filler in fillers:
        batch.terminate_job(jobId=filler, reason="The test is over.")
