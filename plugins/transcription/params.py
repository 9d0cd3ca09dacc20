"""The DAG's params, made from the contract's run options: Airflow's trigger form shows and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow.sdk import Param

from transcription import configuration
from transcription.errors import SettingError
from transcription.selection import Interval, Selection
from transcription_contract import layout, run_options
from transcription_contract.run_options import Option, RunOptions


def _param(option: Option) -> Param:
    default = list(option.default) if isinstance(option.default, tuple) else option.default
    schema = option.json_schema()
    suggested = _suggested(option.name)
    if suggested:
        schema["examples"] = suggested
    # Airflow opens the section of params without one, and no other.
    if option.section != run_options.SECTIONS[0]:
        schema["section"] = option.section
    if option.name == "max_instances":
        default, schema["type"] = configuration.option("max_instances_default"), "integer"
    return Param(default, title=option.title, description_md=option.help, **schema)


def _suggested(name: str) -> list[str]:
    """Values that the form suggests for a text; every other one may be typed, too."""
    built_in = configuration.option("built_in_models").split()
    models = f"s3://bucket/{layout.MODELS}"
    suggested = {
        "model": [*built_in, f"{models}fr/model.tflite", f"{models}en/my-whisper/"],
        "scorer": [*built_in, "none", f"{models}fr/model.scorer"],
        "engine": configuration.option("engines").split(),
        "prefix": ["calls/", "calls/2026/"],
    }
    return suggested.get(name, [])


PARAMS = {option.name: _param(option) for option in run_options.in_order_of_form()}


def run_options_of(context: Mapping[str, Any]) -> RunOptions:
    """The options of the run that a task works for.

    Raises:
        SettingError: a param is unknown, out of range or does not fit another one.
    """
    conf = getattr(context["dag_run"], "conf", None) or {}
    try:
        # Airflow leaves out of `params` what the DAG does not declare; `conf` still has it.
        return run_options.parse(RunOptions, {**conf, **context["params"]})
    except run_options.OptionError as error:
        raise SettingError(f"{error}.") from error


def selection_of(context: Mapping[str, Any]) -> Selection:
    """Which recordings the run takes.

    A backfill run takes what was uploaded in its data interval again; the params can only make that less.
    """
    run_options = run_options_of(context)
    start, end = (_moment(text) for text in (run_options.uploaded_from, run_options.uploaded_to))
    again = run_options.again
    dag_run = context["dag_run"]
    if dag_run.run_type == "backfill" and dag_run.data_interval_start and dag_run.data_interval_end:
        start = max(start or dag_run.data_interval_start, dag_run.data_interval_start)
        end = min(end or dag_run.data_interval_end, dag_run.data_interval_end)
        again = True
    return Selection(
        prefix=(run_options.prefix or "").lstrip("/"), interval=Interval(start=start, end=end), again=again
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
