from __future__ import annotations

import re

import pytest

from transcription_contract import layout


@pytest.mark.parametrize("key", ["input/a.wav", "input/A.WAV", "input/x y/ä.Mp3", "input/talk.v1.flac", "input/a.mp4"])
def test_a_key_with_an_extension_of_a_recording_is_audio(key: str) -> None:
    assert layout.is_audio(key)


@pytest.mark.parametrize(
    "key", ["input/", "input/folder/", "input/wav", "input/.wav", "input/notes.txt", "input/a.wav/", "input/a.wav.txt"]
)
def test_folder_markers_and_other_files_are_no_audio(key: str) -> None:
    assert not layout.is_audio(key)


@pytest.mark.parametrize("run_id", ["manual__2026-11-23T06:52:46.365491+00:00", "x" * 250, "naïve run/…", "a b'$(id)"])
def test_a_runs_folder_is_safe_in_keys_and_job_names(run_id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,72}", layout.run_folder(run_id))


def test_two_runs_have_two_folders_even_if_their_ids_look_alike_once_cleaned() -> None:
    ids = ["a:b", "a+b", "a-b", "a b", "x" * 200, "x" * 201]
    assert len({layout.run_folder(run_id) for run_id in ids}) == len(ids)


def test_a_run_keeps_its_manifests_and_its_report_apart_from_other_runs() -> None:
    assert layout.manifest_prefix("one") != layout.manifest_prefix("two")
    assert layout.manifest_prefix("one").startswith("child_job_input/")
    assert layout.report_key("one").startswith("runs/")
