from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription import planning
from transcription.planning import StoredObject
from transcription.settings import Settings
from transcription_contract.manifest import Recording

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SETTINGS = Settings(bucket="b", job_queue="q", job_definition="d")


def recording(name: str, size: int = 32_000, folder: str = "input/") -> StoredObject:
    return StoredObject(folder + name, "etag", size, NOON)


def transcript_keys(*names: str) -> dict[str, str]:
    lines, _ = planning.manifest_lines(recording(name) for name in names)
    return {line.source_key.removeprefix("input/"): line.transcript_key.removeprefix("output/") for line in lines}


def test_a_transcript_is_named_as_the_recording_without_its_last_extension() -> None:
    names = transcript_keys("talk.v1.wav", "talk.v2.wav", "sub folder/ä.mp3")
    assert names == {"talk.v1.wav": "talk.v1", "talk.v2.wav": "talk.v2", "sub folder/ä.mp3": "sub folder/ä"}


def test_the_later_of_two_recordings_with_one_transcript_name_keeps_its_whole_name() -> None:
    assert transcript_keys("a.wav", "a.mp3") == {"a.mp3": "a", "a.wav": "a.wav"}


def test_the_captions_of_one_recording_are_not_the_transcript_of_another() -> None:
    names = transcript_keys("a.json.wav", "a.wav")
    outputs = [name + suffix for name in names.values() for suffix in ("", ".json", ".srt", ".vtt")]
    assert len(outputs) == len(set(outputs))


@given(st.lists(st.from_regex(r"[ab.]{0,4}\.(wav|mp3|json\.wav|srt\.mp3)", fullmatch=True), unique=True))
def test_no_two_recordings_ever_share_an_output(names: list[str]) -> None:
    lines, left = planning.manifest_lines(recording(name) for name in names)
    outputs = [line.transcript_key + suffix for line in lines for suffix in ("", ".json", ".srt", ".vtt")]
    assert len(outputs) == len(set(outputs))
    assert len(lines) + len(left) == len(names)
    assert not left


def test_a_manifest_line_has_every_key_that_the_worker_needs() -> None:
    (line,), _ = planning.manifest_lines([recording("sub/talk.v1.wav", size=7)])
    assert line == Recording(
        source_key="input/sub/talk.v1.wav",
        source_etag="etag",
        source_size=7,
        uploaded=NOON,
        transcript_key="output/sub/talk.v1",
    )
    assert (line.processed_key, line.failed_key) == ("processed/sub/talk.v1.wav", "failed/sub/talk.v1.wav")


def test_a_recording_in_processed_is_transcribed_again_in_place() -> None:
    (line,), _ = planning.manifest_lines([recording("sub/a.wav", folder="processed/")])
    assert line.in_place
    assert (line.source_key, line.transcript_key) == ("processed/sub/a.wav", "output/sub/a")


def test_a_name_too_long_for_the_keys_made_from_it_is_left_alone_with_the_reason() -> None:
    longest = 1024 - len("failed/") - len(".error.json") - len(".wav")
    lines, left = planning.manifest_lines([recording("x" * longest + ".wav"), recording("y" * (longest + 3) + ".wav")])
    assert len(lines) == 1
    assert len(lines[0].error_key.encode()) == 1024
    assert [item.key[6] for item in left] == ["y"]
    assert "shorten it by 3 bytes" in left[0].reason


@pytest.mark.parametrize(
    ("hours", "files", "limit", "children"),
    [(0.001, 1, 20, 1), (10, 1, 20, 1), (10, 1000, 20, 10), (100, 1000, 20, 20), (0.5, 1000, 20, 1), (3, 2, 20, 2)],
)
def test_children_have_enough_work_and_are_no_more_than_files_or_the_limit(
    hours: float, files: int, limit: int, children: int
) -> None:
    count = planning.child_count(hours * 3600, files, max_instances=limit, audio_minutes_per_child=60)
    assert count == children


def lines_of(sizes: list[int]) -> list[Recording]:
    return planning.manifest_lines(recording(f"{i}.wav", size) for i, size in enumerate(sizes))[0]


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.integers(1, 60))
def test_a_split_gives_every_file_to_one_child_and_no_child_nothing(sizes: list[int], wanted: int) -> None:
    lines, children = lines_of(sizes), min(wanted, len(sizes))
    shares = planning.split(lines, children)
    assert len(shares) == children
    assert all(shares)
    assert sorted(line.source_key for share in shares for line in share) == sorted(line.source_key for line in lines)


def work_of(share: list[Recording]) -> float:
    return sum(planning.audio_seconds(line) + 2.0 for line in share)


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=60), st.integers(1, 8))
def test_no_child_has_more_above_the_mean_than_one_file(sizes: list[int], wanted: int) -> None:
    work = [work_of(share) for share in planning.split(lines_of(sizes), min(wanted, len(sizes)))]
    assert max(work) <= sum(work) / len(work) + max(sizes) / 32_000 + 2.0 + 1e-6


def test_on_recordings_of_very_different_lengths_the_slowest_child_is_within_5_percent_of_the_mean() -> None:
    chance = random.Random(7)  # noqa: S311
    sizes = [int(32_000 * min(chance.lognormvariate(4, 1.5), 1800)) for _ in range(2000)]  # median a minute
    work = [work_of(share) for share in planning.split(lines_of(sizes), 20)]
    assert max(work) <= 1.05 * sum(work) / len(work)


def test_work_is_split_by_duration_and_not_by_count() -> None:
    hour, minute = 3600 * 32_000, 60 * 32_000
    shares = planning.split(lines_of([hour] + [minute] * 58), 2)
    assert sorted(len(share) for share in shares) == [1, 58]


def test_a_compressed_recording_counts_by_its_duration_and_not_by_its_bytes() -> None:
    (mp3, wav), _ = planning.manifest_lines([recording("a.mp3", 12_000 * 60), recording("b.wav", 32_000 * 60)])
    assert planning.audio_seconds(mp3) == planning.audio_seconds(wav) == 60


def test_the_estimate_grows_with_the_audio_and_bills_a_minute_a_child_at_least() -> None:
    minute = planning.container_usd(60, SETTINGS)
    assert planning.estimated_usd(1, 5, SETTINGS) == pytest.approx(5 * minute, rel=0.01)
    ten, twenty = (planning.estimated_usd(hours * 3600, 1, SETTINGS) for hours in (10, 20))
    assert twenty - ten == pytest.approx(
        planning.container_usd(36_000 * SETTINGS.cpu_seconds_per_audio_second / 2, SETTINGS)
    )


def test_an_hour_of_a_container_costs_its_cpus_and_its_memory() -> None:
    prices: dict[str, Any] = {"usd_per_vcpu_hour": 0.04, "usd_per_gb_hour": 0.004}
    settings = Settings(
        bucket="b", job_queue="q", job_definition="d", vcpus_per_child=2, memory_gb_per_child=4, **prices
    )
    assert planning.container_usd(3600, settings) == pytest.approx(0.096)
