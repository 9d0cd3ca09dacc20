"""The links on the tasks in Airflow's UI."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from transcription.links import PageLink, ReportLink

RUN = SimpleNamespace(run_id="manual__2026-11-28T01:00:00+00:00")


@pytest.mark.parametrize(
    ("base", "start"), [("", "/"), ("https://airflow.example.com/a/", "https://airflow.example.com/a/")]
)
def test_the_page_opens_with_the_run(monkeypatch: pytest.MonkeyPatch, base: str, start: str) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    address = PageLink().get_link(None, ti_key=RUN)
    assert address == f"{start}transcripts/?run=manual__2026-11-28T01%3A00%3A00%2B00%3A00"


def test_the_report_opens_in_the_console_of_s3(configured: Any) -> None:
    verify = SimpleNamespace(op_args=({"plan_id": "0123456789abcdef"}, "job"))
    address = ReportLink().get_link(verify, ti_key=RUN)
    bucket = configured.outputs["BucketName"]
    assert address.startswith(f"https://console.aws.amazon.com/s3/object/{bucket}?prefix=runs/manual__2026-11-28T01-00")
    assert address.endswith("/0123456789abcdef/report.json")


def test_a_run_without_a_plan_has_no_report(configured: Any) -> None:
    assert ReportLink().get_link(SimpleNamespace(op_args=(None, None)), ti_key=RUN) == ""


def test_airflows_database_keeps_the_links_of_each_task() -> None:
    from airflow.dag_processing.dagbag import BundleDagBag

    dag = BundleDagBag("dags", bundle_path="dags", bundle_name="dags-folder").dags["transcription"]  # type: ignore[arg-type]
    kept = {
        task["__var"]["task_id"]: list(task["__var"].get("_operator_extra_links", {}))
        for task in DagSerialization.to_dict(dag)["dag"]["tasks"]
    }
    assert kept == {
        "sense_input": [],
        "plan": [],
        "submit": ["Batch Job Details", "Transcripts"],
        "wait": ["Batch Job Details", "Transcripts"],
        "verify": ["Transcripts", "Report"],
    }
