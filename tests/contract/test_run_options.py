"""Every run option has one declaration. The form, the plan and the worker check values with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transcription_contract import run_options
from transcription_contract.model_files import IMAGE_MODEL, ModelChoice
from transcription_contract.run_options import OptionError, RunOptions, TranscriptionOptions, parse


def test_without_values_every_option_has_its_default() -> None:
    assert parse(RunOptions, {}) == RunOptions()
    empty = {option.name: None for option in run_options.options(RunOptions)}
    assert parse(RunOptions, empty) == RunOptions(output_formats=())


def test_words_with_times_are_there_unless_the_run_wants_the_text_only() -> None:
    assert parse(RunOptions, {}).output_formats == ("json",)
    empty: tuple[Any, ...] = (None, [])
    for nothing in empty:
        assert parse(RunOptions, {"output_formats": nothing}).output_formats == ()


def test_every_allowed_value_is_accepted_and_normalised() -> None:
    found = parse(
        RunOptions,
        {
            "output_formats": ["vtt", "json"],
            "channels": "separate",
            "alternatives": 10,
            "hot_words": {"zebra": 7, "café": -2.5},
            "beam_width": 100.0,
            "language": " FR",
            "engine": "whisper",
            "lm_alpha": 0,
            "lm_beta": -10,
            "prefix": "",
            "max_instances": 10_000,
            "model": "s3://b/m.tflite",
            "scorer": "none",
        },
    )
    assert found.output_formats == ("json", "vtt")
    assert found.hot_words == {"zebra": 7.0, "café": -2.5}
    assert (found.language, found.engine) == ("fr", "whisper")
    assert (found.beam_width, type(found.beam_width)) == (100, int)
    assert (found.lm_alpha, found.lm_beta, found.prefix) == (0, -10, None)
    assert found.model_choice == ModelChoice("s3://b/m.tflite", "none")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"beam_width": 0}, "beam_width is 0; it must be a whole number from 1 to 10000"),
        ({"beam_width": "wide"}, "from 1 to 10000"),
        ({"beam_width": 1.5}, "from 1 to 10000"),
        ({"beam_width": True}, "from 1 to 10000"),
        ({"beam_width": 10**400}, "from 1 to 10000"),
        ({"alternatives": 11}, "from 0 to 10"),
        ({"lm_alpha": float("nan"), "lm_beta": 1}, "a number from 0 to 10"),
        ({"lm_alpha": 50, "lm_beta": 1}, "a number from 0 to 10"),
        ({"lm_alpha": 1, "lm_beta": 11}, "from -10 to 10"),
        ({"lm_alpha": 1}, "lm_alpha is set and lm_beta is not"),
        ({"lm_beta": 1}, "lm_beta is set and lm_alpha is not"),
        ({"output_formats": ["docx"]}, "a list of json, srt, vtt"),
        ({"output_formats": "json"}, "a list of json, srt, vtt"),
        ({"channels": "left"}, "mixed or separate"),
        ({"hot_words": ["zebra"]}, "words without spaces"),
        ({"hot_words": {"two words": 5}}, "words without spaces"),
        ({"hot_words": {"": 5}}, "words without spaces"),
        ({"hot_words": {"voicemail": 1000}}, "from -100 to 100"),
        ({"hot_words": {"voicemail": "much"}}, "from -100 to 100"),
        ({"dry_run": "perhaps"}, "true or false"),
        ({"max_instances": 10_001}, "from 1 to 10000"),
        ({"model": 7}, "a text"),
        ({"uploaded_from": "yesterday"}, "such as 2026-11-20T18:00:00Z"),
        ({"uploaded_to": 7}, "such as 2026-11-20T18:00:00Z"),
        ({"uploaded_from": "2026-11-20", "uploaded_to": "2026-11-20T01:00+01:00"}, "is not before uploaded_to"),
        ({"language": "klingon"}, "a code such as en, fr or zh, or auto"),
        ({"modell": "x"}, "no option 'modell'. Did you mean 'model'"),
        ({"zzz": 1}, "no option 'zzz'. The options are above_max_usd, "),
    ],
)
def test_the_error_for_an_invalid_value_names_the_option_and_the_allowed_values(
    given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(OptionError) as caught:
        parse(RunOptions, given)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20", "2026-11-20T00:00:00+00:00"),
        (" 2026-11-20T18:00 ", "2026-11-20T18:00:00+00:00"),
        ("2026-11-20T18:00:00.000Z", "2026-11-20T18:00:00+00:00"),
        ("2026-11-20T18:00:00+01:00", "2026-11-20T18:00:00+01:00"),
        ("", None),
    ],
)
def test_a_time_without_an_offset_is_utc_and_a_date_is_its_midnight(text: str, moment: str | None) -> None:
    assert parse(RunOptions, {"uploaded_from": text}).uploaded_from == moment


def test_an_option_that_weighs_a_scorer_needs_one() -> None:
    without = ModelChoice("s3://b/m.pbmm", None)
    RunOptions(beam_width=10).check_scorer(without)
    for weighing in ({"hot_words": {"a": 1}}, {"lm_alpha": 0, "lm_beta": 0}):
        options = parse(RunOptions, weighing)
        options.check_scorer(IMAGE_MODEL)
        with pytest.raises(OptionError, match=r"works only with a scorer, and the model s3://b/m.pbmm has none"):
            options.check_scorer(without)


VALUES = {
    run_options.Flag: st.booleans(),
    run_options.Text: st.text(),
    run_options.Moment: st.one_of(st.datetimes().map(str), st.text(max_size=30)),
    run_options.Whole: st.integers(-1, 10_001),
    run_options.Number: st.floats(-11, 11),
    run_options.Choice: st.sampled_from(["mixed", "separate", "left"]),
    run_options.Several: st.lists(st.sampled_from(["json", "srt", "vtt", "pdf"])),
    run_options.Language: st.sampled_from(["en", "FR ", "auto", "klingon", ""]),
    run_options.Boosts: st.dictionaries(st.text(max_size=3), st.floats(-110, 110)),
}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
@given(st.fixed_dictionaries({}, optional={o.name: VALUES[type(o.type)] for o in run_options.options(RunOptions)}))
def test_accepted_values_reach_the_worker_unchanged(values: dict[str, Any]) -> None:
    try:
        of_run = parse(RunOptions, values)
    except OptionError:
        return
    of_worker = parse(TranscriptionOptions, json.loads(json.dumps(of_run.to_json())))
    assert of_worker.to_json() == of_run.to_json()


def test_every_option_has_a_description() -> None:
    for option in run_options.options(RunOptions):
        assert option.title
        assert option.help
        assert option.section
        schema = option.json_schema()
        assert schema["type"][-1] == "null" or option.default not in (None, (), {}), option.name
