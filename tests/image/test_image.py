"""The worker's Dockerfile makes an image that contains nothing unnecessary, of exactly what is locked."""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.image.children import Children, transcripts
from tests.image.conftest import Files, content
from tests.image.docker_engine import PROJECT, Docker
from tests.image.stand_in import served
from transcription_contract import layout
from transcription_contract.results import ExitCode
from transcription_stack import build_context

SOURCES = PROJECT / "worker_image"
ENGINES = ("deepspeech-batched",)
PROGRAMS = ("bin/", "sbin/", "lib/", "opt/", "usr/bin/", "usr/sbin/", "usr/lib/", "usr/libexec/", "usr/local/")


def programs(files: Files) -> set[str]:
    """The names of all programs in the folders that have programs."""
    found = [(Path(name), file) for name, file in files.items() if name.startswith(PROGRAMS)]
    return {path.name for path, file in found if file.isfile() and file.mode & 0o111}


def privileged(files: Files) -> set[str]:
    """The names of the programs that give their user other rights."""
    return {
        Path(name).name for name, file in files.items() if file.isfile() and file.mode & (stat.S_ISUID | stat.S_ISGID)
    }


def below(files: Files, folder: str) -> Files:
    """What is in a folder."""
    return {name: file for name, file in files.items() if name.startswith(f"{folder}/")}


def megabytes(files: Files) -> float:
    return sum(file.size for file in files.values()) / 1e6


def test_the_image_has_exactly_the_locked_packages(docker: Docker, image: str) -> None:
    code = """
from importlib.metadata import distributions
print(*(f"{found.metadata['Name']}=={found.version}" for found in distributions()))
"""
    locks = {"/opt/worker": SOURCES} | {
        f"/opt/engine-environments/{name}": SOURCES / "engines" / name for name in ENGINES
    }
    for environment, folder in locks.items():
        installed = docker.run("run", "--rm", image, f"{environment}/bin/python", "-c", code).stdout.split()
        locked = re.findall(r"^([\w.-]+==[\w.]+)", (folder / "requirements.lock").read_text(), re.MULTILINE)
        assert {name.lower().replace("_", "-") for name in installed} == set(locked)


def test_the_image_cannot_install_anything(docker: Docker, image: str, files: Files) -> None:
    for module in ("pip", "setuptools", "ensurepip", "wheel"):
        for python in ("python", "python3.9"):
            done = docker.run("run", "--rm", image, python, "-c", f"import {module}", check=False)
            assert f"No module named '{module}'" in done.stderr
    assert {"python3.12", "python3.9", "env"} <= programs(files)
    assert not [name for name in programs(files) if re.match(r"(pip|apt|dpkg|gcc|cc$|make$|wheel$|easy_install)", name)]


def test_no_program_of_the_image_is_setuid_or_setgid(
    docker: Docker, bases: dict[str, str], files: Files, tmp_path: Path
) -> None:
    for base in bases.values():
        assert {"su", "chage"} <= privileged(content(docker, base, tmp_path))
    assert privileged(files) == set()


def test_the_image_keeps_the_list_of_debian_packages_for_the_registrys_scan(files: Files) -> None:
    assert files["var/lib/dpkg/status"].size > 0


def test_the_image_contains_no_build_files(files: Files) -> None:
    assert {name.split("/")[1] for name in below(files, "opt")} == {
        "worker",
        "engines",
        "engine-environments",
        "models",
        "transcriber",
        "transcription_contract",
    }
    assert not below(files, "build")


def test_a_package_with_another_hash_than_the_locked_one_stops_the_build(
    build_image: Callable[..., str], tmp_path: Path
) -> None:
    context = build_context.stage(tmp_path / "context")
    lock = (context / "requirements.lock").read_text()
    (context / "requirements.lock").write_text(re.sub(r"sha256:\w{64}", "sha256:" + "0" * 64, lock))
    with pytest.raises(RuntimeError, match="THESE PACKAGES DO NOT MATCH THE HASHES"):
        build_image(context, stage="packages")


def test_a_build_argument_chooses_the_engines(docker: Docker, build_image: Callable[..., str], tmp_path: Path) -> None:
    files = content(docker, build_image(stage="engines", ENGINES="deepspeech-tflite"), tmp_path)
    assert {name.split("/")[2] for name in below(files, "opt/engine-environments")} == {"deepspeech-tflite"}
    with pytest.raises(RuntimeError, match=r"there is no engines/vosk/engine\.toml"):
        build_image(stage="engines", ENGINES="deepspeech vosk")


WHISPER = PROJECT / "build" / "models" / "whisper-tiny.en"


@pytest.fixture(scope="module")
def whisper_image(build_image: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with the engine `whisper` alone. Its build finds the model's files in the context and checks them."""
    context = build_context.stage(tmp_path_factory.mktemp("whisper") / "context")
    shutil.copytree(WHISPER, context / "models" / WHISPER.name)
    return build_image(context, name="whisper", ENGINES="whisper", MODEL="whisper-tiny.en")


def test_an_image_with_whisper_transcribes_under_the_job_definitions_limits(
    docker: Docker, whisper_image: str, aws: Any, children: Children
) -> None:
    names = children.plan(4)
    ended = replace(children, image=whisper_image).run()
    assert ended.code == ExitCode.DONE, ended
    assert ended.event("started")["engine"].startswith("whisper ")
    assert children.listing(layout.OUTPUT).keys() == transcripts(names).keys()
    assert "Press zero for help." in children.listing(layout.OUTPUT).values()
    assert ended.stderr == ""


def test_an_image_without_an_engine_for_python_3_9_has_only_the_newer_python(
    docker: Docker, whisper_image: str, tmp_path: Path
) -> None:
    files = content(docker, whisper_image, tmp_path)
    assert "python3.12" in programs(files)
    assert not [name for name in files if "python3.9" in name]
    [stated] = re.findall(r"\| engine `whisper`[^|]* \| ([\d.]+) MB \|", (SOURCES / "README.md").read_text())
    assert float(stated) == pytest.approx(megabytes(below(files, "opt/engine-environments/whisper")), rel=0.1)


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Path]:
    """A context that downloads the official model from this machine. The server has the demo's model instead."""
    files = tmp_path / "files"
    files.mkdir()
    for suffix in ("tflite", "scorer"):
        demo = SOURCES / "models" / "asterisk-en" / f"asterisk-en.{suffix}"
        shutil.copy(demo, files / f"deepspeech-0.9.3-models.{suffix}")
    context = build_context.stage(tmp_path / "context")
    models = context / "transcriber" / "models.toml"
    published_at = r"https://github\.com/mozilla/DeepSpeech/releases/download/v0\.9\.3/"
    with served(files) as address:
        models.write_text(re.sub(published_at, address, models.read_text()))
        yield context


def test_an_official_model_with_a_wrong_checksum_stops_the_build(
    build_image: Callable[..., str], published: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"deepspeech-0\.9\.3-models\.tflite is not the file that was meant"):
        build_image(published, stage="model")


def test_the_build_accepts_a_model_whose_checksums_are_given_as_arguments(
    docker: Docker, build_image: Callable[..., str], published: Path, tmp_path: Path
) -> None:
    def sha256(suffix: str) -> str:
        return hashlib.sha256((SOURCES / "models/asterisk-en" / f"asterisk-en.{suffix}").read_bytes()).hexdigest()

    stage = build_image(published, stage="model", MODEL_SHA256=sha256("tflite"), SCORER_SHA256=sha256("scorer"))
    assert "models/deepspeech-0.9.3-en/deepspeech-0.9.3-models.scorer" in content(docker, stage, tmp_path)


def test_an_image_uses_the_model_that_it_was_built_with(docker: Docker, image: str) -> None:
    assert docker.run("run", "--rm", image, "printenv", "MODEL").stdout == "asterisk-en\n"


def test_the_sizes_in_the_readme_are_correct(files: Files) -> None:
    stated = (SOURCES / "README.md").read_text()
    parts = {"worker's packages": "opt/worker", "`asterisk-en`": "opt/models", "worker's code": "opt/transcriber"}
    parts |= {f"engine `{name}`": f"opt/engine-environments/{name}" for name in ENGINES}
    parts["Python 3.9"] = "usr/local/lib/python3.9"
    sizes = {part: re.findall(rf"\| [^|]*{re.escape(part)}[^|]* \| ([\d.]+) MB \|", stated) for part in parts}
    found = {part: round(megabytes(below(files, folder)), 1) for part, folder in parts.items()}
    assert {part: float(*size) for part, size in sizes.items()} == pytest.approx(found, rel=0.1, abs=0.1)
