"""Stand-ins for the Dockerfile's base images, `python:3.12-slim-bookworm` and `3.9`, where no registry is reachable.

Debian by debootstrap, and below /usr/local the Python of one of the project's environments, without bytecode, as in the
original. Their pip installs from the wheels that `make` has downloaded, served on this machine, so that no build needs
the network. The Dockerfile stays as it is.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.image.docker_engine import DATA, PROJECT, Docker

PYTHONS = {  # build arguments: the Python of the base image
    "PYTHON": PROJECT / ".venv" / "worker" / "bin" / "python",
    "ENGINES_PYTHON": PROJECT / ".venv" / "engine-environments" / "deepspeech" / "bin" / "python",
}
WHEELS = PROJECT / ".venv" / "wheels"
NAME = "transcription-stand-in"
# The packages that docker-library's image adds to Debian's base, without Tk and the databases.
PACKAGES = (
    "ca-certificates", "netbase", "tzdata", "libbz2-1.0", "libexpat1", "libffi8", "liblzma5", "libncursesw6",
    "libreadline8", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g",
)  # fmt: skip
NOT_IN_THE_IMAGE = ("./dev/*", "./proc/*", "./sys/*", "./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*")
LEFT_OUT = ("test", "tests", "idle_test", "idlelib", "tkinter", "turtledemo", "config-3.*", "__pycache__")
PORT = 18390  # of the wheels, so that Docker's cache of the packages stays valid from run to run


@contextmanager
def bases(docker: Docker) -> Iterator[dict[str, str]]:
    """Make the images, unless Docker has them; serve the wheels during the block. Yield the build arguments."""
    with served(WHEELS, PORT) as address:
        yield {argument: _base(docker, python, address) for argument, python in PYTHONS.items()}


def _base(docker: Docker, python: Path, address: str) -> str:
    """Make an image with this Python. Return its name."""
    debian = _debian(docker)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        version = _copy_python(python, context / "local")
        name = f"{NAME}:{version}"
        (context / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {address}\n")
        steps = (
            f"FROM {debian}",
            "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8",
            "COPY local /usr/local",
            "RUN ldconfig",
            "COPY pip.conf /etc/pip.conf",
        )
        (context / "Dockerfile").write_text("\n".join(steps))
        docker.run("build", "--network", "none", "--tag", name, context)
    return name


@contextmanager
def served(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve a folder's files on this machine, on that port if it is free. Yield the address."""
    handler = partial(_Quiet, directory=str(folder))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _debian(docker: Docker) -> str:
    """Debian's base system, made once from its packages. Return the image's name."""
    name = f"{NAME}-debian:{hashlib.sha256(repr(PACKAGES).encode()).hexdigest()[:16]}"
    if docker.run("image", "inspect", name, check=False).returncode == 0:
        return name
    DATA.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debian-", dir=DATA) as folder:
        bootstrap = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", "bookworm", folder]
        done = subprocess.run(bootstrap, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"debootstrap: {(done.stdout + done.stderr)[-3000:]}")
        excluded = [f"--exclude={pattern}" for pattern in NOT_IN_THE_IMAGE]
        with subprocess.Popen(["tar", "-c", *excluded, "-C", folder, "."], stdout=subprocess.PIPE) as tar:
            docker.run("import", "-", name, stdin=tar.stdout)
    return name


def _copy_python(python: Path, target: Path) -> str:
    """Copy an environment's Python without its bytecode, its tests and its packages but pip. Return its version."""
    code = "import sys; print(sys.base_prefix, '{}.{}'.format(*sys.version_info))"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    prefix, version = Path(found.rsplit(maxsplit=1)[0]), found.split()[-1]

    def left_out(folder: str, names: list[str]) -> set[str]:
        ignored = shutil.ignore_patterns(*LEFT_OUT)(folder, names)
        if Path(folder).name == "site-packages":
            ignored = ignored | {name for name in names if not name.startswith("pip")}
        return ignored

    (target / "bin").mkdir(parents=True)
    shutil.copy2(prefix / "bin" / f"python{version}", target / "bin")
    (target / "bin" / "python").symlink_to(f"python{version}")
    (target / "bin" / "pip").write_text('#!/bin/sh\nexec /usr/local/bin/python -m pip "$@"\n')
    (target / "bin" / "pip").chmod(0o755)
    library = Path("lib") / f"python{version}"
    shutil.copytree(prefix / library, target / library, symlinks=True, ignore=left_out)
    for shared in (prefix / "lib").glob("libpython3*.so*"):
        shutil.copy2(shared, target / "lib")
    return version
