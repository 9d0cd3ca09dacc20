from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from transcription_contract import layout


@pytest.mark.parametrize("key", ["input/a.wav", "input/A.WAV", "input/x y/ä.Mp3", "input/talk.v1.flac", "input/a.mp4"])
def test_a_key_with_an_extension_of_a_recording_is_audio(key: str) -> None:
    assert layout.is_audio(key)


@pytest.mark.parametrize(
    "key", ["input/", "input/folder/", "input/wav", "input/.wav", "input/notes.txt", "input/a.wav/", "input/a.wav.txt"]
)
def test_folder_markers_and_other_files_are_not_audio(key: str) -> None:
    assert not layout.is_audio(key)


@pytest.mark.parametrize("run_id", ["manual__2026-11-23T06:52:46.365491+00:00", "x" * 250, "naïve run/…", "a b'$(id)"])
def test_a_runs_folder_is_safe_in_keys_and_job_names(run_id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,72}", layout.run_folder(run_id))


def test_two_runs_have_different_folders_even_if_their_cleaned_ids_are_equal() -> None:
    ids = ["a:b", "a+b", "a-b", "a b", "x" * 200, "x" * 201]
    assert len({layout.run_folder(run_id) for run_id in ids}) == len(ids)


def test_the_keys_of_a_runs_manifests_and_reports_differ_from_those_of_other_runs() -> None:
    assert layout.manifest_prefix("one") != layout.manifest_prefix("two")
    assert layout.manifest_prefix("one").startswith("child_job_input/")
    assert layout.report_key("one", "1").startswith("runs/")
    reports = {layout.report_key(run, plan) for run in ("one", "two") for plan in ("1", "2")}
    assert len(reports | {layout.entries_key("one", "1")}) == 5


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("a.wav", ["output/a", "output/a.wav"]),
        ("sub/talk.v1.flac", ["output/sub/talk.v1", "output/sub/talk.v1.flac"]),
        ("a.wav.mp3", ["output/a.wav.mp3"]),
        ("a.WAV.mp3", ["output/a.WAV.mp3"]),
        ("a.json.wav", ["output/a.json.wav"]),
        ("x.srt.wav", ["output/x.srt.wav"]),
    ],
)
def test_a_transcripts_key_has_no_extension_unless_it_would_name_another_output(name: str, keys: list[str]) -> None:
    assert list(layout.transcript_keys(name)) == keys


PARTS = st.sampled_from(
    ["a", "A", "ä", "a\u0308", "b/a", "a.v1", ".wav", ".mp3", ".WAV", ".json", ".srt", ".vtt", ".txt"]
)
STEMS = st.lists(PARTS, min_size=1, max_size=3).map("".join)
NAMES = st.builds("{}{}".format, STEMS, st.sampled_from([".wav", ".mp3", ".WAV"])).filter(layout.is_audio)


@settings(deadline=None)
@given(NAMES, NAMES)
def test_the_outputs_of_two_recordings_can_only_collide_at_the_key_without_extensions(one: str, other: str) -> None:
    assume(one != other)

    def outputs(name: str) -> set[str]:
        return {
            key
            for transcript in layout.transcript_keys(name)
            for key in (transcript, *(layout.format_key(transcript, form) for form in layout.EXTRA_FORMATS))
        }

    stem = layout.stem_key(one)
    shared = {stem, *(layout.format_key(stem, form) for form in layout.EXTRA_FORMATS)} if stem else set()
    assert outputs(one) & outputs(other) in (set(), shared if layout.stem_key(other) == stem else set())
