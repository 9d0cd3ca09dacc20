"""Workers for fault injection: faults at S3 calls, in processes and on the machine."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_aws.containers import WorkerProcess
from tests.worker.proxy import Call, Proxy, Reset, proxied

HOOK = Path(__file__).parent / "hook"

MANIFEST = "manifest GET"
TRANSCRIBED_STEPS = (
    MANIFEST,
    "transcript HEAD",
    "source GET",
    "JSON PUT",
    "transcript PUT",
    "copy to processed/",
    "source DELETE",
)
REJECTED_STEPS = ("source HEAD", "reason PUT", "copy to failed/", "rejected DELETE")
READS = (MANIFEST, "source GET")


def step_of(call: Call) -> tuple[str, str]:
    """The step of the recording that a call belongs to, and the stem of the recording's name."""
    folder, _, name = call.key.partition("/")
    stem = name.split(".")[0]
    if call.is_copy:
        return f"copy to {folder}/", stem
    if (call.method, folder) == ("PUT", "output"):
        return ("JSON PUT" if name.endswith(".json") else "transcript PUT"), stem
    objects = {"child_job_input": "manifest", "output": "transcript", "input": "source", "failed": "reason"}
    return f"{objects.get(folder, folder)} {call.method}", stem


@dataclass
class WireFault:
    """A fault at the S3 call of a step.

    Args:
        step: the step, one of TRANSCRIBED_STEPS or REJECTED_STEPS.
        stem: the stem of the recording's name. None means any recording.
        action: the function that makes the fault. It may return an HTTP status as the response, or raise Reset.
        after: call `action` after the server has executed the request, not before.
        truncate: truncate the response's body.
        slow: send the response's body slowly.
        times: maximum number of faults.
        triggered: number of faults so far.
    """

    step: str
    stem: str | None
    action: Callable[[], int | None] = lambda: None
    after: bool = False
    truncate: bool = False
    slow: bool = False
    times: int = 1
    triggered: int = 0

    def matches(self, call: Call) -> bool:
        step, stem = step_of(call)
        expected = "source DELETE" if self.step == "rejected DELETE" else self.step
        return step == expected and self.stem in (None, stem)

    def trigger(self, call: Call) -> bool:
        """Whether the fault happens at this call. Count it if so."""
        if self.triggered >= self.times or not self.matches(call):
            return False
        self.triggered += 1
        return True


@dataclass
class Worker:
    """The containers of one run and their faults."""

    address: str
    folder: Path
    wire: list[WireFault] = field(default_factory=list)
    hook: dict[str, Any] | None = None
    shell: str = ""  # shell commands before the worker's start, such as `ulimit`
    attempts: int = 0

    def kill(self, signum: signal.Signals) -> None:
        """Send a signal to the running container."""
        os.kill(int((self.folder / "pid").read_text()), signum)

    def killing(self, signum: signal.Signals) -> Callable[[], int | None]:
        def kill() -> None:
            self.kill(signum)
            if signum == signal.SIGKILL:
                raise Reset

        return kill

    def crash(self, function: str, failure: str, size: int, times: int) -> None:
        """Make `engine` or `decoder` fail `times` times at the recording of `size` bytes."""
        counter = self.folder / "failures"
        counter.mkdir()
        self.hook = {"function": function, "failure": failure, "size": size, "times": times, "folder": str(counter)}

    def triggered(self) -> bool:
        """Whether all faults have happened."""
        hooked = not self.hook or len(list(Path(self.hook["folder"]).iterdir())) == self.hook["times"]
        return hooked and all(fault.triggered for fault in self.wire)

    def remove_faults(self) -> None:
        """Remove all faults."""
        self.wire.clear()
        self.hook, self.shell = None, ""

    def attach(self, proxy: Proxy) -> None:
        def before(call: Call) -> int | None:
            for fault in self.wire:
                if not (fault.after or fault.truncate or fault.slow) and fault.trigger(call):
                    return fault.action()
            return None

        def after(call: Call) -> None:
            for fault in self.wire:
                if fault.after and fault.trigger(call):
                    fault.action()

        proxy.before, proxy.after = before, after
        proxy.truncate = lambda call: any(fault.truncate and fault.trigger(call) for fault in self.wire)
        proxy.slow = lambda call: any(fault.slow and fault.trigger(call) for fault in self.wire)


@dataclass(frozen=True)
class FaultyWorkers(WorkerProcess):
    """Runs the worker as a process. A worker whose manifest prefix is in `by_prefix` gets that entry's faults."""

    folder: Path = field(kw_only=True)
    by_prefix: dict[str, Worker] = field(default_factory=dict)

    def command(
        self, image: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        """See `Runtime`."""
        arguments, variables = super().command(image, command, environment)
        worker = self.by_prefix.get(environment.get("MANIFEST_PREFIX", ""))
        if worker is None:
            return arguments, variables
        worker.attempts += 1
        variables["AWS_ENDPOINT_URL"] = worker.address
        variables["PID_FILE"] = str(worker.folder / "pid")
        if worker.hook:
            variables["PYTHONPATH"] = f"{HOOK}:{variables['PYTHONPATH']}"
            variables["FAULT_HOOK"] = json.dumps(worker.hook)
        script = f'echo $$ > "$PID_FILE"; {worker.shell} exec "$0" "$@"'
        return ["/bin/sh", "-c", script, *arguments], variables

    @contextmanager
    def for_run(self, manifest_prefix: str, target: str) -> Iterator[Worker]:
        """The worker of a run, with a separate proxy."""
        folder = self.folder / manifest_prefix.replace("/", "-")
        folder.mkdir()
        with proxied(target) as (proxy, address):
            worker = self.by_prefix[manifest_prefix] = Worker(address, folder)
            worker.attach(proxy)
            yield worker
