"""What can go wrong on the Airflow side, each with a sentence that says what to do next."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException


class SettingError(AirflowFailException):
    """A setting or param is missing or out of range."""


class PlanMissing(AirflowFailException):
    """A task needs the plan of its run, and the run has none."""


class PlanLockLost(AirflowException):
    """Another run plans now, for it took this one for dead. Airflow tries the task again."""


class PlanOvertaken(AirflowFailException):
    """Another run has planned the same recordings since this one did."""


class ManifestUnreadable(AirflowFailException):
    """A manifest is malformed or has another version."""


class ModelUnusable(AirflowFailException):
    """A model or scorer is not there, is none, or is not the only one in its folder."""


class FilesMissing(AirflowFailException):
    """Planned recordings have neither a transcript nor a reason why they cannot have one."""


class JobFailed(AirflowFailException):
    """The Batch job, or some of its children, failed."""
