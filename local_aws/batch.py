"""AWS Batch on moto 5.2.5, with containers that really run.

moto keeps queues, definitions and jobs, but its jobs need a Docker daemon and miss much of what Batch
does. `BatchJob` takes the place of moto's job and restores, each from the page named:

- array children have AWS_BATCH_JOB_ARRAY_INDEX, and an environment of their own
  (https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html);
- a parent is PENDING until all its children have ended, and FAILED if one of them failed; terminating
  it terminates them; an array has 2 to 10,000 children, which a listing of the queue leaves out
  (https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html);
- failed attempts are retried as `retryStrategy` and `evaluateOnExit` say
  (https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html);
- SIGTERM, then SIGKILL after the stop timeout, for a terminated or timed-out attempt
  (https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html);
- a definition may have `ecsProperties`, with one container; its jobs take `ecsPropertiesOverride` only, and tell
  of their container in that form (https://docs.aws.amazon.com/batch/latest/userguide/multi-container-jobs.html);
- exit codes, reasons, attempts and log streams are told, for each child too
  (https://docs.aws.amazon.com/batch/latest/APIReference/API_JobDetail.html);
- a job waits in RUNNABLE until the machine has room for it.
"""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from tempfile import TemporaryDirectory
from time import monotonic, time
from typing import Any

import moto
from moto.batch import models, responses
from moto.batch.exceptions import ClientException

from local_aws.containers import Runtime, WorkerProcess

MOTO_VERSION = "5.2.5"
ARRAY_SIZES = range(2, 10_001)
_STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
_POLL_SECONDS = 0.05
_LOG_BATCH_SECONDS = 0.5
_CONTAINER_EXITED = "Essential container in task exited"
_STOP_SECONDS = 30.0  # what Batch takes where a definition says nothing


class BatchJob(models.Job):
    """A job, an array's parent, or one of its children."""

    runtime: Runtime = WorkerProcess()
    container_environment: Mapping[str, str] = {}
    slots = threading.BoundedSemaphore(2)
    most_stop_seconds = 120.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.array_index is not None:
            self.job_queue.jobs.remove(self)
        self._status = "SUBMITTED"
        self._changed = threading.Condition()
        self._container_reason: str | None = None
        self.stop = False

    @property
    def array_index(self) -> int | None:
        """The child's index; None for any other job."""
        return self.array_properties.get("index")

    @property
    def status(self) -> str:
        """The job's status now; a parent's follows from its children's."""
        if self._child_jobs is None:
            return self._status
        children = Counter(child.status for child in self._child_jobs)
        if children["SUCCEEDED"] + children["FAILED"] < len(self._child_jobs):
            return "PENDING"
        return "FAILED" if children["FAILED"] else "SUCCEEDED"

    @status.setter
    def status(self, value: str) -> None:
        self._status = value

    # What the API tells

    def describe_short(self) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "jobId": self.job_id,
            "jobArn": self.arn,
            "jobName": self.job_name,
            "jobDefinition": self.job_definition.arn,
            "createdAt": models.datetime2int_milliseconds(self.job_created_at),
            "status": self.status,
        }
        if self.array_index is not None:
            summary["arrayProperties"] = {"index": self.array_index}
        elif self._child_jobs is not None:
            summary["arrayProperties"] = {"size": len(self._child_jobs)}
        if self.attempts:
            summary["startedAt"] = self.attempts[-1]["startedAt"]
        ended = self._ended_at()
        if ended is not None:
            summary["stoppedAt"] = ended
        reason = self._status_reason()
        if reason is not None:
            summary["statusReason"] = reason
        container = self._container_end()
        if container and self._ecs_properties is None:
            summary["container"] = container
        return summary

    def describe(self) -> dict[str, Any]:
        detail = self.describe_short()
        detail |= {
            "jobQueue": self.job_queue.arn,
            "dependsOn": self.depends_on or [],
            "parameters": self.parameters,
            "tags": self.backend.list_tags_for_resource(self.arn),
            "attempts": self.attempts,
            "retryStrategy": self._retry_strategy(),
        }
        container = {**self._container_details(), **self._container_end()}
        if self._ecs_properties is None:
            detail["container"] = container
        else:
            detail["ecsProperties"] = {"taskProperties": [{"containers": [self._named(container)]}]}
        if self._child_jobs is not None:
            counts = Counter(child.status for child in self._child_jobs)
            detail["arrayProperties"] = {
                "size": len(self._child_jobs),
                "statusSummary": {status: counts[status] for status in _STATUSES},
            }
        return detail

    @property
    def _ecs_properties(self) -> dict[str, Any] | None:
        """The definition's, if it has that form."""
        properties: dict[str, Any] | None = self.job_definition.container_properties.get("ecsProperties")
        return properties

    def _named(self, container: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": self.job_definition.container_properties["name"], **container}

    def _container_end(self) -> dict[str, Any]:
        known = {"exitCode": self.exit_code, "reason": self._container_reason}
        return {key: value for key, value in known.items() if value is not None}

    def _ended_at(self) -> int | None:
        if self._child_jobs is not None and self.status in ("SUCCEEDED", "FAILED"):
            return max(child._ended_at() or 0 for child in self._child_jobs)
        return models.datetime2int_milliseconds(self.job_stopped_at) if self.job_stopped else None

    def _status_reason(self) -> str | None:
        if self._child_jobs is not None and self.status == "FAILED" and not self.stop:
            return "Array Child Job failed"
        return self.job_stopped_reason

    def _get_container_property(self, p: str, default: Any) -> Any:
        if p != "environment":
            return super()._get_container_property(p, default)
        merged = {
            item["name"]: item["value"]
            for source in (self.job_definition.container_properties, self.container_overrides)
            for item in source.get("environment", ())
        }
        return [{"name": name, "value": value} for name, value in merged.items()]

    # The life of a job

    def start(self) -> None:
        """Start the job's thread; a parent has none of its own."""
        self._status = "PENDING"
        super().start()

    def terminate(self, reason: str) -> None:
        """Stop the job, or all children of an array that have not ended."""
        for child in self._child_jobs or ():
            child.terminate(reason)
        with self._changed:
            if not self.stop and self.status not in ("SUCCEEDED", "FAILED"):
                self.stop = True
                self.job_stopped_reason = reason
            self._changed.notify_all()

    def run(self) -> None:
        """Wait for room, then run attempts until one succeeds or none is left."""
        try:
            if self.depends_on and not self._wait_for_dependencies():
                return
            self._status = "RUNNABLE"
            with self._slot() as has_room:
                if has_room:
                    self._run_attempts()
            self._end("FAILED" if self.stop or self.exit_code != 0 else "SUCCEEDED")
        except Exception as error:  # a job must end, whatever happened
            self.job_stopped_reason = f"The local AWS could not run the job: {error}"
            self._end("FAILED")

    def _run_attempts(self) -> None:
        attempts = self._retry_strategy().get("attempts", 1)
        for attempt in range(1, attempts + 1):
            self._run_attempt(attempt)
            if self.exit_code == 0 or self.stop or self._container_reason is not None:
                return
            if attempt < attempts and not self._is_retried():
                return
            if attempt < attempts:
                self._status = "RUNNABLE"

    def _run_attempt(self, number: int) -> None:
        self._status = "STARTING"
        properties = self.job_definition.container_properties
        command, environment = self.runtime.command(
            properties["image"],
            self._add_parameters_to_command(self._get_container_property("command", [])),
            {**self._given_environment(number), **self.container_environment},
        )
        record = self._begin_attempt(number)
        # A task's storage goes with it, however it ends. Not for `docker run`'s container, which has its own.
        with TemporaryDirectory(prefix="container-", ignore_cleanup_errors=True) as scratch:
            process = subprocess.Popen(
                command,
                env={**environment, "TMPDIR": scratch},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._status = "RUNNING"
            log = threading.Thread(target=self._collect_log, args=(process,), daemon=True)
            log.start()
            self._container_reason = self._watch(process)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # a container's processes end with its first
            log.join()
        self.exit_code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        record["stoppedAt"] = int(time() * 1000)
        record["statusReason"] = self.job_stopped_reason or self._container_reason or _CONTAINER_EXITED
        container = {"logStreamName": self.log_stream_name, "exitCode": self.exit_code}
        if self._ecs_properties is None:
            record["container"] = container
        else:
            record["taskProperties"] = [{"containers": [self._named(container)]}]
        if not self.stop:
            self.job_stopped_reason = record["statusReason"]

    def _given_environment(self, attempt: int) -> dict[str, str]:
        """What Batch sets beside the job's own variables."""
        environment = {item["name"]: item["value"] for item in self._get_container_property("environment", [])}
        environment |= {
            "AWS_BATCH_JOB_ID": self.job_id,
            "AWS_BATCH_JOB_ATTEMPT": str(attempt),
            "AWS_BATCH_JQ_NAME": self.job_queue.name,
            "AWS_BATCH_CE_NAME": self.job_queue.environments[0].name,
        }
        if self.array_index is not None:
            environment["AWS_BATCH_JOB_ARRAY_INDEX"] = str(self.array_index)
        return environment

    def _begin_attempt(self, number: int) -> dict[str, Any]:
        options = self.job_definition.container_properties.get("logConfiguration", {}).get("options", {})
        self._log_group = options.get("awslogs-group", "/aws/batch/job")
        prefix = options.get("awslogs-stream-prefix", self.job_definition.name)
        self.log_stream_name = f"{prefix}/default/{self.job_id.replace(':', '-')}-{number}"
        self._log_backend.ensure_log_group(self._log_group)
        self._log_backend.ensure_log_stream(self._log_group, self.log_stream_name)
        record = {"startedAt": int(time() * 1000)}
        self.job_started_at = datetime.now()  # naive, as moto's
        self.attempts.append(record)
        return record

    def _watch(self, process: subprocess.Popen[bytes]) -> str | None:
        """Wait for the end; return why Batch itself ended the attempt, if it did."""
        seconds = self._get_attempt_duration()
        deadline = monotonic() + seconds if seconds else None
        while process.poll() is None:
            timed_out = deadline is not None and monotonic() > deadline
            if self.stop or timed_out:
                self._stop_container(process)
                return "Job attempt duration exceeded timeout" if timed_out and not self.stop else None
            with self._changed:
                self._changed.wait(_POLL_SECONDS)
        return None

    def _stop_container(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            seconds = self.job_definition.container_properties.get("stopTimeout", _STOP_SECONDS)
            process.wait(min(seconds, self.most_stop_seconds))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _collect_log(self, process: subprocess.Popen[bytes]) -> None:
        """Pass the container's output on to CloudWatch Logs while it runs."""
        assert process.stdout is not None
        events: list[dict[str, Any]] = []
        sent = monotonic()

        def send() -> None:
            if events:
                self._log_backend.put_log_events(self._log_group, self.log_stream_name, list(events))
                events.clear()

        for line in process.stdout:
            events.append({"timestamp": int(time() * 1000), "message": line.decode(errors="replace").rstrip("\n")})
            if monotonic() - sent > _LOG_BATCH_SECONDS:
                send()
                sent = monotonic()
        send()

    @contextmanager
    def _slot(self) -> Iterator[bool]:
        """Room on the machine; False if the job was stopped before there was any."""
        has_room, slots = False, self.slots
        while not self.stop and not has_room:
            has_room = slots.acquire(timeout=_POLL_SECONDS)
        try:
            yield has_room
        finally:
            if has_room:
                slots.release()

    def _retry_strategy(self) -> dict[str, Any]:
        return self.job_definition.retry_strategy or {"attempts": 1}

    def _is_retried(self) -> bool:
        """The action of the first condition that matches; a failure that none matches is retried."""
        seen = {
            "onExitCode": str(self.exit_code),
            "onReason": self._container_reason or "",
            "onStatusReason": _CONTAINER_EXITED,
        }
        for condition in self._retry_strategy().get("evaluateOnExit", ()):
            patterns = {key: value for key, value in condition.items() if key != "action"}
            if all(fnmatch.fnmatchcase(seen[key].lower(), value.lower()) for key, value in patterns.items()):
                return str(condition["action"]).upper() == "RETRY"
        return True

    def _end(self, status: str) -> None:
        self.job_stopped_at = datetime.now()
        self.job_stopped = True
        self._status = status


def _submit_job(backend: Any, *args: Any, **kwargs: Any) -> Any:
    size = (kwargs.get("array_properties") or {}).get("size")
    if size is not None and size not in ARRAY_SIZES:
        raise ClientException(f"Array size {size} is not between {ARRAY_SIZES[0]} and {ARRAY_SIZES[-1]}.")
    return _moto_submit_job(backend, *args, **kwargs)


_moto_submit_job = models.BatchBackend.submit_job


def only_container(ecs_properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of the only container, as moto keeps those of a definition with `containerProperties`.

    Raises:
        ClientException: there is not one container.
    """
    containers = [container for task in ecs_properties["taskProperties"] for container in task["containers"]]
    if len(containers) != 1:
        raise ClientException(f"The local AWS runs jobs of one container, and this definition has {len(containers)}.")
    return {**containers[0], "ecsProperties": ecs_properties}


def _register_job_definition(response: Any) -> Any:
    ecs_properties = response._get_param("ecsProperties")
    if ecs_properties:
        body = json.loads(response.body)
        response.body = json.dumps({**body, "containerProperties": only_container(ecs_properties)})
    return _moto_register_job_definition(response)


_moto_register_job_definition = responses.BatchResponse.registerjobdefinition


def _submit(response: Any) -> Any:
    """A definition with `ecsProperties` takes its overrides in that form only, by the container's name."""
    definition = response.batch_backend.get_job_definition(response._get_param("jobDefinition"))
    if definition and "ecsProperties" in definition.container_properties:
        if response._get_param("containerOverrides") is not None:
            raise ClientException("A job definition with ecsProperties takes ecsPropertiesOverride.")
        for override in response._get_param("ecsPropertiesOverride", {}).get("taskProperties", ()):
            for container in override["containers"]:
                if container["name"] != definition.container_properties["name"]:
                    raise ClientException(f"The job definition has no container {container['name']}.")
                response.body = json.dumps({**json.loads(response.body), "containerOverrides": container})
    return _moto_submit(response)


_moto_submit = responses.BatchResponse.submitjob


def _describe_definition(definition: Any) -> dict[str, Any]:
    described: dict[str, Any] = _moto_describe_definition(definition)
    if "ecsProperties" in described.get("containerProperties", {}):
        described["ecsProperties"] = described.pop("containerProperties")["ecsProperties"]
    return described


_moto_describe_definition = models.JobDefinition.describe


def stop_all() -> None:
    """Stop every job and wait until its container has ended."""
    jobs = [
        job
        for regions in models.batch_backends.values()
        for backend in regions.values()
        for job in backend._jobs.values()
    ]
    for job in jobs:
        job.terminate("The local AWS was stopped.")
    for job in jobs:
        if job.is_alive():
            job.join()


def install(*, slots: int, runtime: Runtime, container_environment: Mapping[str, str], stop_timeout: float) -> None:
    """Put `BatchJob` in the place of moto's job.

    Args:
        slots: How many containers may run at once.
        runtime: What starts them.
        container_environment: What each gets beside what Batch sets: the way to the local AWS.
        stop_timeout: Seconds between SIGTERM and SIGKILL at most, whatever a definition says.

    Raises:
        RuntimeError: moto has another version than the one that these gaps were found in.
    """
    if moto.__version__ != MOTO_VERSION:
        raise RuntimeError(f"local_aws is written for moto {MOTO_VERSION}, and this is {moto.__version__}.")
    BatchJob.slots = threading.BoundedSemaphore(slots)
    BatchJob.runtime = runtime
    BatchJob.container_environment = container_environment
    BatchJob.most_stop_seconds = stop_timeout
    models.Job = BatchJob
    models.JobDefinition.describe = _describe_definition
    models.BatchBackend.submit_job = _submit_job
    responses.BatchResponse.registerjobdefinition = _register_job_definition
    responses.BatchResponse.submitjob = _submit
