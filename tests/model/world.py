"""Runs of the pipeline on an AWS in memory, and the actions of users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.model import pipeline
from tests.model.memory_batch import Batch, Job
from tests.model.memory_s3 import START, Clock, Store, Version
from tests.model.processes import Killed, Process

USER = "user"
TRIES = 3  # per task
RETRY_SECONDS = 30.0
MAX_CALLS = 20_000  # per run; a run with more calls never ends
ALWAYS = (START - timedelta(days=1), START + timedelta(days=1000))

_TASKS = ("sense_input", "plan", "submit", "wait", "verify")


@dataclass
class Run:
    """A run of the DAG."""

    id: str
    context: dict[str, Any]
    process: Process | None = None
    task: str = "sense_input"
    tries: int = 0
    state: str = ""
    """Empty while it runs; then green, red or skipped, or abandoned after a failure of Airflow."""
    error: BaseException | None = None
    plan: Any = None
    job_id: str | None = None
    planned: list[pipeline.Planned] = field(default_factory=list)
    plan_id: str = ""
    planned_at: int = 0
    """Number of writes to the bucket before the end of `plan`."""
    disturbed: bool = False
    """Whether another action happened during the run."""
    models: tuple[int, int] = (0, 0)
    """The first and the last version of the model during the run."""
    ended_at: int = 0
    """Number of writes to the bucket before the end of the run."""

    @property
    def beam(self) -> int:
        return int(self.context["params"].get(pipeline.BEAM) or 0)

    @property
    def formats(self) -> tuple[str, ...]:
        return tuple(self.context["params"].get(pipeline.FORMATS) or ())


class World:
    """The bucket, the queue, the runs and the users.

    No process runs in the background: only these methods let processes continue, so a test decides the order.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Store(self.clock)
        self.batch = Batch(self.clock, pipeline.work, f"s3://{self.store.name}/{pipeline.MODEL_KEY}")
        self.runs: list[Run] = []
        self.model = 0
        pipeline.use(self.clock, self.store, self.batch)
        self.replace_model()

    def close(self) -> None:
        """End every process."""
        for run in self.runs:
            if run.process is not None:
                run.process.kill()
        for job in self.batch.jobs.values():
            self.batch.terminate(job)

    # Users' actions.

    def put(self, key: str, body: bytes) -> Version:
        self.clock.advance(1)
        return self.store.put(key, body, writer=USER, metadata={}, headers={})

    def delete(self, key: str) -> None:
        self.clock.advance(1)
        self.store.delete(key, writer=USER)

    def replace_model(self) -> None:
        self.model += 1
        self.store.put(pipeline.MODEL_KEY, pipeline.model_file(self.model), writer=USER, metadata={}, headers={})
        for run in self.active:
            run.models = (run.models[0], self.model)

    # Runs.

    @property
    def active(self) -> list[Run]:
        return [run for run in self.runs if not run.state]

    @property
    def active_jobs(self) -> list[Job]:
        return [job for job in self.batch.jobs.values() if job.is_active]

    def start(self, run_id: str, interval: tuple[datetime, datetime] | None, params: Mapping[str, Any]) -> Run:
        """Start a run. If the backfill exists, clear it and give it the new params, as Airflow does."""
        run = next((run for run in self.runs if run.id == run_id), None)
        if run is None:
            run = Run(run_id, pipeline.context(run_id, interval, params))
            self.runs.append(run)
            self._begin(run)
        else:
            run.context["params"].update(pipeline.context(run_id, interval, params)["params"])
            self.clear(run)
        return run

    def clear(self, run: Run) -> None:
        """Clear all tasks of a run that has ended."""
        assert run.state
        run.task, run.tries, run.plan, run.job_id = "sense_input", 0, None, None
        was_abandoned = run.state == "abandoned"
        if was_abandoned:  # what starts the run again knows nothing of it
            run.context["task_state_store"].clear()
        run.state, run.planned, run.error = "", [], None
        # A run that goes on with its plan may meet what happened since.
        disturbed_before = was_abandoned and run.disturbed
        self._begin(run)
        run.disturbed |= disturbed_before

    def _begin(self, run: Run) -> None:
        others = [other for other in self.active if other is not run]
        for other in others:
            other.disturbed = True
        run.disturbed = bool(others or self.active_jobs or self.store.denied)
        run.models = (self.model, self.model)
        run.process = self._airflow(run)

    def _airflow(self, run: Run) -> Process:
        self.clock.advance(1)
        return Process(run.id, self.clock, lambda: self._tasks(run))

    def _tasks(self, run: Run) -> None:
        """Run the remaining tasks of a run. Retry a task if its error allows it."""
        while not run.state:
            try:
                getattr(self, f"_{run.task}")(run)
            except pipeline.Skipped:
                run.state = "skipped"
            except pipeline.Failed as error:
                self._task_failed(run, error)
            except Exception as error:
                self._retry(run, error)
            else:
                run.tries = 0

    def _retry(self, run: Run, error: BaseException) -> None:
        run.tries += 1
        self.clock.advance(RETRY_SECONDS)
        if run.tries >= TRIES:
            self._task_failed(run, error)

    def _task_failed(self, run: Run, error: BaseException) -> None:
        run.tries = 0
        run.error = error
        if run.task in ("sense_input", "plan", "verify"):
            run.state = "red"
        run.task = "verify"

    def _sense_input(self, run: Run) -> None:
        if not pipeline.sense_input(run.context):
            run.state = "skipped"
        run.task = "plan"

    def _plan(self, run: Run) -> None:
        run.plan = pipeline.plan(run.context)
        run.planned = pipeline.planned(self.store, run.plan)
        if run.plan["plan_id"] != run.plan_id:  # otherwise it goes on with its earlier plan
            run.plan_id, run.planned_at = run.plan["plan_id"], self.store.number
        run.task = "submit"

    def _submit(self, run: Run) -> None:
        run.job_id = pipeline.submit(run.plan, run.context)
        run.task = "wait"

    def _wait(self, run: Run) -> None:
        job = self.batch.jobs[str(run.job_id)]
        while job.is_active:
            assert run.process is not None
            run.process.wait()
        run.task = "verify"

    def _verify(self, run: Run) -> None:
        pipeline.verify(run.plan, run.job_id, run.context)
        run.state = "green"

    # Steps.

    def next_call(self, run: Run) -> tuple[str, str] | None:
        """The operation and key of the run's next call, or None if the run has ended."""
        job = self._job_in_turn(run)
        if job:
            child = next(child for child in job.children if child.status in ("RUNNABLE", "RUNNING"))
            return self.batch.process(job, child).next_call
        return run.process.next_call if run.process is not None and not run.state else None

    def step(self, run: Run) -> bool:
        """Let a run or its job make one call. Return whether there was one to make."""
        job = self._job_in_turn(run)
        if job:
            self.batch.step(job)
            return True
        if run.state or run.process is None:
            return False
        run.process.step()
        self._record_end(run)
        return True

    def finish(self, run: Run) -> None:
        calls = 0
        while self.step(run):
            calls += 1
            assert calls < MAX_CALLS, f"{run.id} does not end"

    def kill(self, run: Run) -> None:
        """Kill the running process of a run or its job. Airflow or Batch starts it again."""
        run.disturbed = True
        job = self._job_in_turn(run)
        if job:
            self.batch.kill(job)
        elif run.process is not None and not run.state:
            run.process.kill()
            self._retry(run, Killed())
            if not run.state:
                run.process = self._airflow(run)
            run.ended_at = self.store.number

    def abandon(self, run: Run) -> None:
        """End the run as if Airflow lost it. Its job continues."""
        if not run.state and run.process is not None:
            run.process.kill()
            run.state = "abandoned"

    def repeat_call(self, run: Run) -> None:
        """Lose the response to the run's next call, so that the SDK sends the call again."""
        run.disturbed = True
        job = self._job_in_turn(run)
        process = job.children[0].process if job else run.process
        if process is not None:
            process.repeats = True

    def verify_again(self, run: Run) -> None:
        """Run the task `verify` of an ended run again."""
        run.state, run.task, run.tries, run.error = "", "verify", 0, None
        run.process = self._airflow(run)
        self.finish(run)

    def _record_end(self, run: Run) -> None:
        process = run.process
        if process is not None and process.ended:
            if process.error:
                raise process.error
            run.ended_at = self.store.number

    def _job_in_turn(self, run: Run) -> Job | None:
        """The run's active job, if the run waits for it."""
        is_waiting = run.process is not None and run.process.next_call[0] == "Wait" and not run.state
        if not (is_waiting or run.state == "abandoned"):
            return None
        job = self.batch.jobs.get(str(run.job_id))
        if job is None and run.state == "abandoned":
            job = next((job for job in self.active_jobs if run.id in job.name), None)
        return job if job and job.is_active else None
