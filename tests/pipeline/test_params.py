"""The contract's rules check a run's params before the run plans anything."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from transcription.errors import SettingError
from transcription.params import PARAMS, run_options_of
from transcription_contract import run_options
from transcription_contract.run_options import RunOptions

# Copied before any test, because `Param.resolve` keeps the last value.
DEFAULTS = {name: param.value for name, param in PARAMS.items()}


def context(conf: dict[str, Any]) -> dict[str, Any]:
    """A task's context in a run with this `conf`. Airflow drops names that the DAG does not declare."""
    params = {name: conf.get(name, default) for name, default in DEFAULTS.items()}
    return {"dag_run": SimpleNamespace(conf=conf), "params": params}


def test_every_run_option_is_a_param() -> None:
    assert set(PARAMS) == {option.name for option in run_options.options(RunOptions)}
    assert run_options_of(context({})) == RunOptions(max_instances=20)


@pytest.mark.parametrize(
    ("conf", "reason"),
    [
        ({"lm_alpha": 0.5}, "lm_alpha is set and lm_beta is not"),
        ({"lm_alpha": 50, "lm_beta": 1}, "lm_alpha is 50"),
        ({"hot_words": {"two words": 5}}, "words without spaces"),
        ({"hot_words": {"voicemail": 1000}}, "from -100 to 100"),
        ({"modell": "x"}, "Did you mean 'model'"),
    ],
)
def test_values_that_the_worker_would_reject_are_rejected_before_the_plan(conf: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        run_options_of(context(conf))


def test_the_form_rejects_an_invalid_boost_or_hot_word() -> None:
    from airflow.sdk.exceptions import ParamValidationError

    hot_words = copy.deepcopy(PARAMS["hot_words"])
    hot_words.resolve({"voicemail": 7.5})
    for words in ({"voicemail": 500}, {"two words": 5}):
        with pytest.raises(ParamValidationError):
            hot_words.resolve(words)
