"""Erases a recording, or all recordings of a folder, from a deployed bucket for good.

erase.py ASSEMBLY NAME [--yes] [--receipt FILE]   NAME is a recording's name below input/, such as calls/a.wav, or a
                                                  folder, such as calls/

It deletes every version of the audio, the transcripts, captions, corrections and error documents, and takes names and
texts out of the reports, their search indexes and the data set. It runs with the rights of whoever calls it: neither
Airflow nor the worker may delete a version. It can be repeated at any time, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import IO, Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from deployment_target import client, stack_of
from redaction import CONTENT_TYPES, NotOursError, Redaction

from transcription.plan_lock import PlanLock
from transcription.wording import counted
from transcription_contract import layout, manifest, results
from transcription_contract.manifest import ManifestError

THREADS = 32
_BATCH = 1000  # S3's limit for one DeleteObjects call
_MEMORY_BYTES = 1 << 20  # a larger object is read from a file

NOT_REACHED = (
    "Names of recordings, without words, are also in logs that this command does not reach and that expire: the "
    "bucket's access logs (keep_access_logs_days), the logs of Airflow and the worker (log_retention_days), and "
    "Airflow's database. So are copies that somebody made."
)


class CannotEraseError(Exception):
    """Nothing was erased. The message says why and what to do."""


@dataclass(frozen=True)
class Subject:
    """The recording, or the folder of recordings, that is to be erased."""

    name: str
    """As `layout.recording_name`; a folder ends with a slash."""

    def __post_init__(self) -> None:
        if self.name.startswith("/"):
            raise CannotEraseError(f"{self.name!r} begins with a slash. Names are below {layout.INPUT}: leave it out.")
        if not self.is_folder and not layout.is_audio(self.name):
            raise CannotEraseError(
                f"{self.name!r} is not the name of a recording. Name one below {layout.INPUT}, such as 'calls/a.wav', "
                "or a folder, such as 'calls/'."
            )

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    def covers(self, name: str) -> bool:
        """Whether it is, or contains, the recording of this name."""
        return name == self.name or (self.is_folder and name.startswith(self.name) and layout.is_audio(name))

    def owns(self, recording: str) -> bool:
        """Whether an object that `may_have` allows belongs to it, by the object's `results.RECORDING`."""
        return bool(recording) if self.is_folder else recording == results.recording_id(self.name)

    def output_prefix(self) -> str:
        """Prefix of all its transcripts and captions, and perhaps of others."""
        return layout.OUTPUT + self.name if self.is_folder else layout.transcript_keys(self.name)[0]

    def may_have(self, key: str) -> bool:
        """Whether one of its transcripts or captions can have this key."""
        if self.is_folder:
            return key.startswith(self.output_prefix())
        keys = layout.transcript_keys(self.name)
        return key in keys or key in {layout.format_key(key, form) for key in keys for form in layout.EXTRA_FORMATS}


class Version(NamedTuple):
    """A version of an object, or a delete marker."""

    key: str
    version_id: str
    is_latest: bool
    is_marker: bool


@dataclass
class Found:
    """What the bucket has of a subject."""

    audio: list[Version] = field(default_factory=list)
    """Audio and error documents."""
    outputs: list[Version] = field(default_factory=list)
    """Transcripts and captions."""
    covering: list[str] = field(default_factory=list)
    """Keys of outputs under which another recording's older version would appear."""
    corrections: list[Version] = field(default_factory=list)
    manifests: list[Version] = field(default_factory=list)
    """Manifests of runs that have ended."""
    reports: list[Version] = field(default_factory=list)
    """Reports, their entries, search indexes, and parts of the data set, all versions."""
    query_results: list[Version] = field(default_factory=list)
    """Results of SQL queries: all of them, because they expire anyway."""
    kept: list[str] = field(default_factory=list)
    """Objects that do not say whose they are, and stay."""

    @property
    def versions(self) -> list[Version]:
        return [*self.audio, *self.outputs, *self.corrections, *self.manifests, *self.reports]

    def __str__(self) -> str:
        kinds = (
            (self.audio, "audio and error documents"),
            (self.outputs, "transcripts and captions"),
            (self.corrections, "corrections"),
            (self.reports, "reports, search indexes and the data set"),
            (self.manifests, "manifests of runs that have ended"),
        )
        return "\n".join(f"  {counted(len(versions), 'version')} of {what}" for versions, what in kinds if versions)


class Eraser:
    """Finds and erases a subject's traces in a bucket.

    Args:
        s3: A boto3 client of S3.
        bucket: Name of the audio bucket.
        subject: What to erase.
    """

    def __init__(self, s3: Any, bucket: str, subject: Subject) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._subject = subject
        self._redaction = Redaction(subject.covers)

    def find(self) -> Found:
        """What the bucket has of the subject.

        Raises:
            CannotEraseError: a run has it in its plan.
        """
        found = Found()
        self._find_manifests(found)
        self._find_audio(found)
        self._find_outputs(found)
        for prefix in (layout.RUNS, layout.TABLE):
            found.reports += [v for v, named in self._in_parallel(self._is_named, self._versions(prefix)) if named]
        for version in self._versions(layout.CORRECTIONS + self._subject.name):
            if self._subject.covers(layout.corrected_name(version.key)):
                found.corrections.append(version)
        if found.versions:
            found.query_results = list(self._versions(layout.QUERY_RESULTS))
        return found

    def _find_manifests(self, found: Found) -> None:
        everything = (v for v in self._versions(layout.MANIFESTS) if v.key != layout.PLAN_LOCK)
        for version, planned in self._in_parallel(self._is_planned, everything):
            if planned and version.is_latest:
                run = layout.run_folder_of_manifest(version.key)
                raise CannotEraseError(
                    f"The run {run} has {self._subject.name!r} in its plan. Wait until it has ended, or clear its task "
                    f"`verify` if it failed. If the run is gone from Airflow, delete its manifests: "
                    f"aws s3 rm --recursive s3://{self._bucket}/{layout.MANIFESTS}{run}/"
                )
            if planned:
                found.manifests.append(version)

    def _is_planned(self, version: Version) -> bool:
        if version.is_marker:
            return False
        with self._opened(version) as file:
            try:
                _, recordings = manifest.read(file)
                return any(self._subject.covers(recording.name) for recording in recordings)
            except ManifestError:  # of another version of the worker
                file.seek(0)
                return json.dumps(self._subject.name)[1:-1].encode() in file.read()

    def _find_audio(self, found: Found) -> None:
        for prefix in (layout.INPUT, layout.PROCESSED, layout.FAILED):
            for version in self._versions(prefix + self._subject.name):
                name = version.key[len(prefix) :]
                if prefix == layout.FAILED:
                    name = name.removesuffix(layout.ERROR_SUFFIX)
                if self._subject.covers(name):
                    found.audio.append(version)

    def _find_outputs(self, found: Found) -> None:
        listed = [v for v in self._versions(self._subject.output_prefix()) if self._subject.may_have(v.key)]
        objects: defaultdict[str, list[Version]] = defaultdict(list)
        for version in listed:
            objects[version.key].append(version)
        owners = dict(self._in_parallel(self._owner, (v for v in listed if not v.is_marker)))
        for key, versions in objects.items():
            ours = [v for v in versions if not v.is_marker and self._subject.owns(owners[v])]
            others = [v for v in versions if not v.is_marker and v not in ours]
            found.outputs += ours if others else versions  # with the delete markers, which have the name
            if others and any(v.is_latest for v in ours):
                found.covering.append(key)
            if any(not owners[v] and v.is_latest for v in others):
                found.kept.append(key)

    def _owner(self, version: Version) -> str:
        head = self._s3.head_object(Bucket=self._bucket, Key=version.key, VersionId=version.version_id)
        return str(head["Metadata"].get(results.RECORDING, ""))

    def _is_named(self, version: Version) -> bool:
        if version.is_marker:
            return False
        with self._opened(version) as document, tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as rest:
            try:
                return self._redaction.redact(version.key, document, rest)
            except NotOursError:
                return False

    def erase(self, found: Found) -> None:
        """Erase what `find` found.

        Raises:
            CannotEraseError: S3 refuses to delete a version. What was deleted stays deleted.
        """
        for key in found.covering:
            self._s3.delete_object(Bucket=self._bucket, Key=key)  # a marker, so that nothing older appears
        for versions in (found.outputs, found.audio, found.corrections, found.query_results):
            self._delete(versions)
        for version in found.reports:
            if version.is_latest:
                self._rewrite(version)
        self._delete(found.reports)
        self._delete(found.manifests)

    def _delete(self, versions: Iterable[Version]) -> None:
        for some in batched(versions, _BATCH):
            objects = [{"Key": version.key, "VersionId": version.version_id} for version in some]
            answer = self._s3.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
            for error in answer.get("Errors", ()):
                raise CannotEraseError(
                    f"S3 does not delete {error['Key']!r}: {error.get('Message')}. Repeat the command."
                )

    def _rewrite(self, version: Version) -> None:
        kind = CONTENT_TYPES[Path(version.key).suffix]
        with self._opened(version) as document, tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as rest:
            self._redaction.redact(version.key, document, rest)
            rest.seek(0)
            self._s3.upload_fileobj(rest, self._bucket, version.key, ExtraArgs={"ContentType": kind})

    def _versions(self, prefix: str) -> Iterator[Version]:
        pages = self._s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=prefix)
        for page in pages:
            for kind, is_marker in (("Versions", False), ("DeleteMarkers", True)):
                for item in page.get(kind, ()):
                    yield Version(item["Key"], item["VersionId"], item["IsLatest"], is_marker)

    @contextmanager
    def _opened(self, version: Version) -> Iterator[IO[bytes]]:
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES) as file:
            self._s3.download_fileobj(self._bucket, version.key, file, ExtraArgs={"VersionId": version.version_id})
            file.seek(0)
            yield file

    def _in_parallel[T](self, call: Callable[[Version], T], versions: Iterable[Version]) -> Iterator[tuple[Version, T]]:
        with ThreadPoolExecutor(THREADS) as pool:
            for some in batched(versions, 4 * THREADS):
                yield from zip(some, pool.map(call, some), strict=True)


@dataclass
class Receipt:
    """What was erased, for whoever asked for it."""

    erased: str
    bucket: str
    by: str
    """ARN of the AWS identity that ran the command."""
    started: str
    complete: bool = False
    """Whether a second look found nothing any more."""
    versions: list[Version] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    not_reached: str = NOT_REACHED

    def write(self, file: Path) -> None:
        versions = [{"key": version.key, "version_id": version.version_id} for version in self.versions]
        file.write_text(json.dumps({**asdict(self), "versions": versions}, indent=1) + "\n")


def run(subject: Subject, bucket: str, receipt_file: Path, *, confirmed: bool) -> Receipt:
    """Find and erase the subject, look again, and write the receipt.

    Args:
        subject: What to erase.
        bucket: Name of the audio bucket.
        receipt_file: Where the receipt goes.
        confirmed: Whether to ask no question before anything is erased.

    Raises:
        CannotEraseError: nothing of it is there, a run has it, or the user does not confirm.
    """
    s3 = boto3.client(
        "s3", config=Config(retries={"mode": "standard", "max_attempts": 8}, max_pool_connections=THREADS)
    )
    eraser = Eraser(s3, bucket, subject)
    print(f"Looking for {subject.name!r} in {bucket}. This reads the reports of all runs.", flush=True)
    found = eraser.find()
    if not found.versions:
        hint = f" Names are below {layout.INPUT}: leave that out." if subject.name.startswith(layout.INPUT) else ""
        raise CannotEraseError(f"The bucket {bucket} has nothing of {subject.name!r}.{hint}{_kept(found)}")
    print(f"{found}{_kept(found)}", flush=True)
    if not confirmed and input("Erase all of it for good? Type yes: ") != "yes":
        raise CannotEraseError("Nothing was erased.")
    receipt = Receipt(subject.name, bucket, _caller(), datetime.now(UTC).isoformat(timespec="seconds"))
    # No run plans meanwhile, and nobody else erases. The lock's versions stay for a time, so it does not have the name.
    with PlanLock(s3, bucket, f"erase {secrets.token_hex(4)}"):
        found = eraser.find()
        receipt.versions, receipt.kept = found.versions, found.kept
        try:
            eraser.erase(found)
            print("Erased. Looking again.", flush=True)
            receipt.complete = not eraser.find().versions
        finally:
            receipt.write(receipt_file)
    return receipt


def _kept(found: Found) -> str:
    if not found.kept:
        return ""
    named = "".join(f"\n  {key}" for key in found.kept)
    return f"\nThese objects do not say which recording they are of, and stay. Delete them yourself if need be:{named}"


def _caller() -> str:
    return str(boto3.client("sts").get_caller_identity()["Arn"])


def _bucket_of(assembly: Path) -> str:
    """The audio bucket of the deployed stack. From here on every client is one of the stack's region."""
    stack, region = stack_of(assembly)
    cloudformation = client("cloudformation", region)
    [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    boto3.setup_default_session(region_name=cloudformation.meta.region_name)
    outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}
    return str(outputs["BucketName"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assembly", type=Path)
    parser.add_argument("name")
    parser.add_argument("--yes", action="store_true", help="ask no question")
    parser.add_argument("--receipt", type=Path, default=Path(f"erased-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"))
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("transcription").setLevel(logging.INFO)  # whom it waits for
    try:
        receipt = run(Subject(chosen.name), _bucket_of(chosen.assembly), chosen.receipt, confirmed=chosen.yes)
    except (CannotEraseError, EOFError) as error:
        sys.exit(str(error) or "Nothing was erased, because nobody answered the question. YES=1 erases without asking.")
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"AWS refuses: {error}")
    print(f"{counted(len(receipt.versions), 'version')} erased. {NOT_REACHED}\nThe receipt: {chosen.receipt}")
    if not receipt.complete:
        sys.exit("Something of it has come back or was added meanwhile. Repeat the command.")


if __name__ == "__main__":
    main()
