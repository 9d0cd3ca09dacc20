"""Long recordings are cut at silences. The cuts lose no words, and times count from the start of the recording."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pysubs2
import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.harness import TEXTS, Bucket, with_limits
from tests.worker.sounds import RATE, encoded, speech, wav
from transcriber.pieces import cut
from transcriber.samples import Piece, PieceSeconds


def chunks(samples: np.ndarray, size: int = RATE) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size, None]


def pieces_of(samples: np.ndarray, rate: int = RATE, size: int = RATE) -> list[Piece]:
    return list(itertools.chain.from_iterable(cut(chunks(samples, size), rate)))


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.int16)


def noise(seconds: float, loudness: float = 3000) -> np.ndarray:
    return np.random.default_rng(1).normal(0, loudness, int(seconds * RATE)).astype(np.int16)


def test_a_recording_of_up_to_thirty_seconds_is_one_piece() -> None:
    samples = np.concatenate([speech(), silence(8), speech()])
    (piece,) = pieces_of(samples)
    assert piece.start == 0
    assert np.array_equal(piece.samples, samples)


def test_a_recording_without_pauses_is_cut_at_its_softest_moment_without_loss() -> None:
    samples = noise(100)
    samples[20 * RATE : int(20.2 * RATE)] //= 4
    pieces = pieces_of(samples)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), samples)
    assert pieces[1].start == pytest.approx(20.1, abs=0.1)
    assert max(len(piece.samples) for piece in pieces) <= PieceSeconds().most * RATE


def test_only_the_inside_of_long_silences_is_skipped() -> None:
    samples = np.concatenate(
        [silence(5), speech(), silence(60), speech(), silence(PieceSeconds().silence / 2), speech()]
    )
    pieces = pieces_of(samples)
    loud = np.abs(samples) > 100
    covered = np.zeros(len(samples), bool)
    for piece in pieces:
        first = round(piece.start * RATE)
        assert np.array_equal(piece.samples, samples[first : first + len(piece.samples)])
        assert not covered[first : first + len(piece.samples)].any(), "two pieces overlap"
        covered[first : first + len(piece.samples)] = True
    assert covered[loud].all()
    assert (~covered).sum() > 60 * RATE


def test_soft_speech_is_kept() -> None:
    soft = (np.concatenate([speech(), speech(), speech(), speech(), speech(), speech()]) * 0.02).astype(np.int16)
    assert sum(len(piece.samples) for piece in pieces_of(soft)) > 0.9 * len(soft)


def test_a_noisy_pause_is_kept() -> None:
    murmur = noise(60, loudness=300)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces_of(murmur)]), murmur)


def test_a_silent_recording_of_any_length_is_skipped() -> None:
    assert sum(len(piece.samples) for piece in pieces_of(silence(300))) <= RATE


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_recordings_are_cut_at_any_sample_rate(rate: int) -> None:
    samples = np.concatenate([noise(20), silence(0.5), noise(25)])
    pieces = pieces_of(samples, rate)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), samples)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["speech", "noise", "silence"]), st.floats(0.01, 12)), max_size=12),
    st.integers(500, 50_000),
)
def test_pieces_are_in_order_within_the_limit_and_contain_all_loud_samples(
    parts: list[tuple[str, float]], size: int
) -> None:
    make = {"speech": lambda s: speech()[: int(s * RATE)], "noise": noise, "silence": silence}
    samples = np.concatenate([np.zeros(0, np.int16), *(make[kind](seconds) for kind, seconds in parts)])
    lost = samples.copy()
    end = 0
    for piece in pieces_of(samples, size=size):
        first = round(piece.start * RATE)
        assert first >= end
        end = first + len(piece.samples)
        assert len(piece.samples) <= PieceSeconds().most * RATE
        assert np.array_equal(piece.samples, samples[first:end])
        lost[first:end] = 0
    assert not lost.any() or np.abs(lost).max() < 400


@dataclass(frozen=True)
class Phrase:
    """A phrase on a channel, with its time in seconds."""

    channel: int
    text: str
    start: float
    end: float


def phrase(name: str, at: float, channel: int = 1) -> Phrase:
    frames = speech(name)[: len(speech(name)) // 160 * 160].reshape(-1, 160).astype(float)
    loud = np.flatnonzero(np.abs(frames).mean(axis=1) > 0.03 * np.abs(frames).mean(axis=1).max())
    return Phrase(channel, TEXTS[name], at + loud[0] / 100, at + (loud[-1] + 1) / 100)


def combined(places: list[tuple[str, float, int]]) -> tuple[np.ndarray, list[Phrase]]:
    """Combine recordings, given by name, second and channel. Return samples of shape (n, channels) and the phrases."""
    ends = [at + len(speech(name)) / RATE for name, at, _ in places]
    samples = np.zeros((round((max(ends) + 1) * RATE), max(channel for _, _, channel in places)), np.int16)
    for name, at, channel in places:
        first = round(at * RATE)
        samples[first : first + len(speech(name)), channel - 1] = speech(name)
    return samples, [phrase(*place) for place in places]


def alternating(names: list[str], channels: int) -> list[tuple[str, float, int]]:
    """Recordings one after the other on alternating channels, with pauses of 1 to 5 seconds."""
    places, at = [], 0.0
    for number, name in enumerate(names):
        places.append((name, at, number % channels + 1))
        at = round(at + len(speech(name)) / RATE + 1 + number % 5, 2)
    return places


def assert_all_words(document: dict[str, Any], phrases: list[Phrase], channel: int | None) -> None:
    """Check that every phrase of the channel is in order and within 0.3 s of its time."""
    words = [word for segment in document["segments"] for word in segment["words"] if word["channel"] == channel]
    wanted = [phrase for phrase in phrases if channel in (None, phrase.channel)]
    assert " ".join(word["text"] for word in words) == " ".join(phrase.text for phrase in wanted)
    rest = iter(words)
    for phrase in wanted:
        words_of_phrase = [next(rest) for _ in phrase.text.split()]
        assert words_of_phrase[0]["start"] == pytest.approx(phrase.start, abs=0.3), phrase
        assert words_of_phrase[-1]["end"] == pytest.approx(phrase.end, abs=0.3), phrase
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)


def assert_captions_are_in_time(bucket: Bucket, name: str, phrases: list[Phrase]) -> None:
    """Check that captions show each phrase at its start, and each caption for a second or longer."""
    cues = webvtt.from_buffer(io.StringIO(bucket.text(f"output/{name}.vtt"))).captions
    assert len(cues) == len(pysubs2.SSAFile.from_string(bucket.text(f"output/{name}.srt"), "srt"))
    spans = [(cue.start_in_seconds + cue.start_time.milliseconds / 1000, cue) for cue in cues]
    for phrase in phrases:
        assert [
            cue for start, cue in spans if abs(start - phrase.start) < 0.3 and phrase.text.split()[0] in cue.text
        ], phrase
    assert min(len(cue.text) for cue in cues) >= 10, "no caption has a single short word"


def test_a_long_recording_has_all_words_in_order_with_correct_times(bucket: Bucket, tmp_path: Path) -> None:
    samples, phrases = combined(alternating([*TEXTS] * 2, channels=1))
    assert len(samples) > 150 * RATE
    bucket.plan(bucket.put("long.flac", encoded(samples, "flac", "flac")))
    bucket.set_options(output_formats=["json", "srt", "vtt"])
    run = bucket.run(**with_limits(tmp_path, PROGRESS_SECONDS=0))
    assert run.code == 0, run
    logged = [event["audio_seconds"] for event in run.events if event["event"] == "transcribing"]
    assert len(logged) >= 2
    assert logged == sorted(logged)
    assert logged[-1] == round(len(samples) / RATE)
    assert bucket.text("output/long") == " ".join(phrase.text for phrase in phrases)
    document = json.loads(bucket.read("output/long.json"))
    assert document["duration"] == pytest.approx(len(samples) / RATE, abs=0.01)
    assert_all_words(document, phrases, None)
    assert_captions_are_in_time(bucket, "long", phrases)


def test_a_mostly_silent_recording_of_three_hours_has_all_words_with_correct_times(bucket: Bucket) -> None:
    """A recorder that was not switched off: phrases at the start, in the middle and at the end."""
    places = [("vm-rec-temp.wav", 0, 1), ("agent-pass.wav", 5_399.5, 1), ("digits00.wav", 10_780, 1)]
    samples, phrases = combined(places)
    bucket.plan(bucket.put("day.flac", encoded(samples, "flac", "flac")))
    bucket.set_options(output_formats=["json"])
    run = bucket.run()
    assert run.code == 0, run
    document = json.loads(bucket.read("output/day.json"))
    assert document["duration"] == pytest.approx(len(samples) / RATE, abs=0.01)
    assert_all_words(document, phrases, None)


def test_a_long_call_has_all_words_of_each_channel_in_order_with_correct_times(bucket: Bucket) -> None:
    places = alternating([*TEXTS] * 2, channels=2)
    at = places[-1][1] + 15
    both_at_once = [("queue-periodic-announce.wav", at, 1), ("vm-rec-temp.wav", at + 1, 2)]
    samples, phrases = combined([*places, *both_at_once])
    bucket.plan(bucket.put("call.flac", encoded(samples, "flac", "flac", layout="stereo")))
    bucket.set_options(output_formats=["json", "srt", "vtt"], channels="separate")
    run = bucket.run()
    assert run.code == 0, run
    assert bucket.text("output/call").split("\n") == [f"Channel {phrase.channel}: {phrase.text}" for phrase in phrases]
    document = json.loads(bucket.read("output/call.json"))
    assert document["duration"] == pytest.approx(len(samples) / RATE, abs=0.01)
    assert (document["channels"], document["settings"]["channels"]) == (2, "separate")
    assert_all_words(document, phrases, 1)
    assert_all_words(document, phrases, 2)
    starts = [segment["start"] for segment in document["segments"]]
    assert starts == sorted(starts)
    assert_captions_are_in_time(bucket, "call", phrases[:-1])
    voices = {cue.voice for cue in webvtt.from_buffer(io.StringIO(bucket.text("output/call.vtt"))).captions}
    assert voices == {"Channel 1", "Channel 2"}


def test_the_pieces_of_separate_channels_alternate() -> None:
    """This way all engines work on both channels, and no channel waits in memory for the other one."""
    samples, _ = combined(alternating([*TEXTS] * 4, channels=2))
    pieces = itertools.chain.from_iterable(cut((samples[at : at + RATE] for at in range(0, len(samples), RATE)), RATE))
    pieces = list(pieces)
    assert {piece.channel for piece in pieces} == {1, 2}
    reached = 0.0
    for piece in pieces:
        assert piece.start > reached - 2 * PieceSeconds().most
        reached = max(reached, piece.start)


def test_a_file_too_large_for_memory_is_decoded_from_a_scratch_file_that_is_deleted(bucket: Bucket, tmp_path) -> None:  # type: ignore[no-untyped-def]
    large = wav(np.concatenate([speech(), silence(170), speech()]), RATE, channels=2)
    assert len(large) > 8 << 20
    bucket.plan(bucket.put("large.wav", large))
    run = bucket.run(TMPDIR=str(tmp_path))
    assert run.code == 0, run
    text = TEXTS["vm-rec-temp.wav"]
    assert bucket.text("output/large") == f"{text} {text}"
    assert list(tmp_path.iterdir()) == []
