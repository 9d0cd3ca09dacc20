"""A run costs no more than it may: it refuses, or it takes the oldest uploads that fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.task_context import task_context
from transcription.budget import JobSize, cpu_rates, keep_within
from transcription.configuration import Configuration
from transcription.errors import TooExpensive
from transcription.grouping import Grouped
from transcription.model_rules import ModelFacts
from transcription.recording_table import RecordingTable
from transcription.tasks.plan import plan
from transcription_contract.manifest import Recording
from transcription_contract.model_files import ModelChoice
from transcription_contract.run_options import RunOptions, parse
from transcription_contract.speech_engines import SpeechEngine

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = 3600.0
# An hour of a child costs a dollar, an hour of audio takes an hour, and a start takes none.
PRICES = Configuration(
    bucket="b",
    job_queue="q",
    job_definition="d",
    vcpus_per_child=1,
    memory_gb_per_child=0,
    usd_per_vcpu_hour=1,
    cpu_seconds_per_audio_second=1,
    child_start_seconds=0,
)
FRENCH, GERMAN = ModelChoice("fr", None), ModelChoice("de", None)


def size(models: int = 1, settings: Configuration = PRICES, **params: Any) -> JobSize:
    """The size of a job whose first models are French and German, where a second of audio takes a second of CPU."""
    return JobSize(settings, parse(RunOptions, params), dict.fromkeys([FRENCH, GERMAN][:models], 1.0))


def grouped(*recordings: tuple[str, float, ModelChoice]) -> Grouped:
    """Recordings with their hours of audio, the first one uploaded last."""
    found = Grouped()
    for age, (name, hours, choice) in enumerate(recordings):
        uploaded = NOON - timedelta(hours=age)
        table = found.tables.setdefault(choice, RecordingTable())
        table.append(Recording(f"input/{name}", "etag", 7, uploaded, keeps_extension=False), hours * HOUR)
    return found


def names(found: Grouped) -> dict[ModelChoice, list[str]]:
    return {choice: [item.name for item in table] for choice, table in found.tables.items()}


def test_a_run_within_its_limit_is_left_as_it_is() -> None:
    found = grouped(("a.wav", 1, FRENCH), ("b.wav", 2, FRENCH))
    keep_within(found, size(max_usd=3), cut=False, again=False)
    keep_within(found, size(), cut=False, again=False)
    assert names(found) == {FRENCH: ["a.wav", "b.wav"]}


def test_a_run_above_its_limit_is_refused_with_its_figures() -> None:
    found = grouped(("a.wav", 1, FRENCH), ("b.wav", 2, FRENCH))
    with pytest.raises(TooExpensive, match=r"2 recordings with about 3.0 hours of audio cost about 3.00 .* is 2.5"):
        keep_within(found, size(max_usd=2.5), cut=False, again=False)
    assert found.files == 2


def test_a_run_that_is_cut_takes_the_oldest_that_fit_and_leaves_the_rest() -> None:
    found = grouped(("new.wav", 1, FRENCH), ("mid.wav", 1, GERMAN), ("large.wav", 9, GERMAN), ("old.wav", 1, FRENCH))
    keep_within(found, size(max_usd=2.5, models=2), cut=True, again=False)
    assert names(found) == {FRENCH: ["old.wav"], GERMAN: ["mid.wav"]}
    assert found.left_alone == 2


def test_a_model_without_a_recording_that_fits_has_no_child() -> None:
    found = grouped(("new.wav", 1, FRENCH), ("old.wav", 1, GERMAN))
    keep_within(found, size(max_usd=1.5, models=2), cut=True, again=False)
    assert names(found) == {GERMAN: ["old.wav"]}


def test_a_run_in_which_nothing_fits_is_refused() -> None:
    with pytest.raises(TooExpensive, match="Not one of them fits"):
        keep_within(grouped(("a.wav", 1, FRENCH)), size(max_usd=0.5), cut=True, again=False)


def test_a_run_that_repeats_is_not_cut() -> None:
    found = grouped(("a.wav", 1, FRENCH), ("b.wav", 1, FRENCH))
    with pytest.raises(TooExpensive, match="would begin anew"):
        keep_within(found, size(max_usd=1), cut=True, again=True)


def test_the_param_goes_before_the_setting_and_each_model_has_a_child() -> None:
    limited = Configuration(bucket="b", job_queue="q", job_definition="d", max_usd=7)
    assert [size(settings=limited).max_usd, size(settings=limited, max_usd=0).max_usd] == [7, 0]
    assert size().max_usd == float("inf")
    assert size(models=2).children(1, 1) == 2


def test_a_model_that_costs_more_fits_less_often() -> None:
    found = grouped(("new.wav", 1, FRENCH), ("mid.wav", 1, GERMAN), ("old.wav", 1, FRENCH))
    dear = JobSize(PRICES, parse(RunOptions, {"max_usd": 2.5}), {FRENCH: 1.0, GERMAN: 9.0})
    keep_within(found, dear, cut=True, again=False)
    assert names(found) == {FRENCH: ["new.wav", "old.wav"]}


WHISPER = SpeechEngine(name="w", models=frozenset(), options=frozenset(), cpu_seconds_per_gigabyte=0.4)


def test_the_cost_of_a_model_is_the_measured_one_unless_the_deployment_states_another() -> None:
    facts = {
        FRENCH: ModelFacts(SpeechEngine(name="d", models=frozenset(), options=frozenset(), cpu_seconds=0.3), 7),
        GERMAN: ModelFacts(WHISPER, 500_000_000),
        ModelChoice("unknown", None): ModelFacts(None, 0),
    }
    measured = Configuration(bucket="b", job_queue="q", job_definition="d")
    assert [*cpu_rates(facts, measured).values()] == [0.3, 0.2, 0.3]
    assert {*cpu_rates(facts, PRICES).values()} == {1}


@pytest.mark.parametrize(
    ("stated", "size", "has_scorer", "cost"),
    [
        ({}, 7, True, None),
        ({"cpu_seconds": 0.3}, 7, True, 0.3),
        ({"cpu_seconds": 0.3, "cpu_seconds_with_scorer": 0.1}, 7, True, 0.1),
        ({"cpu_seconds": 0.3, "cpu_seconds_with_scorer": 0.1}, 7, False, 0.3),
        ({"cpu_seconds": 0.3, "cpu_seconds_with_scorer": 0.0, "cpu_seconds_per_gigabyte": 0.5}, 2 * 10**8, True, 0.1),
        ({"cpu_seconds": 0.3, "cpu_seconds_with_scorer": 0.0, "cpu_seconds_per_gigabyte": 0.5}, 2 * 10**8, False, 0.4),
    ],
)
def test_an_engines_cost_has_a_part_for_the_search_and_one_for_the_weights(
    stated: dict[str, float], size: int, has_scorer: bool, cost: float | None
) -> None:
    engine = SpeechEngine(name="d", models=frozenset(), options=frozenset(), **stated)  # type: ignore[arg-type]
    assert engine.cpu_seconds_of(size, has_scorer=has_scorer) == pytest.approx(cost)
    assert SpeechEngine.of_json("d", engine.to_json()) == engine


def test_a_plan_above_the_limit_writes_no_manifest(put: Any, configured: Any, keys: Any) -> None:
    put("input/a.wav")
    with pytest.raises(Exception, match=r"Nothing is started\. Raise max_usd"):
        plan(**task_context("manual__dear", max_usd=0.0001))
    assert keys("child_job_input/") == []
