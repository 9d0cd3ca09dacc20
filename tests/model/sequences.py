"""Sequences of actions: the Hypothesis strategies, and the code that plays a sequence."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from hypothesis import strategies as st

from tests.model import pipeline
from tests.model.ledger import INPUT, OUTPUT, Ledger
from tests.model.memory_s3 import START
from tests.model.world import ALWAYS, Run, World

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "ä.wav") for form in ("NFC", "NFD"))
COLLIDING_NAMES = (
    ("a.mp3", "a.wav"),
    ("a.wav", "a.json.wav"),
    ("a.mp3", "a.wav", "A.wav"),
    ("x.wav", "x.srt.wav"),
    ("a.wav",),
    ("a.mp3", "sub/a.wav", "a.json.wav"),
    (COMPOSED, DECOMPOSED),
)
"""Groups of names whose output keys can collide."""

INTERVALS: Mapping[str, tuple[datetime, datetime]] = {
    "always": ALWAYS,
    "first hour": (START, START + timedelta(hours=1)),
}
PARAMS: tuple[dict[str, Any], ...] = (
    {},
    {pipeline.BEAM: 10},
    {pipeline.FORMATS: ["json"]},
    {pipeline.FORMATS: ["json", "srt"], pipeline.BEAM: 10},
    {"audio_minutes_per_child": 0.01, "max_instances": 2},
)
STOP_CALLS = (
    ("PutObject", "child_job_input/"),
    ("SubmitJob", ""),
    ("GetObject", "input/"),
    ("PutObject", "output/"),
    ("CopyObject", "processed/"),
    ("DeleteObject", "input/"),
    ("PutObject", "failed/"),
    ("PutObject", "runs/"),
    ("DeleteObjects", "child_job_input/"),
)
"""Calls before which a run can be paused: the operation and the key's prefix."""

MAX_ACTIONS = 12  # per sequence; an overlap counts as one action

Stop = int | tuple[str, str] | None
"""When a run pauses: after a number of calls, before a certain call, or never (None)."""


@dataclass(frozen=True)
class Upload:
    """A user uploads a recording, with new content or with that of the last upload."""

    name: int = 0
    again: bool = False
    speech: bool = True


@dataclass(frozen=True)
class Delete:
    """A user deletes a waiting recording."""

    name: int = 0


@dataclass(frozen=True)
class PutOwnFile:
    """A user puts a file at a key where the worker could write a transcript."""

    name: int = 0
    suffix: str = ""


@dataclass(frozen=True)
class DeleteOutputs:
    """A user deletes a recording's transcript."""

    name: int = 0


@dataclass(frozen=True)
class Start:
    """A nightly run or the backfill of an interval starts with these params, and runs until `stop`."""

    interval: str | None = None
    params: int = 0
    stop: Stop = None


@dataclass(frozen=True)
class Resume:
    """A paused run continues."""

    run: int = 0
    stop: Stop = None


@dataclass(frozen=True)
class Kill:
    """The running process of a run is killed and started again."""

    run: int = 0


@dataclass(frozen=True)
class Abandon:
    """Airflow is killed and loses a run. The run's job continues."""

    run: int = 0


@dataclass(frozen=True)
class LoseResponse:
    """The response to a run's next call is lost. The SDK sends the call again."""

    run: int = 0


@dataclass(frozen=True)
class Clear:
    """A user clears all tasks of a run that has ended."""

    run: int = 0
    stop: Stop = None


@dataclass(frozen=True)
class VerifyAgain:
    """The task `verify` runs again."""

    run: int = 0


@dataclass(frozen=True)
class ReplaceModel:
    """A user replaces the model at its key."""


@dataclass(frozen=True)
class ToggleAccess:
    """S3 denies access to a waiting recording. If it already does, it allows access again."""

    name: int = 0


@dataclass(frozen=True)
class UploadArchived:
    """A user uploads five larger recordings that S3 cannot read, as if archived."""


@dataclass(frozen=True)
class AdvanceClock:
    """Time passes."""

    seconds: float = 1.0


Action = (
    Upload | Delete | PutOwnFile | DeleteOutputs | Start | Resume | Kill | Abandon | LoseResponse | Clear | VerifyAgain
    | ReplaceModel | ToggleAccess | UploadArchived | AdvanceClock
)  # fmt: skip


@dataclass(frozen=True)
class Sequence:
    """Actions in order, on recordings with these names. After them `Play` adds two undisturbed nightly runs."""

    names: tuple[str, ...]
    actions: tuple[Action, ...] = field(default=())


def _weighted(*choices: tuple[int, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Choose a strategy by weight. `st.one_of` would ignore repeated strategies."""
    numbers = [number for number, (weight, _) in enumerate(choices) for _ in range(weight)]
    return st.sampled_from(numbers).flatmap(lambda number: choices[number][1])


_name = st.sampled_from([0, 1, 0, 2])
_run = st.sampled_from([0, 1, 0, 2])
_never = st.none()
_part = st.one_of(st.sampled_from(STOP_CALLS), st.integers(1, 50))
_stop: st.SearchStrategy[Stop] = _weighted((2, _never), (1, _part))
_params = st.integers(0, len(PARAMS) - 1)
_interval = st.sampled_from([None, "always", None, "first hour"])
_upload = st.builds(
    Upload, _name, _weighted((3, st.just(False)), (1, st.just(True))), st.sampled_from([True] * 5 + [False])
)
_start = st.builds(Start, _interval, _params, _stop)
_action = _weighted(
    (6, _upload),
    (7, _start),
    (4, st.builds(Resume, _run, _stop)),
    (1, st.builds(Delete, _name)),
    (1, st.builds(PutOwnFile, _name, st.sampled_from(["", ".json"]))),
    (1, st.builds(DeleteOutputs, _name)),
    (2, st.builds(Kill, _run)),
    (1, st.builds(Abandon, _run)),
    (1, st.builds(LoseResponse, _run)),
    (2, st.builds(Clear, _run, _stop)),
    (1, st.builds(VerifyAgain, _run)),
    (1, st.builds(ReplaceModel)),
    (1, st.builds(ToggleAccess, _name)),
    (1, st.builds(UploadArchived)),
    (2, st.builds(AdvanceClock, st.sampled_from([5.0, 6 * MINUTE, 11 * MINUTE, HOUR, DAY]))),
)
_interference = _weighted(
    (4, _upload),
    (3, st.builds(Start, _interval, _params, st.none())),
    (2, st.builds(PutOwnFile, _name, st.sampled_from(["", ".json"]))),
    (1, st.builds(Delete, _name)),
    (1, st.builds(LoseResponse, _run)),
    (1, st.builds(Kill, _run)),
    (1, st.builds(AdvanceClock, st.sampled_from([6 * MINUTE, 11 * MINUTE]))),
)
_overlap = st.builds(
    lambda start, others, end: (start, *others, end),
    st.builds(Start, _interval, _params, _part),
    st.lists(_interference, min_size=1, max_size=3),
    st.builds(Resume, _run, st.none()),
)
"""A run that is paused during other actions."""
_restart = st.builds(
    lambda start, others, job, again: (start, Abandon(), *others, job, again),
    st.builds(Start, _interval, _params, _part),
    st.lists(_interference, max_size=1),
    st.builds(Resume, st.just(0), _stop),
    st.builds(Clear, st.just(0), _stop),
)
"""A run whose orchestrator dies and starts again on an empty database, after its job did some more."""
_step = _weighted((8, st.builds(lambda action: (action,), _action)), (2, _overlap), (1, _restart))
_actions = st.integers(1, MAX_ACTIONS).flatmap(lambda number: st.lists(_step, min_size=number, max_size=number))
sequences = st.builds(
    lambda names, first, rest: Sequence(names, (first, *itertools.chain(*rest))),
    st.sampled_from(COLLIDING_NAMES),
    _upload,
    _actions,
)


class Play:
    """Plays a sequence and checks every promise after each action.

    Args:
        without: Names of the actions to skip.

    Raises:
        Broken: `run` raises it at the first broken promise.
    """

    def __init__(self, sequence: Sequence, without: Collection[str] = ()) -> None:
        self._without = without
        self.sequence = sequence
        self.world = World()
        self.ledger = Ledger(self.world)
        self.steps = 0
        self._contents = 0

    def run(self) -> None:
        try:
            for action in self.sequence.actions:
                if type(action).__name__ not in self._without:
                    self._act(action)
                self.ledger.check()
            self._finish()
        finally:
            self.world.close()

    def _act(self, action: Action) -> None:
        self.steps += 1
        if not isinstance(action, Start | Resume | Clear | VerifyAgain):
            for run in self.world.runs:
                run.disturbed |= run.state in ("", "abandoned")
        getattr(self, f"_{type(action).__name__.lower()}")(action)

    # Users' actions.

    def _name(self, number: int) -> str:
        return self.sequence.names[number % len(self.sequence.names)]

    def _upload(self, action: Upload) -> None:
        name = self._name(action.name)
        earlier = self.ledger.uploads[name]
        if action.again and earlier:
            spoken, body = earlier[-1].spoken, earlier[-1].body
        else:
            self._contents += 1
            spoken = f"t{self._contents}" if action.speech else ""
            body = pipeline.audio(spoken or f"- {self._contents}")
        self._put(name, spoken, body)

    def _put(self, name: str, spoken: str, body: bytes) -> None:
        self.world.store.denied.discard(INPUT + name)
        self.ledger.overwrite(name)
        self.ledger.record(name, spoken, self.world.put(INPUT + name, body))

    def _delete(self, action: Delete) -> None:
        name = self._name(action.name)
        waiting = self.world.store.current.get(INPUT + name)
        if waiting is None:
            return
        self.world.delete(INPUT + name)
        uploads = self.ledger.uploads[name]
        # The bucket cannot distinguish two uploads with the same content.
        same = [upload for upload in uploads if upload.etag == waiting.etag]
        if self.world.active or self.world.active_jobs or name in self.ledger.overwritten or len(same) > 1:
            self.ledger.excused.add(name)
        self.ledger.deleted.add(waiting.number)

    def _putownfile(self, action: PutOwnFile) -> None:
        name = self._name(action.name)
        key = OUTPUT + str(PurePosixPath(name).with_suffix("")) + action.suffix
        for other in self.sequence.names:
            if any(version.key == key for version, _ in self.ledger.outputs(other)):
                self.ledger.changed_by_user.add(other)
        self.world.put(key, b"a user's own text")

    def _deleteoutputs(self, action: DeleteOutputs) -> None:
        name = self._name(action.name)
        keys = [version.key for version, _ in self.ledger.outputs(name)]
        for key in keys:
            self.world.delete(key)
            self.ledger.changed_by_user.add(name)

    def _replacemodel(self, action: ReplaceModel) -> None:
        self.world.replace_model()

    def _toggleaccess(self, action: ToggleAccess) -> None:
        key = INPUT + self._name(action.name)
        if key in self.world.store.current:
            self.world.store.denied ^= {key}

    def _uploadarchived(self, action: UploadArchived) -> None:
        for number in range(5):
            name = f"z{number}.wav"
            if name not in self.ledger.uploads:
                self._contents += 1
                spoken = f"t{self._contents}"
                self._put(name, spoken, pipeline.audio(spoken.ljust(100)))
                self.world.store.denied.add(INPUT + name)

    def _advanceclock(self, action: AdvanceClock) -> None:
        self.world.clock.advance(action.seconds)

    # Runs.

    def _run(self, number: int) -> Run | None:
        """The run at this position, counted from the last one."""
        runs = self.world.runs
        return runs[-1 - number % len(runs)] if runs else None

    def _start(self, action: Start) -> None:
        number = len(self.world.runs)
        interval = INTERVALS[action.interval] if action.interval else None
        run_id = f"backfill__{action.interval}" if action.interval else f"nightly__{number}"
        existing = next((run for run in self.world.runs if run.id == run_id), None)
        if existing and not existing.state:
            return
        self._continue(self.world.start(run_id, interval, PARAMS[action.params]), action.stop)

    def _resume(self, action: Resume) -> None:
        run = self._run(action.run)
        if run:
            for other in self.world.active:
                other.disturbed |= other is not run
            self._continue(run, action.stop)

    def _continue(self, run: Run, stop: Stop) -> None:
        had_ended = run.state
        if stop is None:
            self.world.finish(run)
        elif isinstance(stop, int):
            for _ in range(stop):
                self.world.step(run)
        else:
            self._continue_to(run, *stop)
        if run.state and not had_ended:
            self.ledger.check_run(run)

    def _continue_to(self, run: Run, operation: str, prefix: str) -> None:
        while self.world.step(run):
            call = self.world.next_call(run)
            if call and call[0] == operation and call[1].startswith(prefix):
                return

    def _kill(self, action: Kill) -> None:
        run = self._run(action.run)
        if run and not run.state:
            self.world.kill(run)
            if run.state:
                self.ledger.check_run(run)

    def _abandon(self, action: Abandon) -> None:
        run = self._run(action.run)
        if run:
            self.world.abandon(run)

    def _loseresponse(self, action: LoseResponse) -> None:
        run = self._run(action.run)
        if run and not run.state:
            self.world.repeat_call(run)

    def _clear(self, action: Clear) -> None:
        run = self._run(action.run)
        if run and run.state:
            self.world.clear(run)
            self._continue(run, action.stop)

    def _verifyagain(self, action: VerifyAgain) -> None:
        run = self._run(action.run)
        if run and run.state in ("green", "red") and run.plan and run.planned:
            unchanged = run.ended_at == self.world.store.number and not self.world.active
            before = self.ledger.result(run)
            self.world.verify_again(run)
            if unchanged:
                self.ledger.check_same(run, before)
            elif run.state == "green":
                run.disturbed = True
                self.ledger.check_run(run)

    # The end of a sequence.

    def _finish(self) -> None:
        """Finish all runs and jobs. Then play two nightly runs without other actions."""
        for run in list(self.world.active):
            self._continue(run, None)
            self.ledger.check()
        for job in self.world.active_jobs:
            while job.is_active:
                self.world.batch.step(job)
            self.ledger.check()
        self.world.clock.advance(HOUR)
        self._play_undisturbed_run("nightly__first")
        self._check_readable_recordings_are_processed()
        self.world.store.denied.clear()
        self.world.clock.advance(DAY)
        self._play_undisturbed_run("nightly__last")
        self.ledger.check_settled()

    def _play_undisturbed_run(self, run_id: str) -> None:
        run = self.world.start(run_id, None, {})
        self._continue(run, None)
        self.ledger.check()
        self.steps += 1

    def _check_readable_recordings_are_processed(self) -> None:
        for name in self.ledger.uploads:
            if INPUT + name not in self.world.store.denied:
                self.ledger.check_processed(name)


def play(sequence: Sequence) -> int:
    """Play a sequence. Return the number of its steps. Raise Broken at a broken promise."""
    play = Play(sequence)
    play.run()
    return play.steps


def script(names: tuple[str, ...], *actions: Action) -> None:
    """Play a sequence of these names and actions."""
    play(Sequence(names, actions))
