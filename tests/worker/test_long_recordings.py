"""Long recordings are cut at silences; nothing is lost at the cuts, and times are those of the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from harness import TEXTS, Bucket
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE, encoded, speech, wav

from transcriber.pieces import LONG_SILENCE_SECONDS, MAX_SECONDS, Piece, cut


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


@pytest.fixture(scope="module")
def phrases() -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Two and a half minutes: all recordings with pauses between, and where each stands."""
    parts, places, length = [], [], 0.0
    for number, (name, text) in enumerate([*TEXTS.items()] * 2):
        parts += [speech(name), silence(0.4 + number % 5)]
        places.append((text, length, length + len(parts[-2]) / RATE))
        length += (len(parts[-2]) + len(parts[-1])) / RATE
    return np.concatenate(parts), places


def test_a_long_recording_has_all_its_words_in_order_at_their_times(
    phrases: tuple[np.ndarray, list[tuple[str, float, float]]], bucket: Bucket
) -> None:
    samples, places = phrases
    bucket.plan(bucket.put("long.flac", encoded(samples, "flac", "flac")))
    run = bucket.run(OUTPUT_FORMATS="json")
    assert run.code == 0, run
    assert bucket.text("output/long") == " ".join(text for text, _, _ in places)
    document = json.loads(bucket.read("output/long.json"))
    assert document["duration"] == pytest.approx(len(samples) / RATE, abs=0.01)
    words = iter(word for segment in document["segments"] for word in segment["words"])
    for text, start, end in places:
        heard = [next(words) for _ in text.split()]
        assert start - 0.3 <= heard[0]["start"] <= heard[-1]["end"] <= end + 0.3


def test_a_file_too_large_for_memory_goes_through_a_scratch_file_that_is_removed(bucket: Bucket, tmp_path) -> None:  # type: ignore[no-untyped-def]
    large = wav(np.concatenate([speech(), silence(170), speech()]), RATE, channels=2)
    assert len(large) > 8 << 20
    bucket.plan(bucket.put("large.wav", large))
    run = bucket.run(TMPDIR=str(tmp_path))
    assert run.code == 0, run
    text = TEXTS["vm-rec-temp.wav"]
    assert bucket.text("output/large") == f"{text} {text}"
    assert list(tmp_path.iterdir()) == []
