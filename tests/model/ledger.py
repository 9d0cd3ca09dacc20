"""All uploads, and checks of the promises about them. The checks read only the bucket."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.model import pipeline
from tests.model.memory_s3 import Version
from tests.model.processes import Killed
from tests.model.world import USER, Run, World

INPUT, OUTPUT, PROCESSED, FAILED = "input/", "output/", "processed/", "failed/"
_WORDS = re.compile(r"\b(t\d+) b(\d+) m(\d+)\b")
FORMAT_STARTS = (("json", "{"), ("vtt", "WEBVTT"), ("srt", "1\n0"))


class Broken(AssertionError):
    """The pipeline broke a promise.

    Args:
        promise: The promise, in the same words for every case.
    """

    def __init__(self, promise: str, detail: str) -> None:
        super().__init__(f"{promise}: {detail}")
        self.promise = promise


def _require(condition: object, promise: str, detail: str) -> None:
    if not condition:
        raise Broken(promise, detail)


@dataclass(frozen=True)
class Upload:
    """One upload of a recording."""

    name: str
    spoken: str
    """The spoken word, different for each content. Empty if the recording has no speech."""
    body: bytes
    etag: str
    number: int
    """Its position in the order of all writes."""


@dataclass(frozen=True)
class ParsedOutput:
    """The content of an output: the spoken word, the settings that the engine adds, and the format."""

    spoken: str
    beam: int
    model: int
    format: str


def parse_output(version: Version) -> ParsedOutput | None:
    """Parse an output of the pipeline. Return None if a user wrote it."""
    text = version.body.decode()
    output = _WORDS.search(text)
    if version.writer == USER or output is None:
        return None
    format_ = next((format_ for format_, start in FORMAT_STARTS if text.startswith(start)), "txt")
    return ParsedOutput(output[1], int(output[2]), int(output[3]), format_)


@dataclass
class Ledger:
    """All uploads, and the promises about them."""

    world: World
    uploads: dict[str, list[Upload]] = field(default_factory=lambda: defaultdict(list))
    deleted: set[int] = field(default_factory=set)
    """Numbers of waiting uploads that the user deleted or overwrote."""
    overwritten: set[str] = field(default_factory=set)
    """Names of waiting uploads that the user overwrote. A worker may have been transcribing them."""
    excused: set[str] = field(default_factory=set)
    """Names of waiting recordings that the user deleted during a run. The worker may or may not transcribe them."""
    changed_by_user: set[str] = field(default_factory=set)
    """Names whose outputs the user changed or deleted."""
    _checked: int = 0

    # Uploads and outputs.

    def record(self, name: str, spoken: str, version: Version) -> None:
        self.uploads[name].append(Upload(name, spoken, version.body, version.etag, version.number))
        self.excused.discard(name)

    def overwrite(self, name: str) -> None:
        """Record that the next upload overwrites the waiting one, if there is one."""
        waiting = self.world.store.current.get(INPUT + name)
        if waiting is not None:
            self.deleted.add(waiting.number)
            self.overwritten.add(name)

    def by_word(self, spoken: str) -> Upload:
        """The latest upload of this content."""
        return next(upload for upload in reversed(self._all()) if upload.spoken == spoken)

    def _all(self) -> list[Upload]:
        return sorted((upload for some in self.uploads.values() for upload in some), key=lambda upload: upload.number)

    def latest(self, name: str) -> Upload | None:
        """The last upload that the user neither deleted nor overwrote."""
        kept = [upload for upload in self.uploads[name] if upload.number not in self.deleted]
        return kept[-1] if kept else None

    def outputs(self, name: str) -> Iterator[tuple[Version, ParsedOutput]]:
        """The current outputs of a recording."""
        for key, version in self.world.store.current.items():
            if key.startswith(OUTPUT):
                output = parse_output(version)
                if output and self.by_word(output.spoken).name == name:
                    yield version, output

    def _all_outputs(self, upload: Upload, format_: str) -> Iterator[ParsedOutput]:
        for key, versions in self.world.store.history.items():
            if key.startswith(OUTPUT):
                for version in versions:
                    output = parse_output(version)
                    if output and output.spoken == upload.spoken and output.format == format_:
                        yield output

    # Promises at any time.

    def check(self) -> None:
        """Check the promises that hold at any time, also during a run."""
        self._check_new_versions()
        for name in self.uploads:
            self._check_not_lost(name)

    def _check_new_versions(self) -> None:
        new = [
            (before, version)
            for versions in self.world.store.history.values()
            for before, version in zip([None, *versions], versions, strict=False)
            if version.number > self._checked
        ]
        for before, version in sorted(new, key=lambda pair: pair[1].number):
            if before is not None and before.deleted:
                before = None
            if version.key.startswith(OUTPUT) and version.writer != USER:
                self._check_output(before, version)
            if version.key.startswith(PROCESSED) and version.writer != USER:
                self._check_processed(before, version)
        self._checked = self.world.store.number

    def _check_output(self, before: Version | None, version: Version) -> None:
        if before is not None:
            _require(before.writer != USER, "a user's own file is never replaced", version.key)
        if version.deleted:
            return
        current = parse_output(version)
        assert current is not None, version
        upload = self._upload_at(current.spoken, version)
        says = version.metadata.get("source-etag")
        _require(says == upload.etag, "an output's metadata names its source", f"{version.key} says {says}")
        previous = parse_output(before) if before is not None else None
        if previous is None:
            return
        earlier = self._upload_at(previous.spoken, version)
        _require(
            earlier.name == upload.name,
            "the transcript of another recording is never replaced",
            f"{version.key} was the transcript of {earlier.name} and is now that of {upload.name}",
        )
        _require(
            earlier.number <= upload.number,
            "the transcript of a newer version is never replaced by that of an older version",
            f"{version.key}: {previous.spoken} by {current.spoken}",
        )

    def _check_processed(self, before: Version | None, version: Version) -> None:
        _require(not version.deleted, "processed audio is never deleted", version.key)
        if before is None:
            return
        uploads = [
            upload for upload in self.uploads[version.key.removeprefix(PROCESSED)] if upload.number < version.number
        ]
        numbers = [max(u.number for u in uploads if u.etag == some.etag) for some in (before, version)]
        _require(numbers[0] <= numbers[1], "processed audio is never replaced by an older version", version.key)

    def _upload_at(self, spoken: str, version: Version) -> Upload:
        """The latest upload of this content at the time of a write."""
        return [upload for upload in self._all() if upload.spoken == spoken and upload.number < version.number][-1]

    def _check_not_lost(self, name: str) -> None:
        upload = self.latest(name)
        if upload and name not in self.excused:
            folders = self.folders(upload)
            _require(folders, "an upload is never lost", f"{name} {upload.spoken or upload.body!r} is in no folder")

    def folders(self, upload: Upload) -> list[str]:
        """The folders that contain an upload together with its transcript or reason."""
        current, folders = self.world.store.current, []
        if (waiting := current.get(INPUT + upload.name)) and waiting.etag == upload.etag:
            folders.append("input")
        if (moved := current.get(PROCESSED + upload.name)) and moved.body == upload.body and self._has_text(upload):
            folders.append("processed")
        if (failed := current.get(FAILED + upload.name)) and failed.body == upload.body and self.has_reason(upload):
            folders.append("failed")
        return folders

    def _has_text(self, upload: Upload) -> bool:
        if upload.name in self.changed_by_user:
            return True
        return any(output.spoken == upload.spoken and output.format == "txt" for _, output in self.outputs(upload.name))

    def has_reason(self, upload: Upload) -> bool:
        """Whether failed/ has an error document for this version."""
        reason = self.world.store.current.get(f"{FAILED}{upload.name}.error.json")
        return reason is not None and upload.etag in reason.body.decode()

    # Promises when no run is active.

    def check_settled(self) -> None:
        """Check the promises that hold after all runs and one more nightly run have ended."""
        self.check()
        for name in self.uploads:
            if name in self.excused:
                continue
            self.check_processed(name)
            moved = self.world.store.current.get(PROCESSED + name)
            for version, output in self.outputs(name):
                upload = self.by_word(output.spoken)
                # If a user overwrites a recording during its transcription, its transcript may exist without its audio.
                if output.format == "txt" and upload.number not in self.deleted:
                    _require(
                        moved is not None and moved.body == upload.body,
                        "a transcript belongs to the audio in processed/",
                        f"{version.key} has {output.spoken} of {name}",
                    )
            if moved is not None and name not in self.changed_by_user:
                texts = [output for _, output in self.outputs(name) if output.format == "txt"]
                _require(texts, "processed audio has a transcript", name)

    def check_processed(self, name: str) -> None:
        """Check that an undisturbed run moved this recording, or wrote the reason why not."""
        waiting = self.world.store.current.get(INPUT + name)
        upload = self.latest(name)
        _require(
            waiting is None or (upload and self.has_reason(upload)),
            "the next undisturbed run processes every waiting recording",
            f"{name} still waits",
        )

    # Promises about a run that has ended.

    def check_run(self, run: Run) -> None:
        """Check the run's state and report."""
        if not run.disturbed:
            _require(
                run.state in ("green", "skipped"),
                "an undisturbed run ends green",
                f"{run.id}: {run.state}: {run.error}",
            )
        if not isinstance(run.error, Killed):
            self._check_all_reported(run)
        if run.state not in ("green", "red") or not run.plan or not run.planned:
            return
        report = pipeline.report(self.world.store, run.context, run.plan)
        if report is None and isinstance(run.error, Killed):  # every attempt of `verify` was killed
            return
        _require(report, "a run that has ended has a report", run.id)
        assert report is not None
        counts = {state: sum(1 for _, its in report.entries if its == state) for state in report.totals}
        _require(
            counts == dict(report.totals), "a report's totals equal the counts of its entries", f"{run.id}: {report}"
        )
        planned = {item.source_key: item for item in run.planned}
        keys = sorted(key for key, _ in report.entries)
        _require(keys == sorted(planned), "a report lists every planned recording", f"{run.id}: {keys}")
        _require(run.state == "red" or not counts.get("missing"), "a run with missing recordings is red", run.id)
        for key, state in report.entries:
            self._check_entry(run, planned[key], state)

    def _check_all_reported(self, run: Run) -> None:
        """Every recording of which the run wrote a transcript is in a report of the run, also of an earlier plan."""
        reported = pipeline.reported(self.world.store, run.context)
        for key, versions in self.world.store.history.items():
            for version in versions:
                if key.startswith(OUTPUT) and pipeline.is_by_run(version.metadata, run.context):
                    output = parse_output(version)
                    name = self.by_word(output.spoken).name if output else ""
                    _require(
                        not output or name in reported,
                        "every transcript of a run is in its reports",
                        f"{run.id}: {name}",
                    )

    def _check_entry(self, run: Run, item: pipeline.Planned, state: str) -> None:
        detail = f"{run.id}: {item.source_key} is {state}"
        uploads = self.uploads[item.name]
        upload = [upload for upload in uploads if upload.etag == item.etag and upload.number <= run.planned_at][-1]
        if state == "transcribed":
            self._check_transcribed(run, item, upload, detail)
        elif state == "rejected":
            history = self.world.store.versions(f"{FAILED}{item.name}.error.json")
            _require(
                any(item.etag in version.body.decode() for version in history),
                "a rejected recording has a reason",
                detail,
            )
        elif state == "replaced":
            _require(
                uploads[-1].number > min(u.number for u in uploads if u.etag == item.etag),
                "a recording reported as replaced has a newer version",
                detail,
            )
        elif state == "missing" and not item.in_place:
            _require(not self._is_processed(run, upload), "a recording reported as missing has no transcript", detail)

    def _is_processed(self, run: Run, upload: Upload) -> bool:
        """Whether the upload was moved, not only copied, and has all outputs that the run requests."""
        waiting = self.world.store.current.get(INPUT + upload.name)
        if waiting is not None and waiting.number == upload.number:
            return False
        moved = self.world.store.current.get(PROCESSED + upload.name)
        was_moved = moved is not None and moved.body == upload.body and moved.number > upload.number
        return was_moved and upload.name not in self.changed_by_user and self._has_requested_outputs(run, upload)

    def _check_transcribed(self, run: Run, item: pipeline.Planned, upload: Upload, detail: str) -> None:
        _require(any(self._all_outputs(upload, "txt")), "a recording reported as transcribed has a transcript", detail)
        if run.disturbed:
            if item.in_place:
                output = any(self._matches(run, some) for some in self._all_outputs(upload, "txt"))
                _require(output, "a repeated run transcribes again, also during other runs", detail)
            return
        _require(self._has_requested_outputs(run, upload), "a transcript has the run's params and model", detail)

    def _has_requested_outputs(self, run: Run, upload: Upload) -> bool:
        """Whether every output that the run requests exists now, with the run's params and model."""
        there = {
            output.format
            for _, output in self.outputs(upload.name)
            if output.spoken == upload.spoken and self._matches(run, output)
        }
        return {"txt", *run.formats} <= there

    def _matches(self, run: Run, output: ParsedOutput) -> bool:
        return output.beam == run.beam and run.models[0] <= output.model <= run.models[1]

    def check_same(self, run: Run, before: tuple[str, str, pipeline.Report | None]) -> None:
        """Check that a repeated `verify` gave the same result."""
        after = self.result(run)
        _require(before == after, "a repeated verify gives the same result", f"{run.id}: {before} and then {after}")

    def result(self, run: Run) -> tuple[str, str, pipeline.Report | None]:
        report = pipeline.report(self.world.store, run.context, run.plan) if run.plan else None
        return run.state, type(run.error).__name__ if run.state == "red" else "", report
