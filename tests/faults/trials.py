"""What was tried and what was found: the tables of docs/faults.md and README.md."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.injection import BAD_STEPS, GOOD_STEPS
from tests.faults.ledger import Ledger

LIFE = (*GOOD_STEPS, *BAD_STEPS)
ENGINE, DECODER, DISK = "engine", "decoder", "scratch disk"
COLUMNS = (*LIFE, ENGINE, DECODER, DISK)
COUNTS = ("lost", "doubled", "wrong")
KINDS = {
    "the container is stopped (SIGTERM, as Spot does) or killed": ("SIGTERM", "SIGKILL"),
    "an engine or the decoder crashes or is killed": (
        "engine crash", "engine crash, twice", "engine abort, twice", "decoder crash", "decoder crash, twice",
        "out-of-memory kill", "out-of-memory kill, twice", "idle processes killed",
    ),
    "disk or memory is full": ("disk full", "too much memory for one file"),
    "S3 fails or throttles, for a moment or for good": ("S3 500", "S3 503 (throttled)", "S3 down for good"),
    "a connection breaks, stalls or loses the answer": (
        "connection reset", "answer lost", "truncated read", "slow read",
    ),
    "the recording is replaced or deleted meanwhile": ("source replaced", "source deleted"),
    "the manifest is missing or unreadable": (
        "manifest missing", "manifest malformed", "manifest of another schema",
    ),
}  # fmt: skip
ALL = "**all**"


@dataclass
class Trial:
    """One fault at one step, the recordings that were there, and what was found."""

    fault: str
    step: str
    names: list[str]
    ends: tuple[str, ...] = ("processed",)  # where the first of them may be in the end
    code: str = ""  # of the reason that it is rejected for
    found: list[str] = field(default_factory=list)  # what should not have been

    def look(self, ledger: Ledger, interrupted: bool) -> None:
        """Look at the bucket. The move of a recording may be half done, but only in a job that failed."""
        for name in self.names:
            at = ledger.look(name)
            half_done = interrupted and at.places[:1] == ("input",) and at.transcriptions <= 1
            self.found += [f"lost: {name}"] * at.lost
            self.found += [f"doubled: {name}: {at}"] * (at.doubled and not half_done)
            self.found += [f"wrong: {name}: {at.wrong}"] * bool(at.wrong)

    def count(self, what: str) -> int:
        return sum(found.startswith(what) for found in self.found)


def table(trials: Iterable[Trial]) -> str:
    """Fault by step: times tried; and over all steps, how many recordings were lost, doubled, wrong."""
    lines = [f"| fault | {' | '.join((*COLUMNS, 'tried', *COUNTS))} |", "| --- |" + " ---: |" * (len(COLUMNS) + 4)]
    for fault, row in _with_sum(_grouped(trials)).items():
        tried = [sum(trial.step == step for trial in row) or "" for step in COLUMNS]
        lines.append(_line(fault, *tried, *_counts(row)))
    return "\n".join(lines)


def summary(trials: Iterable[Trial]) -> str:
    """Kind of fault: where it strikes, times tried, and how many recordings were lost, doubled, wrong."""
    by_fault = _grouped(trials)
    kinds = {kind: [trial for fault in faults for trial in by_fault.pop(fault, ())] for kind, faults in KINDS.items()}
    assert not by_fault, f"these are of no kind: {[*by_fault]}"
    lines = [_line("what fails", "where", "tried", *COUNTS), "| --- | --- |" + " ---: |" * 4]
    for kind, row in _with_sum(kinds).items():
        places = [step for step in COLUMNS if any(trial.step == step for trial in row)]
        where = ", ".join(places) if len(places) <= 3 else f"{len(places)} of {len(COLUMNS)} steps"
        lines.append(_line(kind, where, *_counts(row)))
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Put a table in the place of the one that the page has between its marks."""
    start, end = "<!-- faults -->\n", "<!-- end of faults -->"
    before, _, rest = page.read_text("utf-8").partition(start)
    _, found, after = rest.partition(end)
    assert found, f"{page} has no place for the table"
    page.write_text(f"{before}{start}{text}\n{end}{after}", "utf-8")


def _grouped(trials: Iterable[Trial]) -> dict[str, list[Trial]]:
    rows: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        rows[trial.fault].append(trial)
    return rows


def _with_sum(rows: Mapping[str, list[Trial]]) -> dict[str, list[Trial]]:
    return {**rows, ALL: [trial for row in rows.values() for trial in row]}


def _counts(row: Sequence[Trial]) -> list[int]:
    return [len(row), *(sum(trial.count(what) for trial in row) for what in COUNTS)]


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"
