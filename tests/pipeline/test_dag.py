from __future__ import annotations

import ast
import copy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import ParamValidationError
from airflow.sdk.timezone import datetime
from airflow.serialization.encoders import coerce_to_core_timetable

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dag() -> Any:
    bag = DagBag(str(PROJECT / "dags"))
    assert bag.import_errors == {}
    return bag.dags["transcription"]


def test_the_tasks_have_the_order_of_the_diagram(dag: Any) -> None:
    order = ["sense_input", "plan", "submit", "wait", "verify"]
    assert sorted(dag.task_ids) == sorted(order)
    for earlier, later in pairwise(order):
        assert later in dag.get_task(earlier).downstream_task_ids


def test_the_dag_runs_every_night_at_one_for_the_day_before(dag: Any) -> None:
    timetable = coerce_to_core_timetable(dag.timetable)
    interval = timetable.infer_manual_data_interval(run_after=datetime(2026, 11, 23, 5))
    assert (interval.start, interval.end) == (datetime(2026, 11, 22, 1), datetime(2026, 11, 23, 1))


def test_one_run_is_active_at_a_time_and_missed_nights_are_not_caught_up(dag: Any) -> None:
    assert dag.max_active_runs == 1
    assert dag.catchup is False


def test_verify_runs_after_a_failed_wait_and_not_after_a_skipped_one_or_a_failed_plan(dag: Any) -> None:
    verify = dag.get_task("verify")
    assert verify.trigger_rule == "all_done_min_one_success"
    assert verify.upstream_task_ids == {"plan", "submit", "wait"}, "of these, only a plan that failed leaves no success"


def test_each_task_says_what_to_do_when_it_is_red(dag: Any) -> None:
    for task in dag.tasks:
        assert "When it is red" in task.doc_md, task.task_id
    assert "Override parameters on existing runs" in dag.doc_md


def test_a_skipped_sense_input_skips_all_other_tasks(dag: Any) -> None:
    assert dag.get_task("sense_input").ignore_downstream_trigger_rules is True


@pytest.mark.parametrize(
    "params",
    [
        {"max_instances": 0},
        {"max_instances": 10_001},
        {"max_instances": 2.5},
        {"audio_minutes_per_child": 0},
        {"beam_width": 0},
        {"output_formats": ["pdf"]},
        {"channels": "left"},
        {"alternatives": 11},
        {"hot_words": {"voicemail": "much"}},
        {"dry_run": "perhaps"},
        {"uploaded_from": "yesterday"},
    ],
)
def test_params_out_of_range_are_rejected(dag: Any, params: dict[str, Any]) -> None:
    (name, value), *_ = params.items()
    with pytest.raises(ParamValidationError):
        copy.deepcopy(dag.params.get_param(name)).resolve(value)


@pytest.mark.parametrize(
    "params",
    [
        {"max_instances": 10_000},
        {"audio_minutes_per_child": 0.5},
        {"model": "s3://b/m.tflite"},
        {"model": None},
        {"output_formats": ["json", "srt", "vtt"]},
        {"output_formats": None},
        {"channels": "separate"},
        {"alternatives": 10},
        {"prefix": None},
        {"hot_words": {"voicemail": 7.5}},
        {"uploaded_from": "2026-11-20T18:00:00+01:00"},
        {"uploaded_to": "2026-11-20T18:00:00Z"},
        {"uploaded_to": None},
        {"again": True},
    ],
)
def test_params_within_range_are_accepted(dag: Any, params: dict[str, Any]) -> None:
    (name, value), *_ = params.items()
    assert copy.deepcopy(dag.params.get_param(name)).resolve(value) == value


def test_every_param_has_a_title_and_a_description_in_markdown_in_the_trigger_form(dag: Any) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema["title"], name
        assert param.schema["description_md"], name
        assert param.description is None, "the form would show this instead, with its backticks"


def test_an_import_finds_the_package_in_plugins_and_not_the_dag_file_of_the_same_name() -> None:
    """The DAG file and the package are both called `transcription`. Airflow searches the plugins folder first."""
    program = (
        "from airflow.dag_processing.dagbag import BundleDagBag\n"
        f"dags = {str(PROJECT / 'dags')!r}\n"
        "bag = BundleDagBag(dags, bundle_path=dags, bundle_name='dags-folder')\n"
        "assert bag.import_errors == {}, bag.import_errors\n"
        "import transcription; assert 'plugins' in transcription.__file__\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_dag_file_and_the_plugins_import_only_packages_of_the_mwaa_image() -> None:
    """MWAA's Airflow image contains these packages in the versions of Airflow's constraints."""
    own = {"transcription", "transcription_contract", "transcripts_page"}
    image = {"airflow", "boto3", "botocore", "fastapi", "pydantic", "starlette"}
    available = own | image | sys.stdlib_module_names
    for path in [*(PROJECT / "dags").rglob("*.py"), *(PROJECT / "plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] in available, f"{path}: {name}"


def test_the_trigger_form_can_be_submitted_unchanged(dag: Any) -> None:
    """Airflow's form requires a value in every empty field that may not be null."""
    for name in dag.params:
        param = dag.params.get_param(name)
        if param.value in (None, "", [], {}):
            assert param.schema["type"][-1] == "null", name
            assert param.schema["type"][0] != "null", name
