from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plans import planned
from transcription import planning
from transcription.configuration import Configuration
from transcription.errors import SettingError
from transcription.planning import StoredObject, Unplanned
from transcription.recording_table import RecordingTable
from transcription_contract.manifest import Recording
from transcription_contract.model_files import ModelChoice

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
PRICES = Configuration(bucket="b", job_queue="q", job_definition="d")


def stored(name: str, size: int = 32_000, folder: str = "input/") -> StoredObject:
    return StoredObject(folder + name, "etag", size, NOON)


def in_key_order(names: Sequence[str]) -> list[StoredObject]:
    return [stored(name) for name in sorted(names, key=str.encode)]


def short_keys(*names: str) -> list[str]:
    """The names whose transcripts have no extension in their key."""
    return [item.name for item in planned(in_key_order(names)) if not item.keeps_extension]


def test_the_first_recording_in_key_order_may_use_the_shorter_key() -> None:
    assert short_keys("a.wav", "a.mp3", "b.wav") == ["a.mp3", "b.wav"]
    assert short_keys("a.mp3", "a.n.mp3", "a.n.wav", "a.wav", "a b.wav") == ["a b.wav", "a.mp3", "a.n.mp3"]


def test_a_recording_keeps_its_extension_if_another_run_may_use_the_shorter_key() -> None:
    (item,) = planning.recordings([stored("a.wav")], {"output/a"})
    assert isinstance(item, Recording)
    assert item.keeps_extension


@given(st.lists(st.from_regex(r"[ab.]{0,4}\.(wav|mp3|json\.wav|srt\.mp3)", fullmatch=True), unique=True))
def test_no_two_recordings_of_a_plan_ever_share_an_output(names: list[str]) -> None:
    recordings = planned(in_key_order(names))
    assert len(recordings) == len(names)
    transcripts = [item.transcript_keys[-1 if item.keeps_extension else 0] for item in recordings]
    outputs = [key + suffix for key in transcripts for suffix in ("", ".json", ".srt", ".vtt")]
    assert len(outputs) == len(set(outputs))


def test_a_recording_is_planned_with_its_version() -> None:
    assert planned([stored("sub/talk.v1.wav", size=7)]) == [
        Recording("input/sub/talk.v1.wav", "etag", 7, NOON, keeps_extension=False)
    ]


def test_a_recording_in_processed_is_transcribed_again_in_place() -> None:
    (found,) = planned([stored("sub/a.wav", folder="processed/")])
    assert found.in_place


def test_a_name_too_long_for_its_keys_is_not_planned_and_has_a_reason() -> None:
    longest = 1024 - len("failed/") - len(".error.json") - len(".wav")
    objects = [stored("x" * longest + ".wav"), stored("y" * (longest + 3) + ".wav")]
    fits, too_long = planning.recordings(objects, frozenset())
    assert isinstance(fits, Recording)
    assert len(fits.error_key.encode()) == 1024
    assert all(len(key.encode()) < 1020 for key in fits.transcript_keys)
    assert isinstance(too_long, Unplanned)
    assert "shorten it by 3 bytes" in too_long.reason


@pytest.mark.parametrize(
    ("hours", "files", "limit", "children"),
    [(0.001, 1, 20, 1), (10, 1, 20, 1), (10, 1000, 20, 10), (100, 1000, 20, 20), (0.5, 1000, 20, 1), (3, 2, 20, 2)],
)
def test_the_number_of_children_depends_on_the_work_the_files_and_the_limit(
    hours: float, files: int, limit: int, children: int
) -> None:
    count = planning.child_count(hours * 3600, files, max_instances=limit, audio_minutes_per_child=60)
    assert count == children


DURATIONS = st.lists(st.floats(0.001, 30_000), min_size=1, max_size=60)


@given(DURATIONS, st.integers(1, 60))
def test_a_split_gives_every_file_to_one_child_and_every_child_a_file(seconds: list[float], wanted: int) -> None:
    children = min(wanted, len(seconds))
    shares = planning.split(seconds, children)
    assert len(shares) == children
    assert all(shares)
    assert sorted(row for share in shares for row in share) == list(range(len(seconds)))


@given(DURATIONS, st.integers(1, 60))
def test_each_child_gets_its_longest_recordings_first(seconds: list[float], wanted: int) -> None:
    for share in planning.split(seconds, min(wanted, len(seconds))):
        durations = [seconds[row] for row in share]
        assert durations == sorted(durations, reverse=True)


def work_of(seconds: Sequence[float], children: int) -> list[float]:
    return [sum(seconds[row] + 2.0 for row in share) for share in planning.split(seconds, children)]


@given(DURATIONS, st.integers(1, 8))
def test_no_child_exceeds_the_mean_by_more_than_one_file(seconds: list[float], wanted: int) -> None:
    work = work_of(seconds, min(wanted, len(seconds)))
    assert max(work) <= sum(work) / len(work) + max(seconds) + 2.0 + 1e-6


def test_the_slowest_child_is_within_5_percent_of_the_mean_for_recordings_of_very_different_lengths() -> None:
    generator = random.Random(7)  # noqa: S311
    work = work_of([min(generator.lognormvariate(4, 1.5), 1800) for _ in range(2000)], 20)  # median a minute
    assert max(work) <= 1.05 * sum(work) / len(work)


def test_work_is_split_by_duration_and_not_by_count() -> None:
    shares = planning.split([3600.0] + [60.0] * 58, 2)
    assert sorted(len(share) for share in shares) == [1, 58]


def test_a_compressed_recording_counts_by_its_duration_and_not_by_its_bytes() -> None:
    assert planning.audio_seconds("input/a.mp3", 12_000 * 60) == planning.audio_seconds("b.wav", 32_000 * 60) == 60


def tables(**hours: float) -> dict[ModelChoice, RecordingTable]:
    """Recordings of six minutes each, by their model."""
    found = {ModelChoice(name, None): RecordingTable() for name in hours}
    for (model, _), table in found.items():
        for number in range(int(10 * hours[str(model)])):
            table.append(Recording(f"input/{number}.wav", "etag", 7, NOON, keeps_extension=False), 360.0)
    return found


def shares_of(found: dict[ModelChoice, RecordingTable], children: int, **more: Any) -> list[planning.Share]:
    """The shares if all models cost the same."""
    return planning.shares(found, children, dict.fromkeys(found, 1.0), **more)


def test_a_model_that_costs_more_gets_more_children() -> None:
    found = tables(fr=1, en=1)
    rates = {ModelChoice("fr", None): 0.3, ModelChoice("en", None): 0.1}
    shares = planning.shares(found, 4, rates, max_instances=9)
    assert [share.choice.model for share in shares] == ["fr"] * 3 + ["en"]
    assert planning.cpu_seconds(found, rates) == pytest.approx(3600 * 0.4)
    longest = max(360 * 0.3 * len(shares[0].rows), 3600 * 0.1)
    assert planning.estimated_seconds(shares, rates, PRICES) == pytest.approx(
        longest / PRICES.vcpus_per_child + PRICES.child_start_seconds
    )


def test_a_child_has_one_model_and_each_model_gets_children_by_its_audio() -> None:
    shares = shares_of(tables(fr=6, en=2, de=0.1), 9, max_instances=20)
    assert [share.choice.model for share in shares] == ["fr"] * 6 + ["en"] * 2 + ["de"]
    assert [len(share.rows) for share in shares] == [10] * 8 + [1]


def test_each_model_has_a_child_even_with_little_work_and_no_child_is_idle() -> None:
    assert len(shares_of(tables(fr=0.1, en=0.1, de=0.1), 1, max_instances=3)) == 3
    assert all(share.rows for share in shares_of(tables(fr=0.3, en=0.2), 5, max_instances=5))


def test_a_model_with_one_long_recording_has_one_child_and_the_others_share_the_rest() -> None:
    found = tables(fr=2, en=0)
    found[ModelChoice("en", None)].append(Recording("input/l.wav", "e", 7, NOON, keeps_extension=False), 36_000.0)
    shares = shares_of(found, 5, max_instances=5)
    assert [(share.choice.model, len(share.rows)) for share in shares] == [("fr", 5)] * 4 + [("en", 1)]


def test_more_models_than_children_give_an_error_with_a_solution() -> None:
    with pytest.raises(SettingError, match=r"need 3 models, .* max_instances is 2: raise it to 3 or more, .* prefix"):
        shares_of(tables(fr=1, en=1, de=1), 2, max_instances=2)


MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
RECORDINGS = st.builds(
    Recording,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9).map("input/{}.wav".format),
    st.text("0123456789abcdef-", min_size=1, max_size=36),
    st.integers(0, 5 * 1024**4),
    MOMENTS,
    keeps_extension=st.booleans(),
)


@given(st.lists(RECORDINGS))
def test_a_table_returns_each_recording_unchanged(recordings: list[Recording]) -> None:
    table = RecordingTable()
    for item in recordings:
        table.append(item, 1.5)
    assert list(table) == recordings
    assert len(table) == len(recordings)


def test_the_estimate_grows_with_the_audio_and_includes_at_least_a_minute_per_child() -> None:
    minute = planning.container_usd(60, PRICES)
    quick_start = replace(PRICES, child_start_seconds=1)
    assert planning.estimated_usd(1, 5, PRICES) == pytest.approx(5 * minute, rel=0.01)
    assert planning.estimated_usd(1, 5, quick_start) == pytest.approx(5 * minute, rel=0.01)
    ten, twenty = (planning.estimated_usd(hours * 3600, 1, PRICES) for hours in (10, 20))
    assert twenty - ten == pytest.approx(planning.container_usd(36_000 / 2, PRICES))


def test_an_hour_of_a_container_costs_its_cpus_and_its_memory() -> None:
    prices: dict[str, Any] = {"usd_per_vcpu_hour": 0.04, "usd_per_gb_hour": 0.004}
    configuration = Configuration(
        bucket="b", job_queue="q", job_definition="d", vcpus_per_child=2, memory_gb_per_child=4, **prices
    )
    assert planning.container_usd(3600, configuration) == pytest.approx(0.096)
