"""`make demo`: runs the whole pipeline once, on the sample recordings or on the user's recordings."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from local_aws import airflow, deployment, on_demand, server
from local_aws.containers import PROJECT, Runtime
from transcription_contract import layout

SAMPLES = PROJECT / "tests" / "recordings"
HOME = PROJECT / ".local" / "demo"
_CHILDREN = 2
_OWN_LINES = re.compile(r"^\S+ \[(\w+) *\] (.*?) *\[(?:airflow\.task\.operators\.)?transcription\.[\w.]+\] loc=.*$")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of the demo."""

    audio: Path
    out: Path | None
    model: str | None
    """A built-in name, or the path of a file or folder."""
    scorer: Path | None
    engine: str | None
    cloud_assembly: Path


class Progress:
    """Prints lines, each with the seconds since the start."""

    def __init__(self) -> None:
        self._start = monotonic()

    def say(self, text: str) -> None:
        """Print a line at once."""
        print(f"[{monotonic() - self._start:6.1f} s] {text}", flush=True)


def run(request: Request, runtime: Runtime) -> int:
    """Run the demo. The exit code is 0 if every recording was transcribed or rejected, and none waits in input/."""
    progress = Progress()
    recordings, others = recordings_in(request.audio)
    if not recordings:
        print(
            f"No recordings in {request.audio}: no file there has an audio or video extension "
            f"({', '.join(sorted(layout.AUDIO_EXTENSIONS))}).",
            file=sys.stderr,
        )
        return 1
    with server.running(runtime) as aws:
        progress.say(f"The local AWS runs at {aws.endpoint}")
        stack = deployment.deploy(aws, request.cloud_assembly)
        progress.say(f"Deployed the CDK app's template unchanged: {stack.resources} resources")
        bucket = stack.outputs["BucketName"]
        refused = upload(aws, bucket, recordings)
        params = {"audio_minutes_per_child": _minutes_per_child(recordings), **_upload_model(aws, bucket, request)}
        progress.say(f"Uploaded {len(recordings) - len(refused)} recordings to s3://{bucket}/{layout.INPUT}")

        progress.say("Airflow starts and runs the DAG `transcription` (no output during the first seconds)")
        with _file_progress(aws, bucket, progress):
            exit_code = _run_dag(aws, stack, params, progress)
        found = _report(aws, bucket)
        if exit_code or found is None:
            print(f"The DAG run failed. Airflow's log: {HOME / 'dag.log'}", file=sys.stderr)
        if found is None:
            return 1
        report, entries = found
        transcripts = _transcripts(aws, bucket, entries)
        if request.out is not None:
            _write_outputs(aws, bucket, request.out, progress)
        complete = _is_complete(aws, bucket, report)
    _print_table(report, entries, transcripts)
    for name, reason in refused.items():
        print(f"Could not be uploaded: {name}: {reason}")
    for path in others:
        print(f"Left alone, no recording by its name: {path}")
    progress.say("Airflow and the local AWS have stopped.")
    if not request.model:
        print(
            "The demo's model knows one voice and a few hundred words: it demonstrates the pipeline, "
            "not DeepSpeech's accuracy. See the README for real models."
        )
    return exit_code if complete else exit_code or 1


def recordings_in(audio: Path) -> tuple[dict[str, Path], list[str]]:
    """The recordings in a folder by their path in it, and the paths of all other files. `audio` may be one file."""
    root = audio if audio.is_dir() else audio.parent
    paths = sorted(path for path in audio.rglob("*") if path.is_file()) if audio.is_dir() else [audio]
    recordings, others = {}, []
    for path in paths:
        name = path.relative_to(root).as_posix()
        if layout.is_audio(name):
            recordings[name] = path
        elif root != SAMPLES:
            others.append(name)
    return recordings, others


def upload(aws: server.LocalAws, bucket: str, recordings: Mapping[str, Path]) -> dict[str, str]:
    """Upload the recordings. Return the names of recordings that were not uploaded, with the reason."""
    s3 = aws.client("s3")
    refused = {}
    for name, path in recordings.items():
        try:
            name.encode()
            s3.upload_file(str(path), bucket, layout.INPUT + name)
        except UnicodeEncodeError:
            refused[repr(name)] = "its name is not UTF-8, but S3 keys must be. Rename the file"
        except OSError as error:
            refused[name] = f"cannot read the file: {error.strerror}"
    return refused


def _upload_model(aws: server.LocalAws, bucket: str, request: Request) -> dict[str, str]:
    """Upload the model and the scorer of the request. Return the params that name them."""
    s3 = aws.client("s3")
    params = {"engine": request.engine} if request.engine else {}
    for kind, name in (("model", request.model), ("scorer", request.scorer)):
        if name is None:
            continue
        path = Path(name)
        if not path.exists():
            params[kind] = str(name)
        elif path.is_dir():
            params[kind] = f"s3://{bucket}/{layout.model_folder('own')}{path.resolve().name}/"
            for file in path.iterdir():
                if file.is_file():
                    s3.upload_file(str(file), bucket, f"{layout.model_folder('own')}{path.resolve().name}/{file.name}")
        else:
            params[kind] = f"s3://{bucket}/{layout.model_folder('own')}{path.name}"
            s3.upload_file(str(path), bucket, layout.model_folder("own") + path.name)
    return params


def _minutes_per_child(recordings: Mapping[str, Path]) -> float:
    """Minutes of audio per child, so small that even a few recordings make an array of two children."""
    seconds = sum(path.stat().st_size for path in recordings.values()) / 32_000
    return max(seconds / 60 / _CHILDREN, 0.01)


def _run_dag(aws: server.LocalAws, stack: deployment.Stack, params: Mapping[str, Any], progress: Progress) -> int:
    """Run the DAG as the stack does, and show the pipeline's own messages. Return the exit code."""
    if stack.schedule is not None:
        succeeded = on_demand.run_night(aws, stack, params, lambda text: progress.say(f"  {text}"), HOME / "dag.log")
        return 0 if succeeded else 1
    variables = airflow.environment(aws, stack, HOME)
    airflow.migrate(variables)
    return _test_dag(variables, params, progress)


def _test_dag(variables: Mapping[str, str], params: Mapping[str, Any], progress: Progress) -> int:
    """Run `airflow dags test transcription`, and show the pipeline's own log lines. Return the exit code."""
    arguments = airflow.command(["dags", "test", "transcription", "--conf", json.dumps(params)])
    with (
        (HOME / "dag.log").open("w") as log,
        subprocess.Popen(
            arguments, env=dict(variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            own = _OWN_LINES.match(line)
            if own and "AWS Batch job" not in own[2]:  # the provider's long lines
                progress.say(f"  {own[2]}")
    return process.returncode


@contextmanager
def _file_progress(aws: server.LocalAws, bucket: str, progress: Progress) -> Iterator[None]:
    """While the block runs, print how many recordings are done."""
    ended = threading.Event()

    def watch() -> None:
        s3 = aws.client("s3")
        count = 0
        while not ended.wait(1.0):
            done = sum(
                not item["Key"].endswith(layout.ERROR_SUFFIX)
                for prefix in (layout.PROCESSED, layout.FAILED)
                for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
                for item in page.get("Contents", ())
            )
            if done != count:
                progress.say(f"  {done} recordings done")
                count = done

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _report(aws: server.LocalAws, bucket: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The report of the only run and its entries. None if the run wrote no report."""
    s3 = aws.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=layout.RUNS).get("Contents", ())]
    bodies = {key.rpartition("/")[2]: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}
    if layout.REPORT not in bodies:
        return None
    return json.loads(bodies[layout.REPORT]), [json.loads(line) for line in bodies[layout.ENTRIES].splitlines()]


def _transcripts(aws: server.LocalAws, bucket: str, entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    s3 = aws.client("s3")
    return {
        file["transcript_key"]: s3.get_object(Bucket=bucket, Key=file["transcript_key"])["Body"].read().decode()
        for file in entries
        if file["state"] == "transcribed"
    }


def _is_complete(aws: server.LocalAws, bucket: str, report: Mapping[str, Any]) -> bool:
    """Whether no file waits in input/, and each file of the report was transcribed or rejected."""
    waiting = aws.client("s3").list_objects_v2(Bucket=bucket, Prefix=layout.INPUT)["KeyCount"]
    files = report["totals"]["files"]
    return not waiting and files["transcribed"] + files["rejected"] == sum(files.values())


def _write_outputs(aws: server.LocalAws, bucket: str, out: Path, progress: Progress) -> None:
    """Download the objects under `output/` to a folder, with the same names.

    A bucket can contain both `talk` and `talk/part`, but a folder cannot. In this case `talk` becomes `talk.txt`.
    """
    s3 = aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=layout.OUTPUT)
    names = [item["Key"].removeprefix(layout.OUTPUT) for page in pages for item in page.get("Contents", ())]
    folders = {parent.as_posix() for name in names for parent in Path(name).parents}
    for name in names:
        path = out / (f"{name}.txt" if name in folders else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, layout.OUTPUT + name, str(path))
        if name in folders:
            print(f"Written as {path}, because {name} is also a folder")
    progress.say(f"Wrote {len(names)} files to {out}")


def _print_table(
    report: Mapping[str, Any], entries: Iterable[Mapping[str, Any]], transcripts: Mapping[str, str]
) -> None:
    files = sorted(entries, key=lambda file: file["source_key"])
    names = {file["source_key"]: _printable(file["source_key"].removeprefix(layout.INPUT)) for file in files}
    width = min(40, max(map(len, names.values()), default=0))
    text_width = max(40, shutil.get_terminal_size((120, 24)).columns - width - 24)
    print(f"\n{'file':<{width}}  {'audio s':>8}  {'time s':>8}  transcript")
    for file in files:
        name = names[file["source_key"]]
        if file["state"] == "transcribed":
            figures = f"{file['audio_seconds']:8.2f}  {file['compute_seconds']:8.2f}"
            text = _printable(transcripts[file["transcript_key"]].strip())
        else:
            figures = f"{'-':>8}  {'-':>8}"
            text = f"({file['state']}: {file['reason']})"
        first, *rest = textwrap.wrap(text, text_width) or [""]
        if len(name) > width:
            print(name)
            name = ""
        print(f"{name:<{width}}  {figures}  {first}")
        for line in rest:
            print(f"{'':<{width + 22}}{line}")
    for made_by in report["totals"]["made_by"]:
        print(f"\nTranscribed by {made_by['engine']}, model {made_by['model']}: {made_by['files']} recordings.")
    totals = ", ".join(f"{count} {state}" for state, count in report["totals"]["files"].items() if count)
    print(f"\n{totals}; {report['totals']['audio_hours'] * 3600:.0f} seconds of audio, {report['children']} children.")


def _printable(text: str) -> str:
    """The text with non-printable characters escaped, because they could move the terminal's cursor."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
