"""The trials and their results, and the tables of docs/faults.md and README.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.injection import REJECTED_STEPS, TRANSCRIBED_STEPS
from tests.faults.ledger import Ledger

S3_STEPS = (*TRANSCRIBED_STEPS, *REJECTED_STEPS)
ENGINE, WHISPER_ENGINE, DECODER, DISK = "engine", "engine (Whisper)", "decoder", "scratch disk"
COLUMNS = (*S3_STEPS, ENGINE, WHISPER_ENGINE, DECODER, DISK)
COUNTS = ("lost", "duplicated", "wrong")
KINDS = {
    "the container is stopped (SIGTERM, as on a Spot interruption) or killed": ("SIGTERM", "SIGKILL"),
    "an engine or the decoder crashes or is killed": (
        "engine crash", "engine crash, twice", "engine abort, twice", "decoder crash", "decoder crash, twice",
        "out-of-memory kill", "out-of-memory kill, twice", "idle processes killed",
    ),
    "the disk is full, or the decoder reaches its memory limit": ("disk full", "memory limit"),
    "S3 fails or throttles, temporarily or permanently": ("S3 500", "S3 503 (throttled)", "S3 permanently unavailable"),
    "a connection breaks or stalls, or the response is lost": (
        "connection reset", "response lost", "truncated read", "slow read",
    ),
    "the owner replaces or deletes the recording during the run": ("source replaced", "source deleted"),
    "S3 denies access to one recording (archived, or another KMS key)": ("S3 denies access (403)",),
    "the manifest is missing or unreadable": (
        "manifest missing", "manifest malformed", "unsupported manifest schema",
    ),
}  # fmt: skip
ALL = "**all**"


@dataclass
class Trial:
    """One fault at one step, the affected recordings, and the result."""

    fault: str
    step: str
    names: list[str]
    expected_folders: tuple[str, ...] = ("processed",)  # allowed final folders of the first recording; "" means deleted
    code: str = ""  # expected reason code if the first recording is rejected
    problems: list[str] = field(default_factory=list)

    def check(self, ledger: Ledger, *, interrupted: bool) -> None:
        """Check the recordings in the bucket. Only a failed or denied move may be incomplete."""
        for name in self.names:
            state = ledger.state(name)
            incomplete_move = interrupted and state.folders[:1] == ("input",) and state.transcriptions <= 1
            self.problems += [f"lost: {name}"] * state.lost
            self.problems += [f"duplicated: {name}: {state}"] * (state.duplicated and not incomplete_move)
            self.problems += [f"wrong: {name}: {state.wrong}"] * bool(state.wrong)

    def count(self, kind: str) -> int:
        return sum(problem.startswith(kind) for problem in self.problems)


def table(trials: Iterable[Trial]) -> str:
    """A table with a row per fault: the counts of trials at each step and of each problem."""
    lines = [f"| fault | {' | '.join((*COLUMNS, 'trials', *COUNTS))} |", "| --- |" + " ---: |" * (len(COLUMNS) + 4)]
    for fault, row in _with_total(_grouped(trials)).items():
        by_step = [sum(trial.step == step for trial in row) or "" for step in COLUMNS]
        lines.append(_line(fault, *by_step, *_counts(row)))
    return "\n".join(lines)


def summary(trials: Iterable[Trial]) -> str:
    """A table with a row per kind of fault: its steps, and the counts of trials and of each problem."""
    by_fault = _grouped(trials)
    kinds = {kind: [trial for fault in faults for trial in by_fault.pop(fault, ())] for kind, faults in KINDS.items()}
    assert not by_fault, f"these faults have no entry in KINDS: {[*by_fault]}"
    lines = [_line("fault", "steps", "trials", *COUNTS), "| --- | --- |" + " ---: |" * 4]
    for kind, row in _with_total(kinds).items():
        steps = [step for step in COLUMNS if any(trial.step == step for trial in row)]
        where = ", ".join(steps) if len(steps) <= 3 else f"{len(steps)} of {len(COLUMNS)}"
        lines.append(_line(kind, where, *_counts(row)))
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Replace the table between the page's two markers."""
    start, end = "<!-- faults -->\n", "<!-- end of faults -->"
    before, _, rest = page.read_text("utf-8").partition(start)
    _, marker, after = rest.partition(end)
    assert marker, f"{page} has no markers for the table"
    page.write_text(f"{before}{start}{text}\n{end}{after}", "utf-8")


def _grouped(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    rows: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        rows[trial.fault].append(trial)
    return rows


def _with_total(rows: Mapping[str, list[Trial]]) -> dict[str, list[Trial]]:
    return {**rows, ALL: [trial for row in rows.values() for trial in row]}


def _counts(row: Sequence[Trial]) -> list[int]:
    return [len(row), *(sum(trial.count(kind) for trial in row) for kind in COUNTS)]


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
