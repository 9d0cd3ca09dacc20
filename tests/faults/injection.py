"""Workers that faults can be brought upon: at their S3 calls, in their processes, on their machine."""

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
GOOD_STEPS = (
    MANIFEST,
    "transcript HEAD",
    "source GET",
    "JSON PUT",
    "transcript PUT",
    "copy to processed/",
    "source DELETE",
)
BAD_STEPS = ("source HEAD", "reason PUT", "copy to failed/", "rejected DELETE")
READS = (MANIFEST, "source GET")


def step_of(call: Call) -> tuple[str, str]:
    """What a call is in a recording's life, and the stem of the recording's name."""
    place, _, name = call.key.partition("/")
    stem = name.split(".")[0]
    if call.is_copy:
        return f"copy to {place}/", stem
    if (call.method, place) == ("PUT", "output"):
        return ("JSON PUT" if name.endswith(".json") else "transcript PUT"), stem
    things = {"child_job_input": "manifest", "output": "transcript", "input": "source", "failed": "reason"}
    return f"{things.get(place, place)} {call.method}", stem


@dataclass
class WireFault:
    """Something that happens when a recording is at a step.

    Args:
        stem: the recording's; None: any.
        deed: runs then; may return a status to answer, or raise Reset.
        after: when the server has done what was asked, not before.
        short, slow: the body breaks off, or comes in drops.
    """

    step: str
    stem: str | None
    deed: Callable[[], int | None] = lambda: None
    after: bool = False
    short: bool = False
    slow: bool = False
    times: int = 1
    happened: int = 0

    def matches(self, call: Call) -> bool:
        step, stem = step_of(call)
        wanted = "source DELETE" if self.step == "rejected DELETE" else self.step
        return step == wanted and self.stem in (None, stem)

    def happens_at(self, call: Call) -> bool:
        if self.happened >= self.times or not self.matches(call):
            return False
        self.happened += 1
        return True


@dataclass
class Worker:
    """The containers of one run, and what is to happen to them."""

    address: str
    folder: Path
    wire: list[WireFault] = field(default_factory=list)
    hook: dict[str, Any] | None = None
    shell: str = ""  # runs before the worker, as its limits
    attempts: int = 0

    def kill(self, blow: signal.Signals) -> None:
        """Send a signal to the container that runs."""
        os.kill(int((self.folder / "pid").read_text()), blow)

    def killing(self, blow: signal.Signals) -> Callable[[], int | None]:
        def deed() -> None:
            self.kill(blow)
            if blow == signal.SIGKILL:
                raise Reset

        return deed

    def crash(self, function: str, deed: str, size: int, times: int) -> None:
        """Let `engine` or `decoder` fail at the recording of that size, so many times."""
        counted = self.folder / "deeds"
        counted.mkdir()
        self.hook = {"function": function, "deed": deed, "size": size, "times": times, "folder": str(counted)}

    def happened(self) -> bool:
        """Whether everything that was to happen did."""
        hooked = not self.hook or len(list(Path(self.hook["folder"]).iterdir())) == self.hook["times"]
        return hooked and all(fault.happened for fault in self.wire)

    def calm(self) -> None:
        """Let nothing happen any more."""
        self.wire.clear()
        self.hook, self.shell = None, ""

    def attach(self, proxy: Proxy) -> None:
        def before(call: Call) -> int | None:
            for fault in self.wire:
                if not (fault.after or fault.short or fault.slow) and fault.happens_at(call):
                    return fault.deed()
            return None

        def after(call: Call) -> None:
            for fault in self.wire:
                if fault.after and fault.happens_at(call):
                    fault.deed()

        proxy.before, proxy.after = before, after
        proxy.short = lambda call: any(fault.short and fault.happens_at(call) for fault in self.wire)
        proxy.slow = lambda call: any(fault.slow and fault.happens_at(call) for fault in self.wire)


@dataclass(frozen=True)
class FaultyWorkers(WorkerProcess):
    """The worker as a process, by its run's manifests the one that something is to happen to."""

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
    def of_run(self, manifest_prefix: str, target: str) -> Iterator[Worker]:
        """The worker of a run, behind a proxy of its own."""
        folder = self.folder / manifest_prefix.replace("/", "-")
        folder.mkdir()
        with proxied(target) as (proxy, address):
            worker = self.by_prefix[manifest_prefix] = Worker(address, folder)
            worker.attach(proxy)
            yield worker
