"""The compared ways to transcribe: the original's way, a bare loop, the worker, another recogniser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

HERE = Path(__file__).parent
ROOT = HERE.parent
WORKER_PYTHON = ROOT / ".venv/worker/bin/python"
ENGINES = ROOT / ".venv/engine-environments"
PROGRAMS = ROOT / "worker_image/engines"
BENCH_PYTHON = ROOT / ".venv/bench/bin/python"
PEER_PYTHON = ROOT / ".venv/peers/bin/python"
SMALL = ROOT / "worker_image/models/asterisk-en"
FULL_SIZE = ROOT / ".venv/bench/lib/python3.9/site-packages/armspeech/model/model.tflite"
FULL_SIZE_PBMM = ROOT / ".local/bench/full-size.pbmm"
FULL_SIZE_SCORER = ROOT / ".local/bench/full-size.scorer"
KENLM = ROOT / ".venv/kenlm/build/bin"
MANIFESTS = "child_job_input/bench/"
LOCAL = {  # one thread per process, as in the worker's image
    "AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1",
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A model file and its scorer. The beam width is the model's default."""

    path: Path
    scorer: Path | None = None

    @property
    def library(self) -> str:
        """The engine with libdeepspeech for this file."""
        return "deepspeech-tflite" if self.path.suffix == ".tflite" else "deepspeech"

    @property
    def python(self) -> Path:
        """The interpreter of that engine's environment."""
        return ENGINES / self.library / "bin" / "python"


@dataclass(frozen=True)
class Outcome:
    """The cost of a run in seconds and MB, and its transcripts by file name."""

    wall: float
    cpu: float
    peak_mb: float
    first: float  # seconds until the first transcript
    texts: dict[str, str] = field(default_factory=dict)


def full_size_pbmm() -> Model:
    """The full-size model in full precision. full_size.py makes it at the first call."""
    if not FULL_SIZE_PBMM.exists():
        FULL_SIZE_PBMM.parent.mkdir(parents=True, exist_ok=True)
        part = FULL_SIZE_PBMM.with_suffix(".part")
        script = [str(BENCH_PYTHON), str(HERE / "full_size.py")]
        subprocess.run([*script, str(FULL_SIZE), str(SMALL / "asterisk-en.pbmm"), str(part)], check=True)
        part.rename(FULL_SIZE_PBMM)
    return Model(FULL_SIZE_PBMM)


def full_size_scorer() -> Path:
    """A scorer of 286,754 words for the full-size model. large_scorer.py makes it at the first call, in minutes."""
    if not FULL_SIZE_SCORER.exists():
        FULL_SIZE_SCORER.parent.mkdir(parents=True, exist_ok=True)
        part = FULL_SIZE_SCORER.with_suffix(".part")
        script = [str(BENCH_PYTHON), "-m", "benchmark.large_scorer", str(FULL_SIZE), str(KENLM), str(part)]
        subprocess.run(script, cwd=ROOT, check=True)
        part.rename(FULL_SIZE_SCORER)
    return FULL_SIZE_SCORER


def bare(model: Model, files: Sequence[Path], cpus: str = "0,1", loops: int = 1) -> Outcome:
    """Run one or several parallel bare loops over local WAV files."""
    arguments = [str(loops), str(model.path), str(model.scorer or "none"), *map(str, files)]
    found = measured([str(model.python), str(HERE / "bare.py"), *arguments], {}, cpus, 0)
    texts = {Path(line["file"]).name: line["text"] for line in map(json.loads, found.pop("lines"))}
    return Outcome(texts=texts, **found)


def worker(
    model: Model,
    audio: dict[str, bytes],
    cpus: str = "0,1",
    latency: float = 0,
    interval: float = 0,
    engine: str | None = None,
    **options: Any,
) -> Outcome:
    """Run `python -m transcriber` on a bucket with the audio and the given run options.

    Args:
        engine: The engine that it uses. None: libdeepspeech, or Whisper for a folder.
    """
    settings = {
        "MODEL": str(model.path),
        "SCORER": str(model.scorer or "none"),
        "PYTHONPATH": f"{ROOT / 'worker_image'}:{ROOT / 'plugins'}",
    }
    options = {"output_formats": [], "engine": engine or (model.library if model.path.is_file() else None), **options}
    return _on_bucket([str(WORKER_PYTHON), "-m", "transcriber"], settings, audio, cpus, latency, interval, options)


def original(model: Model, audio: dict[str, bytes], cpus: str = "0,1", latency: float = 0) -> Outcome:
    """Run the `deepspeech` command for each file (original.py)."""
    command = [str(model.python.with_name("deepspeech")), str(model.path), str(model.scorer or "none")]
    program = [str(WORKER_PYTHON), str(HERE / "original.py"), *command]
    return _on_bucket(program, {}, audio, cpus, latency, 0, {})


def peer(script: str, audio: dict[str, bytes], arguments: Sequence[str] = ()) -> Outcome:
    """Run another recogniser on local WAV files, on one CPU. The arguments go before the files."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in audio]
        for file in files:
            file.write_bytes(audio[file.name])
        found = measured([str(PEER_PYTHON), str(HERE / script), *arguments, *map(str, files)], {}, "0", 0.2)
    texts = {Path(line["file"]).name: line["text"] for line in map(json.loads, found.pop("lines"))}
    return Outcome(texts=texts, **found)


def _on_bucket(
    command: list[str],
    settings: dict[str, str],
    audio: dict[str, bytes],
    cpus: str,
    latency: float,
    interval: float,
    options: dict[str, Any],
) -> Outcome:
    with s3_server(latency) as endpoint:
        lines = [_upload(endpoint, name, content) for name, content in audio.items()]
        header = {"schema": 4, "model": None, "scorer": None, "options": options}
        body = "".join(json.dumps(line) + "\n" for line in (header, *lines))
        _put(f"{endpoint}/bench/{MANIFESTS}0", body.encode())
        environment = {
            **settings, "AWS_ENDPOINT_URL": endpoint, "S3_BUCKET_NAME": "bench", "MANIFEST_PREFIX": MANIFESTS,
            "AWS_BATCH_JOB_ARRAY_INDEX": "0",
        }  # fmt: skip
        found = measured(command, environment, cpus, interval)
        found.pop("lines")
        texts = {Path(name).name: _read(f"{endpoint}/bench/{quote('output/' + name)}").strip() for name in audio}
    found["first"] = found["first"] or 0.0
    return Outcome(texts=texts, **found)


def measured(command: list[str], settings: dict[str, str], cpus: str, interval: float) -> dict[str, Any]:
    """Run a command. Return its cost, and its output lines under `lines`.

    Raises:
        RuntimeError: the command failed.
    """
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            [sys.executable, str(HERE / "measured.py"), cpus, str(interval), *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **LOCAL, **settings},
        )
        errors.seek(0)
        found: dict[str, Any] = json.loads(done.stdout)
        code = found.pop("code")
        if code:
            raise RuntimeError(
                f"{command} failed with exit code {code}:\n{''.join(found['lines'])}{errors.read().decode()}"
            )
    return found


@contextmanager
def s3_server(latency: float) -> Iterator[str]:
    """Run an S3 server that delays each answer by `latency` seconds. Yield its address."""
    with tempfile.TemporaryDirectory() as folder:
        port = Path(folder) / "port"
        server = subprocess.Popen([sys.executable, str(HERE / "s3_server.py"), str(port), str(latency)])
        try:
            while not port.exists():
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port.read_text()}"
        finally:
            server.kill()
            server.wait()


def _upload(endpoint: str, name: str, content: bytes) -> dict[str, Any]:
    """Upload a recording and return its manifest line."""
    etag = _put(f"{endpoint}/bench/{quote('input/' + name)}", content)
    return {
        "source_key": f"input/{name}", "source_etag": etag, "source_size": len(content),
        "uploaded": "2026-11-20T12:00:00+00:00", "keeps_extension": True,
    }  # fmt: skip


def _put(address: str, body: bytes) -> str:
    with urllib.request.urlopen(urllib.request.Request(address, body, method="PUT")) as answer:
        return answer.headers["ETag"].strip('"')


def _read(address: str) -> str:
    """A transcript, or an empty text if the recording was rejected."""
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.read().decode("utf-8")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise
