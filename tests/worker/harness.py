"""Sample recordings, a bucket on the tests' S3 server, and the worker as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from transcription_contract import layout
from transcription_contract.results import Owner, recording_id

ROOT = Path(__file__).parents[2]
SOURCES = f"{ROOT / 'worker_image'}:{ROOT / 'plugins'}"
SCHEMA = ROOT / "worker_image" / "transcriber" / "transcript.schema.json"
RECORDINGS = ROOT / "tests" / "recordings"
RUN = "child_job_input/manual__2026-11-23-ab12/"
TEXT_ONLY: dict[str, Any] = {"output_formats": []}
"""Run options of a test that states none."""
ONE_AT_ONCE = "deepspeech-tflite"
"""An engine that takes one piece at once, so recordings end one after the other, and few are in progress."""
TEXTS = {entry["file"]: entry["text"] for entry in json.loads((RECORDINGS / "transcripts.json").read_text("utf-8"))}
SHORT = "dictate__forhelp.wav"  # 1.7 s


def processed_key(line: dict[str, Any]) -> str:
    """The key in processed/ of a manifest line's audio."""
    return str(line["source_key"]).replace("input/", "processed/", 1)


def recording(name: str = SHORT) -> bytes:
    return (RECORDINGS / name).read_bytes()


def wait_for(condition: Any, seconds: float = 30) -> None:
    """Wait until the condition is true. An OSError means that it is not true yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, f"the condition is still false after {seconds} s"
        time.sleep(0.05)


def aws_environment(endpoint: str, environment: pytest.MonkeyPatch) -> None:
    """Make every S3 client and every worker use the tests' server."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        environment.delenv(name)
    environment.setenv("AWS_ACCESS_KEY_ID", "test")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "test")
    environment.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    environment.setenv("AWS_ENDPOINT_URL", endpoint)


@dataclass
class Run:
    """The result of a worker process."""

    code: int
    events: list[dict[str, Any]]
    stderr: str

    def outcomes(self) -> dict[str, str]:
        return {event["key"]: event["outcome"] for event in self.events if event["event"] == "file"}

    def reason(self) -> str:
        return next(event["reason"] for event in self.events if event["event"] == "stopped")


class Bucket:
    """A new bucket for one test, and its worker."""

    def __init__(self) -> None:
        self.name = f"recordings-{uuid.uuid4()}"
        self.s3 = boto3.client("s3")
        self.s3.create_bucket(Bucket=self.name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})

    def keep_versions(self) -> None:
        self.s3.put_bucket_versioning(Bucket=self.name, VersioningConfiguration={"Status": "Enabled"})

    def put(self, name: str, content: bytes | None = None, folder: str = "input/", **more: Any) -> dict[str, Any]:
        """Upload a recording to a folder, and return its manifest line."""
        key = f"{folder}{name}"
        self.s3.put_object(Bucket=self.name, Key=key, Body=recording() if content is None else content, **more)
        facts = self.s3.head_object(Bucket=self.name, Key=key)
        return {
            "source_key": key,
            "source_etag": facts["ETag"].strip('"'),
            "source_size": facts["ContentLength"],
            "uploaded": facts["LastModified"].isoformat(),
            "keeps_extension": False,
        }

    def plan(self, *lines: dict[str, Any], index: int = 0, model: str | None = None, scorer: str | None = None) -> None:
        header: dict[str, Any] = {"schema": 4, "model": model, "scorer": scorer, "options": TEXT_ONLY}
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (header, *lines))
        self.s3.put_object(Bucket=self.name, Key=f"{RUN}{index}", Body=text.encode("utf-8"))

    def set_options(self, **options: Any) -> None:
        """Write run options into the header of every existing manifest."""
        for entry in self.s3.list_objects_v2(Bucket=self.name, Prefix=RUN).get("Contents", []):
            first, rest = self.read(entry["Key"]).split(b"\n", 1)
            header = json.dumps({**json.loads(first), "options": {**TEXT_ONLY, **options}}).encode()
            self.s3.put_object(Bucket=self.name, Key=entry["Key"], Body=header + b"\n" + rest)

    def listing(self) -> list[str]:
        """All keys except those of manifests."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return [key for key in keys if not key.startswith("child_job_input/")]

    def read(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def text(self, key: str) -> str:
        return self.read(key).decode("utf-8").strip()

    def facts(self, key: str) -> dict[str, Any]:
        facts: dict[str, Any] = self.s3.head_object(Bucket=self.name, Key=key)
        return facts

    def transcript_key(self, line: dict[str, Any]) -> str:
        """The key of the transcript whose metadata names the recording of this manifest line."""
        name = layout.recording_name(line["source_key"])
        keys = [key for key in {*layout.transcript_keys(name)} if self.is_transcript_of(name, key)]
        assert len(keys) == 1, f"transcripts of {name}: {keys}"
        return keys[0]

    def is_transcript_of(self, name: str, key: str) -> bool:
        try:
            return Owner.of(self.facts(key)["Metadata"]).recording == recording_id(name)
        except ClientError:
            return False

    def transcript(self, name: str) -> str:
        """The text of a recording's transcript."""
        return self.text(self.transcript_key({"source_key": f"input/{name}"}))

    def put_output(self, key: str, name: str, etag: str, uploaded: str, body: bytes = b"an older text") -> str:
        """Write an output of a recording's version, as a worker does. Return its version id."""
        metadata = {"recording": recording_id(name), "source-etag": etag, "uploaded": uploaded, "run": "older"}
        response = self.s3.put_object(Bucket=self.name, Key=key, Body=body, Metadata=metadata)
        return str(response.get("VersionId"))

    def reason(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.read(f"failed/{name}.error.json"))
        return document

    def environment(self, **settings: str) -> dict[str, str]:
        return {
            **os.environ,
            "S3_BUCKET_NAME": self.name,
            "MANIFEST_PREFIX": RUN,
            "MODEL": "asterisk-en",
            "PYTHONPATH": SOURCES,
            **settings,
        }

    @contextmanager
    def worker(self, shell: str = "", **settings: str) -> Iterator[subprocess.Popen[str]]:
        """Start a worker with separate scratch space. Kill it at the end if it still runs."""
        with tempfile.TemporaryDirectory() as scratch:
            process = subprocess.Popen(
                ["/bin/sh", "-c", f'{shell} exec "$0" -m transcriber', sys.executable],
                env=self.environment(**{"TMPDIR": scratch, **settings}),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                yield process
            finally:
                process.kill()
                process.communicate()  # also waits for the engines

    def run(self, shell: str = "", **settings: str) -> Run:
        """Run the worker and wait for its end. `shell` is a command that runs first; it ends with a semicolon."""
        with self.worker(shell, **settings) as process:
            return ended(process)


def assert_conforms_to_the_schema(documents: list[Any]) -> None:
    """Check transcripts in JSON against the published schema."""
    check = "import json, sys, jsonschema; schema, documents = json.load(sys.stdin)\n"
    check += "jsonschema.Draft202012Validator.check_schema(schema)\n"
    check += "for document in documents: jsonschema.validate(document, schema)\n"
    validator = subprocess.run(
        [str(ROOT / ".venv/airflow/bin/python"), "-c", check],
        input=json.dumps([json.loads(SCHEMA.read_text("utf-8")), documents]),
        capture_output=True,
        text=True,
    )
    assert validator.returncode == 0, validator.stderr


def ended(process: subprocess.Popen[str]) -> Run:
    """Wait for the worker's end and return its result."""
    out, err = process.communicate(timeout=120)
    return Run(process.returncode, [json.loads(line) for line in out.splitlines()], err)


def with_limits(folder: Path, **limits: int) -> dict[str, str]:
    """Settings of a worker with these limits. Its Python reads them from sitecustomize.py."""
    (folder / "sitecustomize.py").write_text(
        "from transcriber import pipeline\n" + "".join(f"pipeline.{name} = {value}\n" for name, value in limits.items())
    )
    return {"PYTHONPATH": f"{folder}:{SOURCES}"}
