"""The worker's image, built from its Dockerfile in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image.dockerfile import Image, build
from transcription_stack import build_context

PROJECT = Path(__file__).resolve().parents[2]

# Programs and data of Debian's package managers, as `dpkg -L apt dpkg` names them in Debian 12.
PACKAGE_MANAGERS = (
    "usr/bin/apt", "usr/bin/apt-get", "usr/bin/apt-key", "usr/lib/apt/methods/http", "etc/apt/sources.list",
    "var/lib/apt/lists/lock", "var/cache/apt/pkgcache.bin", "usr/bin/dpkg", "usr/bin/dpkg-deb", "usr/bin/dpkg-query",
    "usr/lib/dpkg/methods/apt/install", "usr/sbin/dpkg-fsys-usrunmess",
)  # fmt: skip


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the image starts from, as far as its steps touch it: Python 3.9 with pip, and Debian's package managers."""
    root = tmp_path_factory.mktemp("base")
    worker = PROJECT / ".venv" / "worker" / "bin" / "python"
    code = "import sys; print(sys.base_prefix)"
    prefix = Path(subprocess.run([worker, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    local = root / "usr" / "local"
    (local / "bin").mkdir(parents=True)
    shutil.copy2(prefix / "bin" / "python3.9", local / "bin")
    (local / "bin" / "python").symlink_to("python3.9")
    left_out = shutil.ignore_patterns("test", "idlelib", "tkinter", "config-3.9*", "__pycache__", "dist-packages")
    shutil.copytree(prefix / "lib" / "python3.9", local / "lib" / "python3.9", symlinks=True, ignore=left_out)
    for library in (prefix / "lib").glob("libpython3*.so*"):
        shutil.copy2(library, local / "lib")
    (local / "bin" / "pip").write_text(f'#!/bin/sh\nexec "{worker}" -m pip "$@"\n')
    (local / "bin" / "pip").chmod(0o755)
    for name in (*PACKAGE_MANAGERS, "var/lib/dpkg/status", "usr/bin/env"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch(mode=0o755)
    for name, mode in (("su", 0o4755), ("chage", 0o2755)):
        (root / "usr/bin" / name).touch()
        (root / "usr/bin" / name).chmod(mode)
    return root


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the image is built from, staged as for a deployment."""
    return build_context.stage(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="session")
def build_image(base: Path, context: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Image]:
    """Builds a context with build arguments; packages come from those that `make` has downloaded."""

    def build_image(context: Path = context, **arguments: str) -> Image:
        wheels = PROJECT / ".venv" / "wheels"
        return build(
            context,
            base=base,
            folder=tmp_path_factory.mktemp("image"),
            arguments=arguments,
            environment={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_CONFIG_FILE": os.devnull},
        )

    return build_image


@pytest.fixture(scope="session")
def image(build_image: Callable[..., Image]) -> Image:
    """The image with the demo's model, which is in the project."""
    return build_image(MODEL="asterisk-en")
