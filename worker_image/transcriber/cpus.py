"""The number of CPUs that this container may use. It is often smaller than that of the host."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus(cgroup_root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """The minimum of the scheduler's affinity and the CPU quotas of cgroup v2 and v1."""
    quotas = list(_quotas(cgroup_root, membership))
    return max(1, min([len(os.sched_getaffinity(0)), *(math.ceil(quota) for quota in quotas)]))


def _quotas(root: Path, membership: Path) -> Iterator[float]:
    for group in _groups(membership):
        for folder in (group, *group.parents):
            yield from _quota_v2(root / folder / "cpu.max")
            yield from _quota_v1(root / "cpu" / folder)


def _groups(membership: Path) -> Iterator[Path]:
    """The control groups of this process, relative to the mount; `.` is the mount itself."""
    yield Path()
    for line in (_read(membership) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or "cpu" in controllers.split(","):
            yield Path(path.lstrip("/"))


def _quota_v2(file: Path) -> Iterator[float]:
    quota, _, period = (_read(file) or "max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        yield int(quota) / int(period)


def _quota_v1(folder: Path) -> Iterator[float]:
    quota, period = (_read(folder / name) or "" for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    if quota.isdigit() and period.isdigit():  # no limit is -1
        yield int(quota) / int(period)


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
