"""AWS Batch on moto 5.2.5, with jobs that run real processes or containers.

moto stores queues, definitions and jobs. But its jobs need a Docker daemon, and much of Batch's behaviour is missing.
`BatchJob` replaces moto's job and adds this behaviour:

- each array child has AWS_BATCH_JOB_ARRAY_INDEX and a separate environment
  (https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html);
- a parent is PENDING until all children have ended, and FAILED if a child failed. Terminating a parent terminates its
  children. An array has 2 to 10,000 children, and ListJobs for a queue does not list them
  (https://docs.aws.amazon.com/batch/latest/userguide/array_jobs.html);
- `retryStrategy` and `evaluateOnExit` decide whether Batch retries a failed attempt
  (https://docs.aws.amazon.com/batch/latest/userguide/job_retries.html);
- a terminated or timed-out attempt gets SIGTERM, and SIGKILL after the stop timeout
  (https://docs.aws.amazon.com/batch/latest/userguide/job_timeouts.html);
- a definition may have `ecsProperties` with one container. Its jobs accept only `ecsPropertiesOverride`, and
  DescribeJobs returns their container as `ecsProperties`
  (https://docs.aws.amazon.com/batch/latest/userguide/multi-container-jobs.html);
- jobs and children have exit codes, reasons, attempts and log streams
  (https://docs.aws.amazon.com/batch/latest/APIReference/API_JobDetail.html);
- a container may fail to start, so that the attempt has a reason and no exit code
  (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html). `start_failures` injects
  that. Overrides of more than 8,192 characters always fail at the start, and not at the submission
  (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskOverride.html);
- a definition's parameters are the defaults of a job's
  (https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html);
- a job waits in RUNNABLE until its queue has a free slot. Queues do not share slots, as compute environments of AWS
  do not share vCPUs.
"""

from __future__ import annotations

import fnmatch
import json
import os
import signal
import subprocess
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryDirectory
from time import monotonic, time
from typing import Any, ClassVar

import moto
from moto.batch import models, responses
from moto.batch.exceptions import ClientException

from local_aws import authorization
from local_aws.containers import Runtime, WorkerProcess

MOTO_VERSION = "5.2.5"
ARRAY_SIZES = range(2, 10_001)
_STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
_POLL_SECONDS = 0.05
_LOG_BATCH_SECONDS = 0.5
_CONTAINER_EXITED = "Essential container in task exited"
_STOP_SECONDS = 30.0  # Batch's default
_TIMED_OUT = "Job attempt duration exceeded timeout"
_MOST_OVERRIDES = 8192  # characters


@dataclass(frozen=True)
class StartFailure:
    """Why Fargate could not start a container."""

    status_reason: str
    container_reason: str | None = None


class BatchJob(models.Job):
    """A single job, an array's parent job, or an array's child job."""

    runtime: Runtime = WorkerProcess()
    container_environment: Mapping[str, str] = {}
    slots: ClassVar[Mapping[str, threading.BoundedSemaphore]] = defaultdict(lambda: threading.BoundedSemaphore(2))
    """By the queue's name."""
    most_stop_seconds = 120.0
    start_failures: ClassVar[deque[StartFailure]] = deque()
    """What happens to the next attempts instead of a start."""

    parameters: dict[str, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parameters = {**(self.job_definition.parameters or {}), **(self.parameters or {})}
        if self.array_index is not None:
            self.job_queue.jobs.remove(self)
        self._status = "SUBMITTED"
        self._changed = threading.Condition()
        self._container_reason: str | None = None
        self.exit_code: int | None = None
        self.job_stopped_reason: str | None = None
        self.stop = False

    @property
    def array_index(self) -> int | None:
        """The child's index; None for any other job."""
        return self.array_properties.get("index")

    @property
    def status(self) -> str:
        """The job's current status. A parent's status depends on its children's."""
        if self._child_jobs is None:
            return self._status
        children = Counter(child.status for child in self._child_jobs)
        if children["SUCCEEDED"] + children["FAILED"] < len(self._child_jobs):
            return "PENDING"
        return "FAILED" if children["FAILED"] else "SUCCEEDED"

    @status.setter
    def status(self, value: str) -> None:
        self._status = value

    # The API's answers

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
        if self.attempts and "startedAt" in self.attempts[-1]:
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
        """The definition's `ecsProperties`, or None if the definition has `containerProperties`."""
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

    # The job's states, from submission to end

    def start(self) -> None:
        """Start the job's thread. A parent has no thread."""
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
        """Wait for a free slot, then run attempts until one succeeds or no attempt is left."""
        try:
            if self.depends_on and not self._wait_for_dependencies():
                return
            self._status = "RUNNABLE"
            with self._slot() as has_room:
                if has_room:
                    self._run_attempts()
            self._end("FAILED" if self.stop or self.exit_code != 0 else "SUCCEEDED")
        except Exception as error:  # a job must end in every case
            self.job_stopped_reason = f"The local AWS could not run the job: {error}"
            self._end("FAILED")

    def _run_attempts(self) -> None:
        attempts = self._retry_strategy().get("attempts", 1)
        for attempt in range(1, attempts + 1):
            failure = self._start_failure()
            if failure is None:
                self._run_attempt(attempt)
            else:
                self._fail_to_start(failure)
            if self.exit_code == 0 or self.stop or self._container_reason == _TIMED_OUT:
                return
            if attempt < attempts and not self._is_retried():
                return
            if attempt < attempts:
                self._status = "RUNNABLE"

    def _start_failure(self) -> StartFailure | None:
        """Why the next attempt cannot start; None if it can."""
        if len(json.dumps({"containerOverrides": [self.container_overrides]})) > _MOST_OVERRIDES:
            return StartFailure(f"Container Overrides length must be at most {_MOST_OVERRIDES}")
        try:
            return self.start_failures.popleft()
        except IndexError:
            return None

    def _fail_to_start(self, failure: StartFailure) -> None:
        self._status = "STARTING"
        self.exit_code = None
        self._container_reason = failure.container_reason
        with self._changed:
            if not self.stop:
                self.job_stopped_reason = failure.status_reason
        self.attempts.append({})
        self._record_end(self.attempts[-1], failure.status_reason)

    def _run_attempt(self, number: int) -> None:
        self._status = "STARTING"
        with self._changed:
            if not self.stop:
                self.job_stopped_reason = None  # the one of the earlier attempt
        properties = self.job_definition.container_properties
        command, environment = self.runtime.command(
            properties["image"],
            self._add_parameters_to_command(self._get_container_property("command", [])),
            {**self._given_environment(number), **self.container_environment, **self._role_credentials()},
        )
        record = self._begin_attempt(number)
        # Fargate deletes a task's storage at the task's end, so delete the folder too. `docker run` does not use it.
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
                os.killpg(process.pid, signal.SIGKILL)  # the end of the first process ends the container
            self.runtime.remove(command)
            log.join()
        self.exit_code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        self._record_end(record, self.job_stopped_reason or self._container_reason or _CONTAINER_EXITED)
        if not self.stop:
            self.job_stopped_reason = record["statusReason"]

    def _record_end(self, record: dict[str, Any], status_reason: str) -> None:
        """Complete the attempt's record, with what is known of its container."""
        record |= {"stoppedAt": int(time() * 1000), "statusReason": status_reason}
        container = self._container_end()
        if self.exit_code is not None:
            container["logStreamName"] = self.log_stream_name
        if self._ecs_properties is None:
            record["container"] = container
        else:
            record["taskProperties"] = [{"containers": [self._named(container)]}]

    def _role_credentials(self) -> dict[str, str]:
        """Variables that give the container the rights of its task role, if the definition names one.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
        """
        tasks = (self._ecs_properties or {}).get("taskProperties", ())
        role = next((task["taskRoleArn"] for task in tasks if "taskRoleArn" in task), None)
        return authorization.credentials_of(role, self.backend.region_name) if role else {}

    def _given_environment(self, attempt: int) -> dict[str, str]:
        """The job's variables and the variables that Batch adds."""
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
        self.job_started_at = datetime.now()  # without a time zone, as in moto
        self.attempts.append(record)
        return record

    def _watch(self, process: subprocess.Popen[bytes]) -> str | None:
        """Wait for the end of the attempt. Return the reason if the attempt timed out, else None."""
        seconds = self._get_attempt_duration()
        deadline = monotonic() + seconds if seconds else None
        while process.poll() is None:
            timed_out = deadline is not None and monotonic() > deadline
            if self.stop or timed_out:
                self._stop_container(process)
                return _TIMED_OUT if timed_out and not self.stop else None
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
        """Send the container's output to CloudWatch Logs while the container runs."""
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
        """Wait for a free slot and hold it. Yield False if the job was stopped before a slot was free."""
        has_room, slots = False, self.slots[self.job_queue.name]
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
        """Whether Batch tries again after the last attempt."""
        seen = {
            "onExitCode": "" if self.exit_code is None else str(self.exit_code),
            "onReason": self._container_reason or "",
            "onStatusReason": self.job_stopped_reason or "",
        }
        return is_retried(self._retry_strategy().get("evaluateOnExit", ()), seen)

    def _end(self, status: str) -> None:
        self.job_stopped_at = datetime.now()
        self.job_stopped = True
        self._status = status


def is_retried(conditions: Iterable[Mapping[str, str]], seen: Mapping[str, str]) -> bool:
    """Whether the first condition that matches says RETRY. True if no condition matches.

    https://docs.aws.amazon.com/batch/latest/APIReference/API_EvaluateOnExit.html

    Args:
        conditions: The definition's `evaluateOnExit`.
        seen: The attempt's `onExitCode`, `onReason` and `onStatusReason`, empty if there is none.
    """
    for condition in conditions:
        patterns = {key: value for key, value in condition.items() if key != "action"}
        if all(fnmatch.fnmatchcase(seen[key].lower(), value.lower()) for key, value in patterns.items()):
            return condition["action"].upper() == "RETRY"
    return True


def _submit_job(backend: Any, *args: Any, **kwargs: Any) -> Any:
    size = (kwargs.get("array_properties") or {}).get("size")
    if size is not None and size not in ARRAY_SIZES:
        raise ClientException(f"Array size {size} is not between {ARRAY_SIZES[0]} and {ARRAY_SIZES[-1]}.")
    return _moto_submit_job(backend, *args, **kwargs)


_moto_submit_job = models.BatchBackend.submit_job


def only_container(ecs_properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties of the only container, in moto's form for a definition with `containerProperties`.

    Raises:
        ClientException: there are no containers, or more than one.
    """
    containers = [container for task in ecs_properties["taskProperties"] for container in task["containers"]]
    if len(containers) != 1:
        raise ClientException(f"The local AWS supports one container per job. This definition has {len(containers)}.")
    return {**containers[0], "ecsProperties": ecs_properties}


def _register_job_definition(response: Any) -> Any:
    ecs_properties = response._get_param("ecsProperties")
    if ecs_properties:
        body = json.loads(response.body)
        response.body = json.dumps({**body, "containerProperties": only_container(ecs_properties)})
    return _moto_register_job_definition(response)


_moto_register_job_definition = responses.BatchResponse.registerjobdefinition


def _submit(response: Any) -> Any:
    """Submit a job. A definition with `ecsProperties` needs overrides in `ecsPropertiesOverride`, by container name.

    Raises:
        ClientException: the overrides have the wrong form, or name an unknown container.
    """
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
    """Replace moto's job with `BatchJob`.

    Args:
        slots: Maximum number of containers of a queue that run at the same time.
        runtime: Converts a container to a command line.
        container_environment: Additional variables for each container: the endpoint and credentials of the local AWS.
        stop_timeout: Maximum number of seconds between SIGTERM and SIGKILL. It limits a definition's stop timeout.

    Raises:
        RuntimeError: moto has another version than this module supports.
    """
    if moto.__version__ != MOTO_VERSION:
        raise RuntimeError(f"local_aws supports moto {MOTO_VERSION} only, but the version is {moto.__version__}.")
    BatchJob.slots = defaultdict(lambda: threading.BoundedSemaphore(slots))
    BatchJob.runtime = runtime
    BatchJob.container_environment = container_environment
    BatchJob.most_stop_seconds = stop_timeout
    models.Job = BatchJob
    models.JobDefinition.describe = _describe_definition
    models.BatchBackend.submit_job = _submit_job
    responses.BatchResponse.registerjobdefinition = _register_job_definition
    responses.BatchResponse.submitjob = _submit
