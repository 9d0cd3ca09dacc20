"""A run's params are checked by the contract's rules before anything is planned."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from transcription.errors import SettingError
from transcription.params import PARAMS, run_options_of
from transcription_contract import run_options
from transcription_contract.run_options import RunOptions

# Taken before any test: `Param.resolve` keeps the value that it was given.
DEFAULTS = {name: param.value for name, param in PARAMS.items()}


def context(conf: dict[str, Any]) -> dict[str, Any]:
    """What Airflow gives to a task of a run with this `conf`; it drops names that the DAG does not declare."""
    params = {name: conf.get(name, default) for name, default in DEFAULTS.items()}
    return {"dag_run": SimpleNamespace(conf=conf), "params": params}


def test_every_run_option_is_a_param_of_the_form() -> None:
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
def test_what_a_container_would_refuse_is_refused_before_anything_starts(conf: dict[str, Any], reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        run_options_of(context(conf))


def test_the_form_itself_refuses_a_boost_or_a_word_that_cannot_work() -> None:
    from airflow.sdk.exceptions import ParamValidationError

    hot_words = copy.deepcopy(PARAMS["hot_words"])
    hot_words.resolve({"voicemail": 7.5})
    for words in ({"voicemail": 500}, {"two words": 5}):
        with pytest.raises(ParamValidationError):
            hot_words.resolve(words)
