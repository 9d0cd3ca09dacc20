"""The data for the fine-tuning: recordings, texts and the problems that they may have."""

from __future__ import annotations

import csv
import shutil
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from fine_tuning import dataset
from fine_tuning.dataset import Clip, DatasetError, UnfitText, normalise, part_of, read_examples, unfit_length

RECORDINGS = Path(__file__).parents[1] / "recordings"
ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz' ")
GERMAN = ALPHABET | frozenset("äöüß")


def put(folder: Path, name: str, text: str | None, recording: str = "dictate__forhelp.wav") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(RECORDINGS / recording, path)
    if text is not None:
        path.with_suffix(".txt").write_text(text, "utf-8")
    return path


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(DatasetError) as error:
        read_examples(folder, ALPHABET)
    return error.value.problems


def clip(name: str, text: str = "yes", seconds: float = 1.0) -> Clip:
    return Clip(name, Path(f"{name}.wav"), text, seconds)


def test_every_recording_is_found_with_the_text_of_its_name(tmp_path: Path) -> None:
    put(tmp_path, "a talk.v1.mp3", "Press zero.")
    put(tmp_path, "calls/b.OGG", "For help!")
    put(tmp_path, ".trash/c.wav", None)
    found = [(example.name, example.recording.name, example.text) for example in read_examples(tmp_path, ALPHABET)]
    assert found == [("a talk.v1", "a talk.v1.mp3", "press zero"), ("calls/b", "b.OGG", "for help")]


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", None)
    put(tmp_path, "b.wav", "press 0")
    put(tmp_path, "c.wav", "fine")
    put(tmp_path, "c.mp3", None)
    (tmp_path / "d.txt").write_text("nobody speaks")
    put(tmp_path, "e.wav", " \n")
    put(tmp_path, "f.wav", "").with_suffix(".txt").write_bytes(b"caf\xe9")
    put(tmp_path, "g.wav", "all is well here")
    a, b, c, d, e, f = problems_of(tmp_path)
    assert a.startswith(f"{tmp_path}/a.wav: no text a.txt beside it")
    assert b.startswith(f"{tmp_path}/b.txt: the model's alphabet lacks '0'")
    assert "c.mp3, c.wav" in c
    assert d.startswith(f"{tmp_path}/d.txt")
    assert "none" in d
    assert e.startswith(f"{tmp_path}/e.txt: the text is empty")
    assert f.startswith(f"{tmp_path}/f.txt")
    assert "utf-8" in f


def test_a_missing_or_empty_folder_is_reported(tmp_path: Path) -> None:
    assert "is not a folder" in problems_of(tmp_path / "none")[0]
    assert "contains no recordings" in problems_of(tmp_path)[0]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("  Press\tzero,\n for help. ", "press zero for help"),
        ("Don\u2019t \u2013 I say: “stop”…", "don't i say stop"),
        ("twenty-one and/or two", "twenty one and or two"),
        ("¿Quien?", "quien"),
    ],
)
def test_a_text_is_converted_to_the_models_alphabet(text: str, written: str) -> None:
    assert normalise(text, ALPHABET) == written


def test_letters_of_the_alphabet_stay_however_they_are_composed() -> None:
    assert normalise("Ma\u0308rz, O\u0308l", GERMAN) == "märz öl"
    assert normalise("A-b.", frozenset("A-b")) == "A-b"


@pytest.mark.parametrize("foreign", ["3", "%", "é", "&", "€", "日"])
def test_a_character_that_the_alphabet_lacks_is_reported_and_never_dropped(foreign: str) -> None:
    with pytest.raises(UnfitText, match=f"lacks '{foreign}'"):
        normalise(f"yes {foreign} no", ALPHABET)


def test_a_recording_stays_in_its_part_when_recordings_are_added() -> None:
    few = {
        name: part for part, clips in dataset.split(clip(str(n)) for n in range(100)).items() for name in names(clips)
    }
    many = dataset.split(clip(str(n)) for n in range(1000))
    assert all(name in names(many[part]) for name, part in few.items())
    shares = {part: len(clips) / 1000 for part, clips in many.items()}
    assert shares == pytest.approx({"train": 0.8, "dev": 0.1, "test": 0.1}, abs=0.03)


def names(clips: list[Clip]) -> set[str]:
    return {clip.name for clip in clips}


def test_too_few_recordings_to_split_are_rejected() -> None:
    trained = [name for name in map(str, range(100)) if part_of(name) == "train"]
    with pytest.raises(DatasetError, match=r"too few .*train \d+, dev 0, test 0"):
        dataset.split(map(clip, trained))


def test_a_clip_has_a_minimum_length_for_its_letters_and_a_maximum_length() -> None:
    assert unfit_length(clip("a", "hello", 0.12)) == ""  # six windows of 0.02 s: one is between the two l
    assert "too short for its 5 letters" in unfit_length(clip("a", "hello", 0.11))
    assert unfit_length(clip("a", seconds=30)) == ""
    assert "Cut it into pieces of at most 30 s" in unfit_length(clip("a", seconds=30.1))


def test_recordings_become_mono_wav_with_the_models_sample_rate_and_are_listed_for_the_trainer(tmp_path: Path) -> None:
    data, wavs = tmp_path / "my data, all", tmp_path / "wav"
    data.mkdir()
    wavs.mkdir()
    put(data, "a.wav", "press zero for help")
    with av.open(str(data / "b.flac"), "w") as file:
        stream = file.add_stream("flac", rate=44100)
        stream.layout = "stereo"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 44100), np.int16), format="s16", layout="stereo")
        silence.sample_rate = 44100
        file.mux(stream.encode(silence))
        file.mux(stream.encode(None))
    (data / "b.txt").write_text("yes")
    clips = dataset.decode(read_examples(data, ALPHABET), 16000, wavs)
    dataset.write_tables({"train": clips}, tmp_path)
    with (tmp_path / "train.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["transcript"] for row in rows] == ["press zero for help", "yes"]
    for row, seconds in zip(rows, (1.71, 1.0), strict=True):
        with wave.open(row["wav_filename"]) as wav:
            assert (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) == (1, 2, 16000)
            assert wav.getnframes() / 16000 == pytest.approx(seconds, abs=0.02)
        assert Path(row["wav_filename"]).stat().st_size == int(row["wav_filesize"])


def test_a_recording_that_cannot_be_decoded_or_is_too_short_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", "yes")
    put(tmp_path, "b.wav", "this text is far too long for a short recording, " * 3)
    (tmp_path / "c.pdf").write_bytes(b"%PDF-1.7 " * 300)
    (tmp_path / "c.txt").write_text("yes")
    with pytest.raises(DatasetError) as error:
        dataset.decode(read_examples(tmp_path, ALPHABET), 16000, tmp_path)
    b, c = error.value.problems
    assert b.startswith(f"{tmp_path}/b.wav: 1.7 s are too short")
    assert c.startswith(f"{tmp_path}/c.pdf: This file is no audio")


def test_sentences_for_the_scorer_are_read_line_by_line_and_a_bad_line_is_reported(tmp_path: Path) -> None:
    text = tmp_path / "more.txt"
    text.write_text("\ufeffPress one.\n\nHold the line\n", "utf-8")
    assert dataset.read_sentences(text, ALPHABET) == ["press one", "hold the line"]
    text.write_text("Press one.\n\nRoom 7\n", "utf-8")
    with pytest.raises(DatasetError, match="line 3: the model's alphabet lacks '7'"):
        dataset.read_sentences(text, ALPHABET)
    with pytest.raises(DatasetError, match="No such file"):
        dataset.read_sentences(tmp_path / "none", ALPHABET)
