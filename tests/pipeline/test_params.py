"""The contract's rules check a run's params before the run plans anything."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from transcription.errors import SettingError
from transcription.params import PARAMS, _param, run_options_of
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


def test_the_form_begins_with_the_recordings_in_the_section_that_airflow_opens() -> None:
    sections = [param.schema.get("section") for param in PARAMS.values()]
    assert list(dict.fromkeys(sections)) == [None, *run_options.SECTIONS[1:]]
    assert list(PARAMS)[:3] == ["prefix", "uploaded_from", "uploaded_to"]
    assert list(PARAMS)[5:9] == ["model", "scorer", "language", "engine"]


def test_the_form_suggests_the_models_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__TRANSCRIPTION__BUILT_IN_MODELS", "asterisk-en whisper-tiny.en")
    [model] = [option for option in run_options.in_order_of_form() if option.name == "model"]
    assert _param(model).schema["examples"][:2] == ["asterisk-en", "whisper-tiny.en"]


def test_hot_words_are_edited_as_an_object() -> None:
    assert DEFAULTS["hot_words"] == {}
    assert PARAMS["hot_words"].schema["type"][0] == "object"
