"""Which run a container works for, and what its exit code says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from local_aws.containers import PROJECT
from orchestrator import identity
from orchestrator.exit_codes import RUN_FAILED, container_code
from orchestrator.identity import BadStartError

NIGHT = "2026-11-25T01:00:00Z"


def job(number: int, time: str = NIGHT, created: int = 0) -> dict[str, Any]:
    return {"jobId": f"job-{number}", "createdAt": created or number, "parameters": {"time": time}}


def test_the_runs_id_is_made_of_the_scheduled_time_however_it_is_written() -> None:
    for text in (NIGHT, "2026-11-25T01:00:00+00:00", "2026-11-25T02:00:00+01:00", "2026-11-25T01:00:00"):
        assert identity.run_id(identity.run_time(text, job(1))) == "manual__2026-11-25T01:00:00+00:00"


def test_without_a_time_the_id_is_made_of_the_jobs_submission() -> None:
    time = datetime(2026, 11, 25, 1, 2, 3, tzinfo=UTC)
    submitted = job(1, created=round(time.timestamp() * 1000))
    assert identity.run_time("submission", submitted) == time


@pytest.mark.parametrize("text", ["", "tonight", "<aws.scheduler.scheduled-time>"])
def test_what_is_no_time_is_refused_with_what_it_must_be(text: str) -> None:
    with pytest.raises(BadStartError, match="must be a time such as 2026-11-25T01:00:00Z, or 'submission'"):
        identity.run_time(text, job(1))


@pytest.mark.parametrize("text", ["", "[1]", "prefix", '"x"'])
def test_params_that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(BadStartError, match="must be a JSON object"):
        identity.run_params(text)


def test_of_the_live_jobs_of_one_run_the_first_one_works_and_the_others_know_it() -> None:
    first, second, third = job(1), job(2), job(3)
    live = [third, first, second, job(0, time="2026-11-24T01:00:00Z"), job(0, time="no time")]
    assert identity.earlier_job(first, live) is None
    assert identity.earlier_job(second, live) == first
    assert identity.earlier_job(third, live) == first


def test_two_jobs_of_one_moment_agree_which_is_the_first() -> None:
    one, other = job(1, created=7), job(2, created=7)
    assert identity.earlier_job(one, [one, other]) is None
    assert identity.earlier_job(other, [one, other]) == one


@pytest.mark.parametrize(("child", "container"), [(0, 0), (RUN_FAILED, 1), (1, 75), (2, 75), (-9, 137), (-15, 143)])
def test_only_a_result_of_the_run_is_an_exit_code_that_batch_does_not_repeat(child: int, container: int) -> None:
    assert container_code(child) == container


def test_sigterm_ends_the_container_at_once_also_before_the_run_begins(tmp_path: Path) -> None:
    variables = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "EMPTY_DATABASE": str(PROJECT / "pyproject.toml"),
        "PYTHONPATH": f"{PROJECT / 'orchestrator_image'}:{PROJECT / 'plugins'}",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", NIGHT, "{}"], env=variables, stdout=subprocess.PIPE, text=True
    )
    home = tmp_path / "airflow" / "airflow.db"
    while not home.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "Stopped by SIGTERM" in output


def test_a_later_time_is_another_run() -> None:
    first = identity.run_time(NIGHT, job(1))
    assert identity.run_id(first) != identity.run_id(first + timedelta(seconds=1))
