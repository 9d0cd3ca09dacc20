from __future__ import annotations

import ast
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


def test_the_tasks_follow_each_other_as_in_the_diagram(dag: Any) -> None:
    order = ["sense_input", "plan", "submit", "wait", "verify"]
    assert sorted(dag.task_ids) == sorted(order)
    for earlier, later in pairwise(order):
        assert later in dag.get_task(earlier).downstream_task_ids


def test_it_runs_every_night_at_one_and_owns_the_day_before(dag: Any) -> None:
    timetable = coerce_to_core_timetable(dag.timetable)
    interval = timetable.infer_manual_data_interval(run_after=datetime(2026, 11, 23, 5))
    assert (interval.start, interval.end) == (datetime(2026, 11, 22, 1), datetime(2026, 11, 23, 1))


def test_one_run_is_at_work_at_a_time_and_missed_nights_are_not_made_up_for(dag: Any) -> None:
    assert dag.max_active_runs == 1
    assert dag.catchup is False


def test_verify_runs_after_a_failed_wait_and_not_after_a_skipped_one(dag: Any) -> None:
    assert dag.get_task("verify").trigger_rule == "none_skipped"


def test_a_skipped_sense_skips_all_that_follows_verify_too(dag: Any) -> None:
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
    ],
)
def test_params_out_of_range_are_refused(dag: Any, params: dict[str, Any]) -> None:
    (name, value), *_ = params.items()
    with pytest.raises(ParamValidationError):
        dag.params.get_param(name).resolve(value)


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
    ],
)
def test_params_within_range_are_taken(dag: Any, params: dict[str, Any]) -> None:
    (name, value), *_ = params.items()
    assert dag.params.get_param(name).resolve(value) == value


def test_every_param_is_explained_in_the_trigger_form(dag: Any) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema["title"], name
        assert param.description, name


def test_the_package_in_plugins_wins_over_the_dag_file_of_the_same_name() -> None:
    """Airflow puts the plugins folder on the path before the DAG bundle, and so must every caller."""
    program = (
        "from airflow.dag_processing.dagbag import BundleDagBag\n"
        f"dags = {str(PROJECT / 'dags')!r}\n"
        "bag = BundleDagBag(dags, bundle_path=dags, bundle_name='dags-folder')\n"
        "assert bag.import_errors == {}, bag.import_errors\n"
        "import transcription; assert 'plugins' in transcription.__file__\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_dag_file_and_the_plugins_import_nothing_that_the_mwaa_image_lacks() -> None:
    """MWAA's Airflow image has what these name, at the versions of Airflow's constraints."""
    there = {"airflow", "boto3", "botocore", "transcription", "transcription_contract"} | set(sys.stdlib_module_names)
    for path in [*(PROJECT / "dags").rglob("*.py"), *(PROJECT / "plugins").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                assert name.partition(".")[0] in there, f"{path}: {name}"


def test_the_trigger_form_can_be_sent_as_it_is(dag: Any) -> None:
    """Airflow's form demands a value for each field that has none and may not be null."""
    for name in dag.params:
        param = dag.params.get_param(name)
        if param.value in (None, "", [], {}):
            assert param.schema["type"][-1] == "null", name
            assert param.schema["type"][0] != "null", name
