"""The errors of the tasks. Each message says what happened and what to do next."""

from __future__ import annotations


class PipelineError(Exception):
    """An error that a retry cannot fix."""


class SettingError(PipelineError):
    """A setting or param is missing or out of range."""


class PlanMissing(PipelineError):
    """A task needs the plan of its run, and the run has none."""


class PlanOvertaken(PipelineError):
    """Another run has planned the same recordings since this run did."""


class TooExpensive(PipelineError):
    """The plan costs more than the run may."""


class ManifestUnreadable(PipelineError):
    """A manifest is malformed or has another version."""


class ModelUnusable(PipelineError):
    """A model or scorer is absent or malformed, or its folder has several."""


class FilesMissing(PipelineError):
    """Planned recordings have neither a transcript nor a reason for its absence."""


class JobFailed(PipelineError):
    """The Batch job, or some of its children, failed."""


class PlanLockLost(Exception):
    """Another run took over the plan lock because this one seemed dead. Airflow retries the task."""
