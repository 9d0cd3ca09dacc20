"""Runs a command and measures its cost: `python measured.py CPUS INTERVAL COMMAND…`.

Prints one JSON object: wall seconds, CPU seconds (user and system, of the command and all its child processes), their
peak memory (total PSS in MB, measured every INTERVAL seconds; INTERVAL 0 measures no memory), the seconds until the
first output line with a file, the exit code, and the output lines. CPUS is a list such as `0,1`.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def main(cpus: str, interval: str, *command: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # also count processes that outlive their parent
    os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
    ended = threading.Event()
    peak = [0.0]
    if float(interval):
        threading.Thread(target=watch, args=(float(interval), ended, peak), daemon=True).start()
    started = time.monotonic()
    first = None
    lines = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout or ():
        if first is None and '"file"' in line:
            first = time.monotonic() - started
        lines.append(line)
    code = process.wait()
    wall = time.monotonic() - started
    with suppress(ChildProcessError):
        while True:
            os.wait()
    ended.set()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak_mb": peak[0], "first": first, "code": code}
    json.dump({**cost, "lines": lines}, sys.stdout)


def watch(interval: float, ended: threading.Event, peak: list[float]) -> None:
    while not ended.wait(interval):
        peak[0] = max(peak[0], sum(map(pss_mb, descendants(os.getpid()))))


def descendants(process: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *descendants(child)]
    return found


def pss_mb(process: int) -> float:
    """A process's memory in MB. Memory that processes share counts proportionally (PSS)."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main(*sys.argv[1:])
