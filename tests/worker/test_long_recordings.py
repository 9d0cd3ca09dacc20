"""Long recordings are cut at silences; nothing is lost at the cuts, and times are those of the whole."""

from __future__ import annotations

import io
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
from transcriber.pieces import LONG_SILENCE_SECONDS, MAX_SECONDS, cut
from transcriber.samples import Piece


def chunks(samples: np.ndarray, size: int = RATE) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size, None]


def pieces_of(samples: np.ndarray, rate: int = RATE, size: int = RATE) -> list[Piece]:
    return list(cut(chunks(samples, size), rate))


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.int16)


def noise(seconds: float, loudness: float = 3000) -> np.ndarray:
    return np.random.default_rng(1).normal(0, loudness, int(seconds * RATE)).astype(np.int16)


def test_a_recording_of_up_to_thirty_seconds_stays_whole() -> None:
    samples = np.concatenate([speech(), silence(8), speech()])
    (piece,) = pieces_of(samples)
    assert piece.start == 0
    assert np.array_equal(piece.samples, samples)


def test_a_recording_without_pauses_is_cut_at_its_softest_moment_and_loses_nothing() -> None:
    samples = noise(100)
    samples[20 * RATE : int(20.2 * RATE)] //= 4
    pieces = pieces_of(samples)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), samples)
    assert pieces[1].start == pytest.approx(20.1, abs=0.1)
    assert max(len(piece.samples) for piece in pieces) <= MAX_SECONDS * RATE


def test_only_the_inside_of_long_silences_is_left_out() -> None:
    samples = np.concatenate([silence(5), speech(), silence(60), speech(), silence(LONG_SILENCE_SECONDS / 2), speech()])
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


def test_soft_speech_is_not_taken_for_silence() -> None:
    soft = (np.concatenate([speech(), speech(), speech(), speech(), speech(), speech()]) * 0.02).astype(np.int16)
    assert sum(len(piece.samples) for piece in pieces_of(soft)) > 0.9 * len(soft)


def test_what_the_detector_takes_for_a_pause_is_kept_if_it_is_not_quiet() -> None:
    murmur = noise(60, loudness=300)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces_of(murmur)]), murmur)


def test_silence_all_through_is_left_out_however_long_it_is() -> None:
    assert sum(len(piece.samples) for piece in pieces_of(silence(300))) <= RATE


@pytest.mark.parametrize("rate", [8000, 11025, 44100])
def test_models_of_other_rates_get_pieces_too(rate: int) -> None:
    samples = np.concatenate([noise(20), silence(0.5), noise(25)])
    pieces = pieces_of(samples, rate)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), samples)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["speech", "noise", "silence"]), st.floats(0.01, 12)), max_size=12),
    st.integers(500, 50_000),
)
def test_pieces_are_in_order_short_enough_and_hold_all_that_is_loud(parts: list[tuple[str, float]], size: int) -> None:
    make = {"speech": lambda s: speech()[: int(s * RATE)], "noise": noise, "silence": silence}
    samples = np.concatenate([np.zeros(0, np.int16), *(make[kind](seconds) for kind, seconds in parts)])
    lost = samples.copy()
    end = 0
    for piece in pieces_of(samples, size=size):
        first = round(piece.start * RATE)
        assert first >= end
        end = first + len(piece.samples)
        assert len(piece.samples) <= MAX_SECONDS * RATE
        assert np.array_equal(piece.samples, samples[first:end])
        lost[first:end] = 0
    assert not lost.any() or np.abs(lost).max() < 400


@dataclass(frozen=True)
class Phrase:
    """What is said on a channel, and when it sounds, in seconds."""

    channel: int
    text: str
    start: float
    end: float


def said(name: str, at: float, channel: int = 1) -> Phrase:
    frames = speech(name)[: len(speech(name)) // 160 * 160].reshape(-1, 160).astype(float)
    loud = np.flatnonzero(np.abs(frames).mean(axis=1) > 0.03 * np.abs(frames).mean(axis=1).max())
    return Phrase(channel, TEXTS[name], at + loud[0] / 100, at + (loud[-1] + 1) / 100)


def put_together(places: list[tuple[str, float, int]]) -> tuple[np.ndarray, list[Phrase]]:
    """Recordings by name, second and channel: samples of shape (n, channels), and what they say."""
    ends = [at + len(speech(name)) / RATE for name, at, _ in places]
    samples = np.zeros((round((max(ends) + 1) * RATE), max(channel for _, _, channel in places)), np.int16)
    for name, at, channel in places:
        first = round(at * RATE)
        samples[first : first + len(speech(name)), channel - 1] = speech(name)
    return samples, [said(*place) for place in places]


def in_turn(names: list[str], channels: int) -> list[tuple[str, float, int]]:
    """One recording after the other, from channel to channel, with pauses of 1 to 5 seconds."""
    places, at = [], 0.0
    for number, name in enumerate(names):
        places.append((name, at, number % channels + 1))
        at = round(at + len(speech(name)) / RATE + 1 + number % 5, 2)
    return places


def assert_all_is_heard(document: dict[str, Any], phrases: list[Phrase], channel: int | None) -> None:
    """Every phrase of the channel, in order, at its time to 0.3 s."""
    words = [word for segment in document["segments"] for word in segment["words"] if word["channel"] == channel]
    wanted = [phrase for phrase in phrases if channel in (None, phrase.channel)]
    assert " ".join(word["text"] for word in words) == " ".join(phrase.text for phrase in wanted)
    rest = iter(words)
    for phrase in wanted:
        heard = [next(rest) for _ in phrase.text.split()]
        assert heard[0]["start"] == pytest.approx(phrase.start, abs=0.3), phrase
        assert heard[-1]["end"] == pytest.approx(phrase.end, abs=0.3), phrase
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)


def assert_captions_are_in_time(bucket: Bucket, name: str, phrases: list[Phrase]) -> None:
    """What a viewer sees: each phrase's first words when it starts, nothing for less than a second, nothing odd."""
    cues = webvtt.from_buffer(io.StringIO(bucket.text(f"output/{name}.vtt"))).captions
    assert len(cues) == len(pysubs2.SSAFile.from_string(bucket.text(f"output/{name}.srt"), "srt"))
    spans = [(cue.start_in_seconds + cue.start_time.milliseconds / 1000, cue) for cue in cues]
    for phrase in phrases:
        assert [
            cue for start, cue in spans if abs(start - phrase.start) < 0.3 and phrase.text.split()[0] in cue.text
        ], phrase
    assert min(len(cue.text) for cue in cues) >= 10, "no word is left over"


def test_a_long_recording_has_all_its_words_in_order_at_their_times(bucket: Bucket, tmp_path: Path) -> None:
    samples, phrases = put_together(in_turn([*TEXTS] * 2, channels=1))
    assert len(samples) > 150 * RATE
    bucket.plan(bucket.put("long.flac", encoded(samples, "flac", "flac")))
    bucket.set_options(output_formats=["json", "srt", "vtt"])
    run = bucket.run(**with_limits(tmp_path, PROGRESS_SECONDS=0))
    assert run.code == 0, run
    told = [event["audio_seconds"] for event in run.events if event["event"] == "hearing"]
    assert len(told) >= 2
    assert told == sorted(told)
    assert told[-1] == round(len(samples) / RATE)
    assert bucket.text("output/long") == " ".join(phrase.text for phrase in phrases)
    document = json.loads(bucket.read("output/long.json"))
    assert document["duration"] == pytest.approx(len(samples) / RATE, abs=0.01)
    assert_all_is_heard(document, phrases, None)
    assert_captions_are_in_time(bucket, "long", phrases)


def test_three_hours_of_mostly_silence_have_their_words_at_their_times(bucket: Bucket) -> None:
    """As a recorder makes that nobody switched off: said at the start, in the middle and at the end."""
    places = [("vm-rec-temp.wav", 0, 1), ("agent-pass.wav", 5_399.5, 1), ("digits00.wav", 10_780, 1)]
    samples, phrases = put_together(places)
    bucket.plan(bucket.put("day.flac", encoded(samples, "flac", "flac")))
    bucket.set_options(output_formats=["json"])
    run = bucket.run()
    assert run.code == 0, run
    document = json.loads(bucket.read("output/day.json"))
    assert document["duration"] == pytest.approx(len(samples) / RATE, abs=0.01)
    assert_all_is_heard(document, phrases, None)


def test_a_long_call_has_all_the_words_of_each_channel_in_order_at_their_times(bucket: Bucket) -> None:
    places = in_turn([*TEXTS] * 2, channels=2)
    at = places[-1][1] + 15
    both_at_once = [("queue-periodic-announce.wav", at, 1), ("vm-rec-temp.wav", at + 1, 2)]
    samples, phrases = put_together([*places, *both_at_once])
    bucket.plan(bucket.put("call.flac", encoded(samples, "flac", "flac", layout="stereo")))
    bucket.set_options(output_formats=["json", "srt", "vtt"], channels="separate")
    run = bucket.run()
    assert run.code == 0, run
    assert bucket.text("output/call").split("\n") == [f"Channel {phrase.channel}: {phrase.text}" for phrase in phrases]
    document = json.loads(bucket.read("output/call.json"))
    assert document["duration"] == pytest.approx(len(samples) / RATE, abs=0.01)
    assert (document["channels"], document["settings"]["channels"]) == (2, "separate")
    assert_all_is_heard(document, phrases, 1)
    assert_all_is_heard(document, phrases, 2)
    starts = [segment["start"] for segment in document["segments"]]
    assert starts == sorted(starts)
    assert_captions_are_in_time(bucket, "call", phrases[:-1])
    voices = {cue.voice for cue in webvtt.from_buffer(io.StringIO(bucket.text("output/call.vtt"))).captions}
    assert voices == {"Channel 1", "Channel 2"}


def test_the_pieces_of_separate_channels_go_side_by_side() -> None:
    """So that both channels of a long call are spread over all engines, and neither waits in memory for the other."""
    samples, _ = put_together(in_turn([*TEXTS] * 4, channels=2))
    pieces = list(cut((samples[at : at + RATE] for at in range(0, len(samples), RATE)), RATE))
    assert {piece.channel for piece in pieces} == {1, 2}
    reached = 0.0
    for piece in pieces:
        assert piece.start > reached - 2 * MAX_SECONDS
        reached = max(reached, piece.start)


def test_a_file_too_large_for_memory_goes_through_a_scratch_file_that_is_removed(bucket: Bucket, tmp_path) -> None:  # type: ignore[no-untyped-def]
    large = wav(np.concatenate([speech(), silence(170), speech()]), RATE, channels=2)
    assert len(large) > 8 << 20
    bucket.plan(bucket.put("large.wav", large))
    run = bucket.run(TMPDIR=str(tmp_path))
    assert run.code == 0, run
    text = TEXTS["vm-rec-temp.wav"]
    assert bucket.text("output/large") == f"{text} {text}"
    assert list(tmp_path.iterdir()) == []
