"""The steps of the worker's Dockerfile make an image that works, with nothing in it that does not belong there."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.image.dockerfile import Image, StepFailedError
from transcription import planning
from transcription.bucket import Bucket
from transcription_contract import manifest
from transcription_contract.manifest import Header
from transcription_stack import build_context

PROJECT = Path(__file__).resolve().parents[2]
CONTEXT = PROJECT / "worker_image"
RECORDING = "dictate__forhelp.wav"


def run(image: Image, command: list[str], tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a container of the image: with its environment and what is given, and with scratch space at its volume."""
    environment = {**image.environment, "TMPDIR": str(tmp_path), **environment}
    program = shutil.which(command[0], path=environment["PATH"])
    assert program, f"{command[0]} is not in the image"
    return subprocess.run(
        [program, *command[1:]],
        cwd=image.root / image.workdir.relative_to("/"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def files(image: Image) -> set[str]:
    return {str(path.relative_to(image.root)) for path in image.root.rglob("*")}


def megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


def test_the_image_transcribes_a_recording_with_nothing_but_what_its_dockerfile_put_there(
    image: Image, aws: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="image")
    s3.upload_file(str(PROJECT / "tests" / "recordings" / RECORDING), "image", f"input/{RECORDING}")
    lines, _ = planning.manifest_lines(Bucket("image").objects("input/"))
    s3.put_object(Bucket="image", Key="child_job_input/run/0", Body=manifest.to_bytes(Header(), lines))
    before = files(image)

    given = {"S3_BUCKET_NAME": "image", "MANIFEST_PREFIX": "child_job_input/run/"}
    done = run(image, image.command, tmp_path, **aws.environment, **given)

    assert done.returncode == 0, done.stdout + done.stderr
    text = s3.get_object(Bucket="image", Key=f"output/{Path(RECORDING).stem}")["Body"].read().decode()
    recordings = json.loads((PROJECT / "tests" / "recordings" / "transcripts.json").read_text())
    assert text.strip() in [recording["text"] for recording in recordings if recording["file"] == RECORDING]
    assert files(image) == before  # a read-only root is no hindrance


def test_the_image_has_exactly_the_locked_packages(image: Image, tmp_path: Path) -> None:
    code = """
import sys
from importlib.metadata import distributions
print(*(f"{found.metadata['Name']}=={found.version}" for found in distributions(path=sys.argv[1:] or sys.path)))
"""
    for lock, folders in (("requirements.lock", []), ("requirements-tflite.lock", [f"{image.root}/opt/worker/tflite"])):
        installed = run(image, ["python", "-c", code, *folders], tmp_path).stdout.split()
        locked = re.findall(r"^([\w.-]+==[\w.]+)", (CONTEXT / lock).read_text(), re.MULTILINE)
        assert {name.lower().replace("_", "-") for name in installed} == set(locked)


def test_the_image_cannot_install_anything(image: Image, tmp_path: Path) -> None:
    for module in ("pip", "setuptools", "ensurepip", "wheel"):
        assert run(image, ["python", "-c", f"import {module}"], tmp_path).returncode == 1, module
    programs = [image.root / name for name in files(image) if os.access(image.root / name, os.X_OK)]
    names = {path.name for path in programs if path.is_file()}
    assert {"python", "env"} <= names
    assert not [name for name in names if re.match(r"(pip|apt|dpkg|gcc|cc$|make$|wheel$|easy_install)", name)]


def test_no_program_of_the_image_gives_its_user_more_rights(image: Image, base: Path) -> None:
    def gives_rights(root: Path) -> set[str]:
        found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        return {path.name for path in found if path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)}

    assert gives_rights(base) == {"su", "chage"}
    assert gives_rights(image.root) == set()


def test_the_registry_can_still_scan_what_debian_installed(image: Image) -> None:
    assert (image.root / "var/lib/dpkg/status").is_file()


def test_nothing_of_the_build_is_left(image: Image) -> None:
    assert {path.name for path in (image.root / "opt").iterdir()} == {
        "worker",
        "models",
        "transcriber",
        "transcription_contract",
    }
    assert not (image.root / "build").exists()
    assert not list((image.root / "opt/transcriber").rglob("__pycache__"))


def test_a_package_that_is_not_the_locked_file_stops_the_build(
    build_image: Callable[..., Image], tmp_path: Path
) -> None:
    context = build_context.stage(tmp_path / "context")
    lock = (context / "requirements.lock").read_text()
    (context / "requirements.lock").write_text(re.sub(r"sha256:\w{64}", "sha256:" + "0" * 64, lock))
    with pytest.raises(StepFailedError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        build_image(context, MODEL="asterisk-en")


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Path]:
    """A context whose official model is published by a server of this machine, which has the demo's files."""
    files = tmp_path / "files"
    files.mkdir()
    for suffix in ("tflite", "scorer"):
        demo = CONTEXT / "models" / "asterisk-en" / f"asterisk-en.{suffix}"
        shutil.copy(demo, files / f"deepspeech-0.9.3-models.{suffix}")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(files))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = build_context.stage(tmp_path / "context")
    models = context / "transcriber" / "models.toml"
    published_at = r"https://github\.com/mozilla/DeepSpeech/releases/download/v0\.9\.3"
    models.write_text(re.sub(published_at, f"http://127.0.0.1:{server.server_port}", models.read_text()))
    yield context
    server.shutdown()


def test_an_official_model_that_is_not_the_published_one_stops_the_build(
    build_image: Callable[..., Image], published: Path
) -> None:
    with pytest.raises(StepFailedError, match=r"deepspeech-0\.9\.3-models\.tflite is not the file that was meant"):
        build_image(published)


def test_a_model_is_taken_by_the_checksums_that_the_build_is_given(
    build_image: Callable[..., Image], published: Path
) -> None:
    def sha256(suffix: str) -> str:
        return hashlib.sha256((CONTEXT / "models/asterisk-en" / f"asterisk-en.{suffix}").read_bytes()).hexdigest()

    image = build_image(published, MODEL_SHA256=sha256("tflite"), SCORER_SHA256=sha256("scorer"))
    assert (image.root / "opt/models/deepspeech-0.9.3-en/deepspeech-0.9.3-models.scorer").is_file()
    assert image.environment["MODEL"] == "deepspeech-0.9.3-en"


def test_the_stated_sizes_are_the_measured_ones(image: Image) -> None:
    stated = (CONTEXT / "README.md").read_text()
    parts = {"packages": "opt/worker", "`asterisk-en`": "opt/models", "worker's code": "opt/transcriber"}
    for part, folder in parts.items():
        [said] = re.findall(rf"\| [^|]*{re.escape(part)}[^|]* \| ([\d.]+) MB \|", stated)
        assert megabytes(image.root / folder) == pytest.approx(float(said), rel=0.1, abs=0.1), part
