"""Every fault at every step of a recording's life: nothing is lost, nothing done twice, no job doubled.

All runs are planned first and share the machine, each with its own folder of recordings and its own fault. FAULT_ROUNDS
repeats everything, FAULT_ONLY takes those whose names start so, FAULT_TABLES=1 writes the tables of docs/faults.md and
README.md.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.faults.injection import BAD_STEPS, MANIFEST, READS, FaultyWorkers, WireFault, Worker
from tests.faults.ledger import Ledger
from tests.faults.runs import Run, wait_for_all
from tests.faults.trials import DECODER, DISK, ENGINE, LIFE, Trial, summary, table, write
from tests.worker.harness import SHORT, TEXTS, recording
from tests.worker.proxy import Reset
from transcription.errors import FilesMissing, ManifestUnreadable, PlanMissing

PROJECT = Path(__file__).parents[2]
DEADLINE = 900  # seconds for all runs of a round, which on a busy machine is no hurry
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
BYSTANDER = "vm-leavemsg.wav"
OTHER = "conf-otherinparty.wav"
NO_RECORDING = b"Dear Sir or Madam, please find attached the recording.\n"
ALWAYS = 1_000_000


@dataclass
class Scenario:
    """A run, what is to happen to its worker, and how its job is to end."""

    run: Run
    worker: Worker
    trials: list[Trial]
    codes: list[int]  # of the attempts of each of its children
    tamper: Callable[[], None] = lambda: None
    children: int = 1
    files: int = 0
    first_codes: list[int] = field(default_factory=list)
    left: int = 0
    planned_again: int = 0


class Stage:
    """Sets scenarios up."""

    def __init__(self, aws: Any, workers: FaultyWorkers, ledger: Ledger, open_proxies: ExitStack, name: str) -> None:
        self.aws, self.workers, self.ledger, self.open, self.name = aws, workers, ledger, open_proxies, name
        self.scenarios: list[Scenario] = []

    def scenario(self, codes: list[int], **params: Any) -> tuple[Scenario, str]:
        folder = f"{self.name}run{len(self.scenarios)}/"
        run = Run(self.aws, folder[:-1], prefix=folder, output_formats=["json"], **params)
        worker = self.open.enter_context(self.workers.of_run(run.manifest_prefix, self.aws.endpoint))
        self.scenarios.append(Scenario(run, worker, [], codes))
        return self.scenarios[-1], folder

    def victim(self, folder: str, step: str, number: int = 0) -> str:
        """Put a recording that reaches the step: one that is rejected, if only such ones do."""
        name = f"{folder}{'bad' if step in BAD_STEPS else 'good'}{number}.wav"
        if step in BAD_STEPS:
            self.ledger.put(name, NO_RECORDING * (number + 1), None)
        else:
            self.ledger.put(name, recording(), TEXTS[SHORT])
        return name

    def alone(self, fault: str, step: str, codes: list[int], **ends: Any) -> tuple[Scenario, str]:
        """A scenario with one victim and one recording beside it."""
        scenario, folder = self.scenario(codes)
        name = self.victim(folder, step)
        self.ledger.put(f"{folder}beside.wav", recording(BYSTANDER), TEXTS[BYSTANDER])
        place = {"ends": ("failed",)} if step in BAD_STEPS else {}
        scenario.trials.append(Trial(fault, step, [name, f"{folder}beside.wav"], **{**place, **ends}))
        return scenario, name


def stem(name: str) -> str:
    return name.split(".")[0]


def wire_fault(step: str, name: str, deed: Callable[[], int | None], **more: Any) -> WireFault:
    return WireFault(step, None if step == MANIFEST else stem(name), deed, **more)


def set_signals(stage: Stage, round_: int) -> None:
    """The child gets a signal at every step: before it is done or after, and while the decoder or an engine works."""
    for blow, code in ((signal.SIGTERM, 75), (signal.SIGKILL, 137)):
        for number, step in enumerate(LIFE):
            scenario, name = stage.alone(blow.name, step, [code, 0])
            after = (round_ + number + (blow == signal.SIGKILL)) % 2 == 1
            scenario.worker.wire.append(wire_fault(step, name, killing(scenario.worker, blow), after=after))
        for function in (DECODER, ENGINE):
            scenario, _ = stage.alone(blow.name, function, [code, 0])
            scenario.worker.crash(function, f"{blow.name} to the child", len(recording()), 1)


def killing(worker: Worker, blow: signal.Signals) -> Callable[[], None]:
    def deed() -> None:
        worker.kill(blow)
        if blow == signal.SIGKILL:
            raise Reset
        time.sleep(0.3)  # the worker learns of it before it gets its answer

    return deed


CRASHES = [
    # what happens, where, by what deed, how often, exit codes, where the recording ends
    ("engine crash", ENGINE, "SIGSEGV", 1, [0], "processed", ""),
    ("engine crash, twice", ENGINE, "SIGSEGV", 2, [0], "failed", "engine-crash"),
    ("engine abort, twice", ENGINE, "SIGABRT", 2, [0], "failed", "engine-crash"),
    ("out-of-memory kill", ENGINE, "SIGKILL", 1, [0], "processed", ""),
    ("out-of-memory kill, twice", ENGINE, "SIGKILL", 2, [75, 0], "processed", ""),
    ("decoder crash", DECODER, "SIGSEGV", 1, [0], "processed", ""),
    ("decoder crash, twice", DECODER, "SIGSEGV", 2, [0], "failed", "undecodable"),
    ("out-of-memory kill", DECODER, "SIGKILL", 1, [0], "processed", ""),
    ("out-of-memory kill, twice", DECODER, "SIGKILL", 2, [75, 0], "processed", ""),
    ("too much memory for one file", DECODER, "memory", 1, [0], "failed", "undecodable"),
]


def set_crashes(stage: Stage) -> None:
    for fault, function, deed, times, codes, end, code in CRASHES:
        scenario, _ = stage.alone(fault, function, codes, ends=(end,), code=code)
        scenario.worker.crash(function, deed, len(recording()), times)
    scenario, name = stage.alone("idle processes killed", "source GET", [0])
    scenario.worker.wire.append(wire_fault("source GET", name, killing_children(scenario.worker)))


def killing_children(worker: Worker) -> Callable[[], None]:
    def deed() -> None:
        pid = (worker.folder / "pid").read_text().strip()
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    return deed


def set_disk_full(stage: Stage) -> None:
    scenario, folder = stage.scenario([75, 75, 75])
    name = f"{folder}large.wav"
    stage.ledger.put(name, large(recording()), TEXTS[SHORT])
    scenario.worker.shell = "ulimit -f 2000;"
    scenario.trials.append(Trial("disk full", DISK, [name]))


def large(wav: bytes) -> bytes:
    """The same words at 48 kHz in two channels, and silence, so that it is too large for memory."""
    samples = b"".join(wav[at : at + 2] * 6 for at in range(44, len(wav) - 1, 2)) + bytes(9 << 20)
    rate = 48_000
    header = wav[:22] + (2).to_bytes(2, "little") + rate.to_bytes(4, "little") + (rate * 4).to_bytes(4, "little")
    header += (4).to_bytes(2, "little") + wav[34:40] + len(samples).to_bytes(4, "little")
    return header[:4] + (len(samples) + 36).to_bytes(4, "little") + header[8:] + samples


def set_manifests(stage: Stage) -> None:
    s3, bucket = stage.ledger.s3, stage.ledger.bucket
    for fault, body in (
        ("manifest missing", None),
        ("manifest malformed", b"input/a.wav input/b.wav\n"),
        ("manifest of another schema", b'{"schema": 2}\n{"source": "input/a.wav"}\n'),
    ):
        scenario, _ = stage.alone(fault, MANIFEST, [78])
        key = f"{scenario.run.manifest_prefix}0"
        scenario.tamper = tampering(s3, bucket, key, body)


def tampering(s3: Any, bucket: str, key: str, body: bytes | None) -> Callable[[], None]:
    if body is None:
        return lambda: s3.delete_object(Bucket=bucket, Key=key)
    return lambda: s3.put_object(Bucket=bucket, Key=key, Body=body)


def reset() -> None:
    raise Reset


NETWORK: dict[str, dict[str, Any]] = {
    "S3 500": {"deed": lambda: 500},
    "S3 503 (throttled)": {"deed": lambda: 503},
    "connection reset": {"deed": reset},
    "answer lost": {"deed": reset, "after": True},
}
READING: dict[str, dict[str, Any]] = {"truncated read": {"short": True}, "slow read": {"slow": True}}


def set_network(stage: Stage) -> None:
    """All at once, each fault at a recording of its own; the manifest is read once a run."""
    scenario, folder = stage.scenario([0], audio_minutes_per_child=1, max_instances=3)
    number = 0
    for fault, what in {**NETWORK, **READING}.items():
        for step in LIFE if fault in NETWORK else READS:
            if step == MANIFEST:
                own, name = stage.alone(fault, step, [0])
                own.worker.wire.append(wire_fault(step, name, **{"deed": reset, **what}))
                continue
            number += 1
            name = stage.victim(folder, step, number)
            scenario.worker.wire.append(wire_fault(step, name, **{"deed": reset, **what}))
            scenario.trials.append(Trial(fault, step, [name], ("failed",) if step in BAD_STEPS else ("processed",)))


def set_owners(stage: Stage) -> None:
    """The owner replaces or deletes a recording, right before a step is done and right after it."""
    scenario, folder = stage.scenario([0], audio_minutes_per_child=1, max_instances=2)
    cases = product(LIFE[1:], (("source replaced", replace), ("source deleted", remove)), (False, True))
    for number, (step, (fault, deed), after) in enumerate(cases):
        name = stage.victim(folder, step, number)
        scenario.worker.wire.append(wire_fault(step, name, deed(stage.ledger, name), after=after))
        ends = ("processed",) if deed is replace else ("", "processed", "failed")
        scenario.trials.append(Trial(fault, step, [name], ends))


def replace(ledger: Ledger, name: str) -> Callable[[], None]:
    return lambda: ledger.put(name, recording(OTHER), TEXTS[OTHER])


def remove(ledger: Ledger, name: str) -> Callable[[], None]:
    return lambda: ledger.remove(name)


def set_outage(stage: Stage) -> None:
    """S3 refuses one step for good: 501, which no client repeats, in place of a long wait."""
    scenario, folder = stage.scenario([75, 75, 75], audio_minutes_per_child=0.1, max_instances=3)
    for number, step in enumerate(LIFE[1:]):
        name = stage.victim(folder, step, number)
        scenario.worker.wire.append(wire_fault(step, name, lambda: 501, times=ALWAYS))
        scenario.trials.append(
            Trial("S3 down for good", step, [name], ("failed",) if step in BAD_STEPS else ("processed",))
        )
    own, name = stage.alone("S3 down for good", MANIFEST, [75, 75, 75])
    own.worker.wire.append(wire_fault(MANIFEST, name, lambda: 501, times=ALWAYS))


@pytest.fixture(scope="module")
def aftermath(aws: Any, workers: FaultyWorkers, ledger: Ledger) -> list[Scenario]:
    """All scenarios, played round by round: once with their faults, and planned anew for what that left."""
    only = os.environ.get("FAULT_ONLY", "")
    played: list[Scenario] = []
    for round_ in range(ROUNDS):
        with ExitStack() as proxies:
            stage = Stage(aws, workers, ledger, proxies, f"round{round_}-")
            set_signals(stage, round_)
            set_crashes(stage)
            set_disk_full(stage)
            set_manifests(stage)
            set_network(stage)
            set_owners(stage)
            set_outage(stage)
            chosen = [case for case in stage.scenarios if case.trials[0].fault.startswith(only)]
            play(chosen, ledger)
            played += chosen
    if "FAULT_TABLES" in os.environ and not only:
        write(PROJECT / "docs" / "faults.md", table(trials_of(played)))
        write(PROJECT / "README.md", summary(trials_of(played)))
    return played


def trials_of(scenarios: list[Scenario]) -> list[Trial]:
    return [trial for scenario in scenarios for trial in scenario.trials]


def play(scenarios: list[Scenario], ledger: Ledger) -> None:
    for scenario in scenarios:
        scenario.files = scenario.run.plan()
        scenario.tamper()
        scenario.run.submit()
    wait_for_all((scenario.run for scenario in scenarios), DEADLINE)
    for scenario in scenarios:
        run = scenario.run
        scenario.children = run.planned["children"] if run.planned else 0
        scenario.first_codes = run.attempts()
        settle(scenario, ledger, interrupted=run.job()["status"] == "FAILED")
        for trial in scenario.trials:
            trial.found += ["nothing happened"] * (not scenario.worker.happened())
        scenario.worker.calm()
        scenario.left = len(ledger.waiting(run.context["params"]["prefix"]))
        scenario.planned_again = run.start()
    again = [scenario for scenario in scenarios if scenario.planned_again]
    wait_for_all((scenario.run for scenario in again), DEADLINE)
    for scenario in again:
        settle(scenario, ledger, interrupted=False)


def settle(scenario: Scenario, ledger: Ledger, *, interrupted: bool) -> None:
    """Look at the bucket, then let the run account for what it did."""
    for trial in scenario.trials:
        trial.look(ledger, interrupted)
    try:
        scenario.run.verify()
    except (FilesMissing, PlanMissing, ManifestUnreadable):
        gone = any(trial.fault == "source deleted" for trial in scenario.trials)
        if not interrupted and not gone:
            scenario.trials[0].found.append("verify failed")


def test_no_fault_at_any_step_loses_a_recording_or_does_it_twice(aftermath: list[Scenario]) -> None:
    print("\n" + table(trials_of(aftermath)))
    assert [(trial.fault, trial.step, trial.found) for trial in trials_of(aftermath) if trial.found] == []


def test_every_recording_ends_where_it_belongs(aftermath: list[Scenario], ledger: Ledger) -> None:
    astray = []
    for trial in trials_of(aftermath):
        victim, *beside = ((ledger.look(name).places or ("",))[0] for name in trial.names)
        if victim not in trial.ends or any(place != "processed" for place in beside):
            astray.append((trial.fault, trial.step, victim, beside))
        if trial.code and ledger.reason_code(trial.names[0]) != trial.code:
            astray.append((trial.fault, trial.step, ledger.reason_code(trial.names[0]), [trial.code]))
    assert astray == []


def test_batch_retries_what_a_retry_can_cure_and_nothing_else(aftermath: list[Scenario]) -> None:
    wrong = [
        (scenario.trials[0].fault, scenario.trials[0].step, scenario.first_codes)
        for scenario in aftermath
        if scenario.first_codes != scenario.codes * scenario.children
    ]
    assert wrong == []


def test_a_run_that_is_planned_again_plans_only_what_is_left(aftermath: list[Scenario]) -> None:
    again = [scenario for scenario in aftermath if scenario.left]
    assert [scenario.planned_again for scenario in again] == [scenario.left for scenario in again]
    assert again or "FAULT_ONLY" in os.environ
    assert "FAULT_ONLY" in os.environ or any(scenario.left < scenario.files for scenario in again)
