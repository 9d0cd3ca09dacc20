"""The corrected recordings of a bucket as data for the fine-tuning, read by the importer itself."""

from __future__ import annotations

import io
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fine_tuning import corrected, dataset
from fine_tuning.corrected import fetch, pieces
from fine_tuning.dataset import DatasetError
from tests.worker.conftest import endpoint  # noqa: F401
from tests.worker.harness import Bucket, aws_environment, recording
from transcription_contract import layout
from transcription_contract.correction import Correction
from transcription_contract.words import TimedWord

ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz' ")
SHORT = Correction("calls/../a.wav", "etag", "ann", "2026-11-28", "Press  zero\nfor help.", 1.7)


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:  # noqa: F811
    aws_environment(endpoint, monkeypatch)
    return Bucket()


def put(bucket: Bucket, correction: Correction, audio: bytes, etag: str = "etag") -> None:
    key = layout.processed_key(correction.name)
    bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=audio, Metadata={"source-etag": etag})
    key = layout.correction_key(correction.name)
    bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=correction.to_bytes())


def stereo(seconds: float, rate: int = 16_000) -> bytes:
    """A recording whose left channel is 1,000 in each sample, and whose right one 2,000."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.tile(np.array([1000, 2000], "<i2"), round(seconds * rate)).tobytes())
    return written.getvalue()


def long(text: str, *starts: float, speakers: bool = False, channels: tuple[int | None, ...] = ()) -> Correction:
    """A correction of a minute whose words start at these seconds and take half a second each."""
    spoken = [word for word in text.split() if not (speakers and word in ("Channel", "1:", "2:"))]
    words = tuple(
        TimedWord(word, start, start + 0.5, channel)
        for word, start, channel in zip(spoken, starts, channels or [None] * len(spoken), strict=True)
    )
    return replace(SHORT, name="long.wav", text=text, audio_seconds=60.0, words=words, speakers=speakers)


def test_a_corrected_recording_is_read_by_the_importer(bucket: Bucket, tmp_path: Path) -> None:
    put(bucket, SHORT, recording())
    assert fetch(bucket.s3, f"s3://{bucket.name}/", tmp_path) == []
    [example] = dataset.read_examples(tmp_path, ALPHABET)
    assert example.text == "press zero for help"
    assert "calls" in example.name
    assert example.recording.parent == tmp_path, "no name leads out of the folder"
    out = tmp_path / "wav"
    out.mkdir()
    [clip] = dataset.decode([example], 16_000, out)
    assert clip.seconds == pytest.approx(1.7, abs=0.1)


def test_a_folder_of_the_bucket_is_enough(bucket: Bucket, tmp_path: Path) -> None:
    put(bucket, replace(SHORT, name="calls/a.wav"), recording())
    put(bucket, replace(SHORT, name="notes/b.wav"), recording())
    fetch(bucket.s3, f"s3://{bucket.name}/calls/", tmp_path)
    assert len(list(tmp_path.glob("*.wav"))) == 1


def test_a_long_recording_is_cut_at_its_longest_pauses() -> None:
    found = list(pieces(long("a b c d e", 0.1, 8.0, 8.6, 30.0, 59.4)))
    assert [(piece.text, piece.start, piece.end) for piece in found] == [
        ("a b c", 0.0, pytest.approx(9.3)),
        ("d", pytest.approx(29.8), pytest.approx(30.7)),
        ("e", pytest.approx(59.2), pytest.approx(60.0)),
    ]


def test_each_channel_is_cut_on_its_own_and_has_its_own_audio(bucket: Bucket, tmp_path: Path) -> None:
    text = "Channel 1: hello\nChannel 2: yes please\nChannel 1: bye"
    put(bucket, long(text, 1.0, 2.0, 2.6, 40.0, speakers=True, channels=(1, 2, 2, 1)), stereo(60))
    fetch(bucket.s3, f"s3://{bucket.name}/", tmp_path)
    examples = dataset.read_examples(tmp_path, ALPHABET)
    assert [example.text for example in examples] == ["hello", "bye", "yes please"]
    levels = []
    for example in examples:
        with wave.open(str(example.recording)) as file:
            levels.append(np.frombuffer(file.readframes(file.getnframes()), "<i2").mean())
    assert levels == [1000, 1000, 2000]


def test_what_cannot_be_used_is_left_out_with_a_reason(bucket: Bucket, tmp_path: Path) -> None:
    put(bucket, replace(SHORT, name="good.wav"), recording())
    put(bucket, replace(SHORT, name="newer.wav"), recording(), etag="another")
    put(bucket, replace(SHORT, name="none.wav"), recording())
    bucket.s3.delete_object(Bucket=bucket.name, Key="processed/none.wav")
    put(bucket, replace(SHORT, name="noise.wav"), b"no audio")
    put(bucket, replace(long("a", 1.0), name="times.wav", words=()), recording())
    bucket.s3.put_object(Bucket=bucket.name, Key="corrections/notes.txt", Body=b"mine")
    newer, noise, none, times = fetch(bucket.s3, f"s3://{bucket.name}/", tmp_path)
    assert "processed/newer.wav: a newer version was uploaded" in newer
    assert "processed/noise.wav" in noise
    assert "processed/none.wav: S3 does not give the audio" in none
    assert "processed/times.wav: it has 60 s and no word times" in times


@pytest.mark.parametrize(("url", "message"), [("s3://", "names no bucket"), ("s3://{}/", "no corrected recordings")])
def test_an_address_without_corrections_is_refused(bucket: Bucket, tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        fetch(bucket.s3, url.format(bucket.name), tmp_path)


def test_names_of_any_length_make_names_of_files(tmp_path: Path) -> None:
    names = {corrected._file_name(name) for name in ("a" * 900 + ".wav", "a" * 901 + ".wav", ".a.wav", "ä/ö.wav")}
    assert len(names) == 4
    assert all(len(name) < 200 and "/" not in name and not name.startswith(".") for name in names)
