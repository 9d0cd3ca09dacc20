"""The errors, by their scope.

One recording: `Rejected`, `Replaced`, `Gone` and `RecordingFailed`. The worker continues with the others.

The bucket or the machine: `WorkerError`, for example if S3 is unreachable, permissions are missing or the disk is
full. The other recordings probably fail too, so the child gives up after several such failures in a row.
"""

from __future__ import annotations

from transcription_contract.results import ErrorCode, ExitCode

NOT_AUDIO = "This file is no audio or video that can be read. Upload the original recording."


class WorkerError(Exception):
    """A failure of the bucket or the machine. It ends the worker with an exit code of the job definition."""

    exit_code: ExitCode


class TemporaryError(WorkerError):
    """A new attempt can help: S3 trouble, a full disk, an interrupted container (EX_TEMPFAIL)."""

    exit_code = ExitCode.TEMPORARY


class ConfigError(WorkerError):
    """A new attempt cannot help: a wrong setting, manifest, model or permission (EX_CONFIG)."""

    exit_code = ExitCode.PERMANENT


class ProcessLimitError(ConfigError):
    """The container may have no more processes and threads."""

    def __init__(self) -> None:
        super().__init__(
            "The container's limit on processes and threads is too low. Raise it (docker run --pids-limit, ulimit -u): "
            "256 are enough for two CPUs"
        )


class Refused(ConfigError):
    """S3 denies a call. If the call concerns a recording's own object, `Source` raises `Rejected` instead.

    Args:
        call: what the worker wanted, such as "reading 'input/a.wav'".
        code: S3's code, such as `AccessDenied`; an HTTP status if S3 gives no code.
        message: S3's message.
    """

    def __init__(self, call: str, code: str, message: str) -> None:
        super().__init__(f"S3 refuses {call}: {code}: {message}")
        self.code = code
        self.message = message


class RecordingFailed(Exception):
    """This recording has no result, but a new attempt can help. The bucket and the machine work.

    For example, the operating system kills the engine at this recording.
    """

    exit_code = ExitCode.TEMPORARY


class Rejected(Exception):
    """This recording cannot be transcribed.

    Args:
        code: why, for programs.
        reason: a sentence that the recording's owner understands, with what to do.
        detail: the libraries' messages.
    """

    def __init__(self, code: ErrorCode, reason: str, detail: str = "") -> None:
        super().__init__(code, reason, detail)
        self.code = code
        self.reason = reason
        self.detail = detail


class Replaced(Exception):
    """The object has another version than the planned one, or a newer version has a transcript."""


class Gone(Exception):
    """There is no object with this key."""


class Changed(Exception):
    """Another worker has written or deleted an output since this worker read it."""


class Terminated(BaseException):
    """The container has to stop now (SIGTERM: a Spot reclaim or a terminated job)."""
