"""Every fault at every step of a recording: no recording is lost or transcribed twice, and no run has two jobs.

The tests plan all runs first. The runs share the machine. Each has a separate folder of recordings and a separate
fault.
FAULT_ROUNDS is the number of rounds. FAULT_ONLY selects the faults whose names start with its value. FAULT_TABLES=1
writes the tables of docs/faults.md and README.md.
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
from airflow.sdk.exceptions import AirflowFailException

from tests.faults.injection import MANIFEST, READS, REJECTED_STEPS, FaultyWorkers, WireFault, Worker
from tests.faults.ledger import Ledger
from tests.faults.runs import Run, wait_for_all
from tests.faults.trials import DECODER, DISK, ENGINE, S3_STEPS, WHISPER_ENGINE, Trial, summary, table, write
from tests.worker.harness import SHORT, TEXTS, recording
from tests.worker.proxy import Reset

PROJECT = Path(__file__).parents[2]
DEADLINE = 900  # seconds for all runs of a round; long enough for a busy machine
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
UNAFFECTED = "vm-leavemsg.wav"
REPLACEMENT = "conf-otherinparty.wav"
WHISPER = "whisper-tiny.en"
WHISPER_TEXTS = ("Press zero for help.", "Press 5 to leave a message.")
NOT_AUDIO = b"Dear Sir or Madam, please find attached the recording.\n"
ALWAYS = 1_000_000
DENIED = "S3 denies access (403)"


@dataclass
class Scenario:
    """A run, the faults of its worker, and the expected exit codes of its job."""

    run: Run
    worker: Worker
    trials: list[Trial]
    codes: list[int]  # expected exit codes of each child's attempts
    children: int = 1
    files: int = 0
    first_codes: list[int] = field(default_factory=list)
    left: int = 0
    planned_again: int = 0


class ScenarioBuilder:
    """Creates the scenarios of one round."""

    def __init__(self, aws: Any, workers: FaultyWorkers, ledger: Ledger, proxies: ExitStack, name: str) -> None:
        self.aws, self.workers, self.ledger, self.proxies, self.name = aws, workers, ledger, proxies, name
        self.scenarios: list[Scenario] = []

    def scenario(self, codes: list[int], **params: Any) -> tuple[Scenario, str]:
        folder = f"{self.name}run{len(self.scenarios)}/"
        run = Run(self.aws, folder[:-1], prefix=folder, output_formats=["json"], **params)
        worker = self.proxies.enter_context(self.workers.for_run(run.manifest_prefix, self.aws.endpoint))
        self.scenarios.append(Scenario(run, worker, [], codes))
        return self.scenarios[-1], folder

    def upload_target(self, folder: str, step: str, number: int = 0) -> str:
        """Upload a recording that reaches the step. For steps of rejected recordings, it is not audio."""
        name = f"{folder}{'bad' if step in REJECTED_STEPS else 'good'}{number}.wav"
        if step in REJECTED_STEPS:
            self.ledger.put(name, NOT_AUDIO * (number + 1), None)
        else:
            self.ledger.put(name, recording(), TEXTS[SHORT])
        return name

    def with_one_fault(self, fault: str, step: str, codes: list[int], **expected: Any) -> tuple[Scenario, str]:
        """Create a scenario with one affected and one unaffected recording."""
        scenario, folder = self.scenario(codes)
        name = self.upload_target(folder, step)
        unaffected = f"{folder}unaffected.wav"
        normal = {"expected_folders": normal_end(step)}
        self.ledger.put(unaffected, recording(UNAFFECTED), TEXTS[UNAFFECTED])
        scenario.trials.append(Trial(fault, step, [name, unaffected], **{**normal, **expected}))
        return scenario, name


def normal_end(step: str) -> tuple[str, ...]:
    """The final folder of a recording that reaches the step, without a fault."""
    return ("failed",) if step in REJECTED_STEPS else ("processed",)


def stem(name: str) -> str:
    return name.split(".")[0]


def wire_fault(step: str, name: str, action: Callable[[], int | None], **options: Any) -> WireFault:
    return WireFault(step, None if step == MANIFEST else stem(name), action, **options)


def add_signals(builder: ScenarioBuilder, round_: int) -> None:
    """The worker gets a signal at every step, before or after the call, and while the decoder or an engine works."""
    for signum, code in ((signal.SIGTERM, 75), (signal.SIGKILL, 137)):
        for number, step in enumerate(S3_STEPS):
            scenario, name = builder.with_one_fault(signum.name, step, [code, 0])
            after = (round_ + number + (signum == signal.SIGKILL)) % 2 == 1
            scenario.worker.wire.append(wire_fault(step, name, killing(scenario.worker, signum), after=after))
        for function in (DECODER, ENGINE):
            scenario, _ = builder.with_one_fault(signum.name, function, [code, 0])
            scenario.worker.crash(function, f"{signum.name} to the worker", len(recording()), 1)
        add_whisper(builder, signum.name, f"{signum.name} to the worker", 1, [code, 0], expected_folders=("processed",))


def killing(worker: Worker, signum: signal.Signals) -> Callable[[], None]:
    def kill() -> None:
        worker.kill(signum)
        if signum == signal.SIGKILL:
            raise Reset
        time.sleep(0.3)  # the worker handles the signal before it gets the response

    return kill


CRASHES = [
    # fault, process, failure, number of times, exit codes, the recording's final folder, reason code
    ("engine crash", ENGINE, "SIGSEGV", 1, [0], "processed", ""),
    ("engine crash, twice", ENGINE, "SIGSEGV", 2, [0], "failed", "engine-crash"),
    ("engine abort, twice", ENGINE, "SIGABRT", 2, [0], "failed", "engine-crash"),
    ("out-of-memory kill", ENGINE, "SIGKILL", 1, [0], "processed", ""),
    ("out-of-memory kill, twice", ENGINE, "SIGKILL", 2, [75, 0], "processed", ""),
    ("decoder crash", DECODER, "SIGSEGV", 1, [0], "processed", ""),
    ("decoder crash, twice", DECODER, "SIGSEGV", 2, [0], "failed", "undecodable"),
    ("out-of-memory kill", DECODER, "SIGKILL", 1, [0], "processed", ""),
    ("out-of-memory kill, twice", DECODER, "SIGKILL", 2, [75, 0], "processed", ""),
    ("memory limit", DECODER, "memory", 1, [0], "failed", "undecodable"),
]


def add_crashes(builder: ScenarioBuilder) -> None:
    for fault, function, failure, times, codes, final_folder, code in CRASHES:
        scenario, _ = builder.with_one_fault(fault, function, codes, expected_folders=(final_folder,), code=code)
        scenario.worker.crash(function, failure, len(recording()), times)
        if function == ENGINE:
            add_whisper(builder, fault, failure, times, codes, expected_folders=(final_folder,), code=code)
    scenario, name = builder.with_one_fault("idle processes killed", "source GET", [0])
    scenario.worker.wire.append(wire_fault("source GET", name, killing_children(scenario.worker)))


def add_whisper(
    builder: ScenarioBuilder, fault: str, failure: str, times: int, codes: list[int], **expected: Any
) -> None:
    """The same failure of an engine that runs Whisper."""
    scenario, folder = builder.scenario(codes, model=WHISPER)
    names = [f"{folder}good.wav", f"{folder}unaffected.wav"]
    for name, sample, text in zip(names, (SHORT, UNAFFECTED), WHISPER_TEXTS, strict=True):
        builder.ledger.put(name, recording(sample), text)
    scenario.trials.append(Trial(fault, WHISPER_ENGINE, names, **expected))
    scenario.worker.crash(ENGINE, failure, len(recording()), times)


def killing_children(worker: Worker) -> Callable[[], None]:
    def kill() -> None:
        pid = (worker.folder / "pid").read_text().strip()
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)

    return kill


def add_full_disk(builder: ScenarioBuilder) -> None:
    scenario, folder = builder.scenario([75, 75, 75])
    name = f"{folder}large.wav"
    builder.ledger.put(name, large(recording()), TEXTS[SHORT])
    scenario.worker.shell = "ulimit -f 2000;"
    scenario.trials.append(Trial("disk full", DISK, [name]))


def large(wav: bytes) -> bytes:
    """The same speech at 48 kHz with two channels, and silence. It is so large that the worker writes it to disk."""
    samples = b"".join(wav[at : at + 2] * 6 for at in range(44, len(wav) - 1, 2)) + bytes(9 << 20)
    rate = 48_000
    header = wav[:22] + (2).to_bytes(2, "little") + rate.to_bytes(4, "little") + (rate * 4).to_bytes(4, "little")
    header += (4).to_bytes(2, "little") + wav[34:40] + len(samples).to_bytes(4, "little")
    return header[:4] + (len(samples) + 36).to_bytes(4, "little") + header[8:] + samples


def add_unusable_manifests(builder: ScenarioBuilder) -> None:
    s3, bucket = builder.ledger.s3, builder.ledger.bucket
    for fault, body in (
        ("manifest missing", None),
        ("manifest malformed", b"input/a.wav input/b.wav\n"),
        ("unsupported manifest schema", b'{"schema": 2}\n{"source": "input/a.wav"}\n'),
    ):
        scenario, name = builder.with_one_fault(fault, MANIFEST, [78])
        tamper = tampering(s3, bucket, f"{scenario.run.manifest_prefix}0", body)
        scenario.worker.wire.append(wire_fault(MANIFEST, name, tamper))


def tampering(s3: Any, bucket: str, key: str, body: bytes | None) -> Callable[[], None]:
    def tamper() -> None:
        if body is None:
            s3.delete_object(Bucket=bucket, Key=key)
        else:
            s3.put_object(Bucket=bucket, Key=key, Body=body)

    return tamper


def reset() -> None:
    raise Reset


NETWORK: dict[str, dict[str, Any]] = {
    "S3 500": {"action": lambda: 500},
    "S3 503 (throttled)": {"action": lambda: 503},
    "connection reset": {"action": reset},
    "response lost": {"action": reset, "after": True},
}
READING: dict[str, dict[str, Any]] = {"truncated read": {"truncate": True}, "slow read": {"slow": True}}


def add_network_faults(builder: ScenarioBuilder) -> None:
    """One run has all network faults, each at a separate recording. Faults at the manifest need separate runs."""
    scenario, folder = builder.scenario([0], audio_minutes_per_child=1, max_instances=3)
    number = 0
    for fault, options in {**NETWORK, **READING}.items():
        for step in S3_STEPS if fault in NETWORK else READS:
            if step == MANIFEST:
                separate, name = builder.with_one_fault(fault, step, [0])
                separate.worker.wire.append(wire_fault(step, name, **{"action": reset, **options}))
                continue
            number += 1
            name = builder.upload_target(folder, step, number)
            scenario.worker.wire.append(wire_fault(step, name, **{"action": reset, **options}))
            scenario.trials.append(Trial(fault, step, [name], normal_end(step)))


def add_owner_changes(builder: ScenarioBuilder) -> None:
    """The owner replaces or deletes a recording directly before a step or directly after it."""
    scenario, folder = builder.scenario([0], audio_minutes_per_child=1, max_instances=2)
    cases = product(S3_STEPS[1:], (("source replaced", replace), ("source deleted", delete)), (False, True))
    for number, (step, (fault, action), after) in enumerate(cases):
        name = builder.upload_target(folder, step, number)
        scenario.worker.wire.append(wire_fault(step, name, action(builder.ledger, name), after=after))
        expected = ("processed",) if action is replace else ("", "processed", "failed")
        scenario.trials.append(Trial(fault, step, [name], expected))


def replace(ledger: Ledger, name: str) -> Callable[[], None]:
    return lambda: ledger.put(name, recording(REPLACEMENT), TEXTS[REPLACEMENT])


def delete(ledger: Ledger, name: str) -> Callable[[], None]:
    return lambda: ledger.delete(name)


def add_outage(builder: ScenarioBuilder) -> None:
    """S3 always fails at one step. It answers 501, which no client retries, so the test need not wait."""
    scenario, folder = builder.scenario([75, 75, 75], audio_minutes_per_child=0.1, max_instances=3)
    for number, step in enumerate(S3_STEPS[1:]):
        name = builder.upload_target(folder, step, number)
        scenario.worker.wire.append(wire_fault(step, name, lambda: 501, times=ALWAYS))
        scenario.trials.append(Trial("S3 permanently unavailable", step, [name], normal_end(step)))
    separate, name = builder.with_one_fault("S3 permanently unavailable", MANIFEST, [75, 75, 75])
    separate.worker.wire.append(wire_fault(MANIFEST, name, lambda: 501, times=ALWAYS))


def add_denials(builder: ScenarioBuilder) -> None:
    """S3 denies access to one recording, for example because it is archived. The worker continues with the next one."""
    scenario, folder = builder.scenario([0], audio_minutes_per_child=1, max_instances=1)
    for number, step in enumerate(
        ("source GET", "source DELETE", "source GET", "source GET", "source GET", "source GET")
    ):
        name = builder.upload_target(folder, step, number)
        scenario.worker.wire.append(wire_fault(step, name, lambda: 403, times=ALWAYS))
        scenario.trials.append(Trial(DENIED, step, [name]))


@pytest.fixture(scope="module")
def finished_scenarios(aws: Any, workers: FaultyWorkers, ledger: Ledger) -> list[Scenario]:
    """Run all scenarios of each round: first with faults, then without faults for the recordings left."""
    only = os.environ.get("FAULT_ONLY", "")
    finished: list[Scenario] = []
    for round_ in range(ROUNDS):
        with ExitStack() as proxies:
            builder = ScenarioBuilder(aws, workers, ledger, proxies, f"round{round_}-")
            add_signals(builder, round_)
            add_crashes(builder)
            add_full_disk(builder)
            add_unusable_manifests(builder)
            add_network_faults(builder)
            add_owner_changes(builder)
            add_outage(builder)
            add_denials(builder)
            selected = [case for case in builder.scenarios if case.trials[0].fault.startswith(only)]
            run_all(selected, ledger)
            finished += selected
    if "FAULT_TABLES" in os.environ and not only:
        write(PROJECT / "docs" / "faults.md", table(trials_of(finished)))
        write(PROJECT / "README.md", summary(trials_of(finished)))
    return finished


def trials_of(scenarios: list[Scenario]) -> list[Trial]:
    return [trial for scenario in scenarios for trial in scenario.trials]


def run_all(scenarios: list[Scenario], ledger: Ledger) -> None:
    for scenario in scenarios:
        scenario.files = scenario.run.plan()
        scenario.run.submit()
    wait_for_all((scenario.run for scenario in scenarios), DEADLINE)
    for scenario in scenarios:
        run = scenario.run
        scenario.children = run.planned["children"] if run.planned else 0
        scenario.first_codes = run.attempts()
        check_and_verify(scenario, ledger, interrupted=run.job()["status"] == "FAILED")
        for trial in scenario.trials:
            trial.problems += ["the fault did not happen"] * (not scenario.worker.triggered())
        scenario.worker.remove_faults()
        scenario.left = len(ledger.waiting(run.context["params"]["prefix"]))
        scenario.planned_again = run.start()
    again = [scenario for scenario in scenarios if scenario.planned_again]
    wait_for_all((scenario.run for scenario in again), DEADLINE)
    for scenario in again:
        check_and_verify(scenario, ledger, interrupted=False)


def check_and_verify(scenario: Scenario, ledger: Ledger, *, interrupted: bool) -> None:
    """Check the bucket, then run `verify`."""
    for trial in scenario.trials:
        trial.check(ledger, interrupted=interrupted or trial.fault == DENIED)
    try:
        scenario.run.verify()
    except AirflowFailException:
        deleted = any(trial.fault == "source deleted" for trial in scenario.trials)
        if not interrupted and not deleted:
            scenario.trials[0].problems.append("verify failed")


def test_no_fault_at_any_step_loses_or_duplicates_a_recording(finished_scenarios: list[Scenario]) -> None:
    print("\n" + table(trials_of(finished_scenarios)))
    assert [
        (trial.fault, trial.step, trial.problems) for trial in trials_of(finished_scenarios) if trial.problems
    ] == []


def test_every_recording_ends_in_its_expected_folder(finished_scenarios: list[Scenario], ledger: Ledger) -> None:
    misplaced = []
    for trial in trials_of(finished_scenarios):
        affected, *unaffected = ((ledger.state(name).folders or ("",))[0] for name in trial.names)
        if affected not in trial.expected_folders or any(folder != "processed" for folder in unaffected):
            misplaced.append((trial.fault, trial.step, affected, unaffected))
        if trial.code and ledger.reason_code(trial.names[0]) != trial.code:
            misplaced.append((trial.fault, trial.step, ledger.reason_code(trial.names[0]), [trial.code]))
    assert misplaced == []


def test_batch_retries_only_failures_that_a_retry_can_fix(finished_scenarios: list[Scenario]) -> None:
    wrong = [
        (scenario.trials[0].fault, scenario.trials[0].step, scenario.first_codes)
        for scenario in finished_scenarios
        if scenario.first_codes != scenario.codes * scenario.children
    ]
    assert wrong == []


def test_a_run_that_is_planned_again_plans_only_the_recordings_left(finished_scenarios: list[Scenario]) -> None:
    again = [scenario for scenario in finished_scenarios if scenario.left]
    assert [scenario.planned_again for scenario in again] == [scenario.left for scenario in again]
    assert again or "FAULT_ONLY" in os.environ
    assert "FAULT_ONLY" in os.environ or any(scenario.left < scenario.files for scenario in again)
