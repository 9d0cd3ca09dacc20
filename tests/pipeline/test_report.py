from __future__ import annotations

import pytest

from tests.plans import plan_summary
from transcription import report
from transcription.errors import PlanMissing
from transcription.plan_summary import LargeFile, PlanSummary


def test_a_written_report_is_read_unchanged() -> None:
    assert report.read(report.to_bytes({"final": True, "missing": []})) == {"final": True, "missing": []}


@pytest.mark.parametrize("body", [None, b'{"schema": 2, "files": []}', b"{}"])
def test_a_report_that_is_absent_or_of_another_version_is_not_read(body: bytes | None) -> None:
    assert report.read(body) is None


def test_a_plan_comes_back_from_its_xcom_as_it_was() -> None:
    value = plan_summary(
        "child_job_input/r/", unusable_models=("why",), largest_files=(LargeFile("input/a.wav", 7, 0.1),)
    )
    plan = PlanSummary.of_xcom(value, "verify")
    assert plan.to_json() == value
    assert PlanSummary.read(plan.to_bytes()) == plan


@pytest.mark.parametrize("value", [None, {}, "a plan", {**plan_summary("p/"), "digest": "of an earlier version"}])
def test_the_error_for_an_invalid_plan_names_the_task_that_needs_it(value: object) -> None:
    with pytest.raises(PlanMissing, match="airflow tasks test transcription submit RUN_ID"):
        PlanSummary.of_xcom(value, "submit")
