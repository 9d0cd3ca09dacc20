"""What can go wrong, each with the consequence it has."""

from __future__ import annotations

from transcription_contract.results import ExitCode

NOT_AUDIO = "This file is no audio or video that can be read. Upload the original recording."


class WorkerError(Exception):
    """Something that ends the worker with an exit code that the job definition understands."""

    exit_code: ExitCode


class TemporaryError(WorkerError):
    """A retry can cure it: S3 trouble, a full disk, an interrupted container (EX_TEMPFAIL)."""

    exit_code = ExitCode.TEMPORARY


class ConfigError(WorkerError):
    """A retry cannot cure it: a wrong setting, manifest, model or permission (EX_CONFIG)."""

    exit_code = ExitCode.PERMANENT


class Rejected(Exception):
    """This recording can never be transcribed.

    Args:
        code: a short name for programs, such as `no-audio`.
        reason: a sentence that the recording's owner understands, with what to do.
        detail: what the libraries said, for who maintains this.
    """

    def __init__(self, code: str, reason: str, detail: str = "") -> None:
        super().__init__(code, reason, detail)
        self.code = code
        self.reason = reason
        self.detail = detail


class Replaced(Exception):
    """The object under the source key is no longer the one that was planned."""


class Gone(Exception):
    """There is no object under the key any more."""


class Terminated(BaseException):
    """The container has to stop now (SIGTERM: a Spot reclaim or a terminated job)."""
