"""Exit codes. Batch starts the container again after all but 0 and 1, which are the run's results."""

from __future__ import annotations

from enum import IntEnum

RUN_FAILED = 70
"""What the run's process exits with if the run failed. Python itself exits with 1 when it could not run at all."""


class ExitCode(IntEnum):
    """The container's exit codes."""

    SUCCEEDED = 0
    FAILED = 1
    INTERRUPTED = 75
    STOPPED = 143


def container_code(code: int) -> int:
    """The container's exit code for that of the run's process, which is negative if a signal killed it."""
    if code == 0:
        return ExitCode.SUCCEEDED
    if code == RUN_FAILED:
        return ExitCode.FAILED
    return 128 - code if code < 0 else ExitCode.INTERRUPTED
