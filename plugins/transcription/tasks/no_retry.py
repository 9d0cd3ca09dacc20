"""Which failures of a task Airflow must not repeat."""

from __future__ import annotations

import functools
from collections.abc import Callable

from airflow.sdk.exceptions import AirflowFailException

from transcription.errors import PipelineError


def no_retry[**Arguments, Result](task: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Fail the task at once for a PipelineError, which a retry cannot cure. Airflow retries any other exception."""

    @functools.wraps(task)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return task(*args, **kwargs)
        except PipelineError as error:
            raise AirflowFailException(str(error)) from error

    return run
