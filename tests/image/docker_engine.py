"""Docker for the tests of the image: the reachable daemon, or one that runs only as long as the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROJECT = Path(__file__).resolve().parents[2]
DATA = PROJECT / "build" / "image-test"
RUN_SECONDS = 600.0
START_SECONDS = 60.0
STOP_SECONDS = 60.0
Completed = subprocess.CompletedProcess[str]


class NoDockerError(Exception):
    """Docker cannot run here. The message says why, in one line."""


@dataclass(frozen=True)
class Docker:
    """Docker's command line, and the environment variables with the daemon's address."""

    environment: dict[str, str]

    def run(self, *arguments: str | Path, check: bool = True, stdin: IO[bytes] | None = None) -> Completed:
        """Run a command of Docker, such as `image inspect`.

        Raises:
            RuntimeError: the command failed. The message is Docker's.
        """
        done = subprocess.run(
            ["docker", *arguments],
            stdin=stdin,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS,
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {arguments[0]}: {done.stdout}{done.stderr}")
        return done


@contextmanager
def running() -> Iterator[Docker]:
    """Use the reachable daemon, or start one and stop it at the end.

    Raises:
        NoDockerError: there is no daemon, and none can be started.
    """
    reachable = Docker(dict(os.environ))
    if shutil.which("docker") and reachable.run("version", check=False).returncode == 0:
        yield reachable
        return
    if os.geteuid() != 0 or not shutil.which("docker") or not shutil.which("dockerd"):
        raise NoDockerError("The tests of the image need Docker: a reachable daemon, or root and Debian's docker.io")
    with _own_daemon() as docker:
        yield docker


@contextmanager
def _own_daemon() -> Iterator[Docker]:
    """A daemon that changes nothing outside its folders: no bridge, no firewall rules, no forwarding.

    Its images stay below DATA for the next run. Its sockets are in a temporary folder, because their paths must be
    short.
    """
    root = DATA / "docker"
    root.mkdir(parents=True, exist_ok=True)
    _unmount_below(root)  # what a killed daemon left
    with tempfile.TemporaryDirectory(prefix="docker-") as folder, (DATA / "dockerd.log").open("w") as log:
        socket = f"unix://{folder}/docker.sock"
        daemon = subprocess.Popen(
            [
                "dockerd", "--host", socket, "--data-root", str(root), "--exec-root", f"{folder}/run",
                "--pidfile", f"{folder}/pid", "--bridge=none", "--iptables=false", "--ip-forward=false",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C ends the tests, which then stop the daemon
        )  # fmt: skip
        try:
            docker = Docker({**os.environ, "DOCKER_HOST": socket})
            _wait_for(docker, daemon, Path(log.name))
            yield docker
        finally:
            _stop(daemon)
            for place in (root, Path(folder)):
                _unmount_below(place)


def _wait_for(docker: Docker, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while docker.run("version", check=False).returncode:
        if daemon.poll() is not None or time.monotonic() > deadline:
            last = (log.read_text().strip() or "it wrote nothing").splitlines()[-1]
            raise NoDockerError(f"dockerd does not start: {last} (the full log is {log})")
        time.sleep(0.2)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _unmount_below(folder: Path) -> None:
    """Unmount what the daemon mounted in a folder, the innermost first."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    places = [line.split()[1].encode().decode("unicode_escape") for line in lines]
    for place in sorted((place for place in places if Path(place).is_relative_to(folder)), reverse=True):
        subprocess.run(["umount", place], check=False)
