"""The DAG's params, made from the contract's run options: Airflow's trigger form shows and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from transcription import settings
from transcription.errors import SettingError
from transcription_contract import run_options
from transcription_contract.run_options import Option, RunOptions


def _param(option: Option) -> Param:
    default = option.default or None if option.default in ((), {}) else option.default
    schema = option.json_schema()
    if option.name == "max_instances":
        default, schema["type"] = settings.option("max_instances_default"), "integer"
    return Param(default, title=option.title, description=option.help, section=option.section, **schema)


PARAMS = {option.name: _param(option) for option in run_options.options(RunOptions)}


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
