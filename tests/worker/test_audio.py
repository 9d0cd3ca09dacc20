"""Every supported format is decoded to the right samples. Other files are rejected with a reason for the user."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.cases import FORMATS, REJECTED
from tests.worker.fuzzing import bounded, keep
from tests.worker.harness import ROOT, SHORT, TEXTS, recording
from tests.worker.sounds import RATE, encoded, speech, stereo, wav
from transcriber import audio
from transcriber.audio import Audio
from transcriber.engine_programs import PROGRAMS, EngineProcess, EngineSpec, engine_for
from transcriber.failures import Rejected
from transcription_contract.model_files import ModelKind

MODEL = ROOT / "worker_image" / "models" / "asterisk-en" / "asterisk-en"
# Files of codecs that PyAV's wheel cannot encode. Their ATTRIBUTION.md says what encoded them.
ENCODED_FOLDER = Path(__file__).parent / "encoded"
SEPARATE = "ogg-vorbis-separate.ogg"  # the only one with a recording on each channel
ENCODED = sorted(path.name for path in ENCODED_FOLDER.iterdir() if path.name not in ("ATTRIBUTION.md", SEPARATE))
TEXT = "after the tone say your temporary message and then press the pound key"


def decoded(content: bytes, rate: int = RATE) -> np.ndarray:
    return separated(content, rate, separate=False)[:, 0]


def separated(content: bytes, rate: int = RATE, separate: bool = True) -> np.ndarray:
    return np.concatenate(list(Audio(io.BytesIO(content), rate, separate).chunks()))


def warnings(content: bytes) -> list[str]:
    opened = Audio(io.BytesIO(content), RATE)
    list(opened.chunks())
    return opened.warnings


def rejection(content: bytes) -> Rejected:
    with pytest.raises(Rejected) as caught:
        decoded(content)
    assert caught.value.reason.endswith("."), "a reason must be a sentence"
    return caught.value


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    program = engine_for(ModelKind.TFLITE, PROGRAMS)
    engine = EngineProcess(EngineSpec(program, MODEL.with_suffix(".tflite"), MODEL.with_suffix(".scorer"), {}, 1))
    yield engine
    engine.stop()


def recognised(engine: EngineProcess, samples: np.ndarray) -> str:
    [found] = engine.recognise([samples], limit=60)
    return " ".join(word.text for word in found.words)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_recording_has_the_same_words_in_every_encoding(form: str, engine: EngineProcess) -> None:
    container, codec, rate, layout = FORMATS[form]
    content = encoded(speech(), container, codec, rate, layout, bit_rate=64_000 if form == "wma" else None)
    assert_decodes_to_the_recording(content, engine)


def assert_decodes_to_the_recording(content: bytes, engine: EngineProcess) -> None:
    samples = decoded(content)
    assert recognised(engine, samples) == TEXT
    assert len(samples) / RATE == pytest.approx(5.5, abs=0.15), "encoders may add only a moment at both ends"


@pytest.mark.parametrize("name", ENCODED)
def test_recordings_that_pyav_cannot_encode_are_decoded(name: str, engine: EngineProcess) -> None:
    assert_decodes_to_the_recording((ENCODED_FOLDER / name).read_bytes(), engine)


def test_separate_channels_are_decoded_bit_for_bit() -> None:
    both = stereo(speech(), speech("vm-leavemsg.wav"))
    for container, codec in (("wav", "pcm_s16le"), ("wav", "pcm_s32le"), ("flac", "flac")):
        assert np.array_equal(separated(encoded(both, container, codec, layout="stereo")), both)


@pytest.mark.parametrize("form", ["wav-mulaw-8k-stereo", "mp3", "m4a", "wma", "mov-alac"])
def test_each_separate_channel_has_its_words_in_every_encoding(form: str, engine: EngineProcess) -> None:
    container, codec, rate, layout = FORMATS[form]
    both = stereo(speech(), speech("vm-leavemsg.wav"))
    content = encoded(both, container, codec, rate, layout, bit_rate=192_000 if form == "wma" else None)
    assert_has_both_channels(content, engine)


def assert_has_both_channels(content: bytes, engine: EngineProcess) -> None:
    channels = separated(content).T
    assert [recognised(engine, channel) for channel in channels] == [TEXT, TEXTS["vm-leavemsg.wav"]]


def test_each_separate_channel_of_vorbis_has_its_words(engine: EngineProcess) -> None:
    assert_has_both_channels((ENCODED_FOLDER / SEPARATE).read_bytes(), engine)


def test_a_channel_that_starts_later_is_separate_from_its_start() -> None:
    content = encoded(speech(SHORT), "mp3", "libmp3lame", 44100) + encoded(
        stereo(speech(SHORT), speech(SHORT)), "mp3", "libmp3lame", 44100, "stereo"
    )
    opened = Audio(io.BytesIO(content), RATE, separate=True)
    assert [chunk.shape[1] for chunk in opened.chunks()] == [1, 1, 2, 2]
    assert opened.channels == 2
    assert opened.duration == pytest.approx(2 * 1.71, abs=0.2)


def test_a_mono_recording_has_one_channel() -> None:
    assert np.array_equal(separated(recording())[:, 0], decoded(recording()))
    assert separated(recording()).shape[1] == 1


def test_a_recording_with_too_many_channels_is_rejected() -> None:
    assert separated(wav(speech(SHORT), channels=32)).shape == (len(speech(SHORT)), 32)
    assert len(decoded(wav(speech(SHORT), channels=64))) == len(speech(SHORT))
    for channels, separate in ((33, True), (65, False)):
        with pytest.raises(Rejected) as caught:
            separated(wav(speech(SHORT), channels=channels), separate=separate)
        assert caught.value.code == "too-many-channels"


@pytest.mark.parametrize(("container", "codec"), [("mp4", "aac"), ("matroska", "libopus")])
def test_the_audio_of_a_video_is_transcribed(container: str, codec: str, engine: EngineProcess) -> None:
    assert recognised(engine, decoded(encoded(speech(), container, codec, 48000, picture=True))) == TEXT


@pytest.mark.parametrize(
    ("container", "codec"),
    [("wav", "pcm_s16le"), ("wav", "pcm_f32le"), ("flac", "flac"), ("au", "pcm_s16be"), ("w64", "pcm_s16le")],
)
def test_lossless_mono_audio_at_the_engines_rate_is_decoded_bit_for_bit(container: str, codec: str) -> None:
    assert np.array_equal(decoded(encoded(speech(), container, codec)), speech())


def test_a_sample_recording_is_decoded_bit_for_bit() -> None:
    assert np.array_equal(decoded(recording()), np.frombuffer(recording()[44:], np.int16))


@pytest.mark.parametrize("channels", [2, 4, 8, 9, 33])
def test_a_mix_of_equal_channels_has_the_same_loudness(channels: int) -> None:
    loud = (speech().astype(float) * 1.3).astype(np.int16)
    mixed = decoded(wav(loud, channels=channels)).astype(int)
    assert np.abs(mixed - loud).max() <= 1


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_removes_frequencies_that_would_alias(rate: int) -> None:
    time = np.arange(rate * 2) / rate
    tone = decoded(wav((16000 * np.sin(2 * np.pi * 1000 * time)).astype(np.int16), rate))[8000:24000]
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone))))
    assert np.argmax(spectrum) == 1000
    spectrum[990:1011] = 0
    assert spectrum.max() < np.abs(np.fft.rfft(tone * np.hanning(len(tone)))).max() / 10_000
    if rate > 20_000:
        high = decoded(wav((16000 * np.sin(2 * np.pi * 9000 * time)).astype(np.int16), rate))[8000:24000]
        assert np.abs(high).max() <= 2


def test_samples_have_the_models_sample_rate() -> None:
    assert len(decoded(wav(speech()), 8000)) == pytest.approx(len(speech()) / 2, abs=2)


def test_metadata_chunks_before_the_audio_are_skipped() -> None:
    junk = b"LIST" + struct.pack("<I", 5000) + b"\0" * 5000 + b"bext" + struct.pack("<I", 602) + b"x" * 602
    assert np.array_equal(decoded(wav(speech(), junk=junk)), speech())


@pytest.mark.parametrize("stated_size", [0xFFFFFFFF, 10_000_000])
def test_a_wav_whose_header_states_too_large_a_size_is_decoded_completely(stated_size: int) -> None:
    assert np.array_equal(decoded(wav(speech(), stated_size=stated_size)), speech())


def test_a_truncated_wav_is_decoded_to_its_end_with_a_warning() -> None:
    whole = wav(speech())
    half = whole[: len(whole) // 2]
    assert np.array_equal(decoded(half), speech()[: len(decoded(half))])
    assert len(decoded(half)) == pytest.approx(len(speech()) / 2, abs=100)
    assert [warning for warning in warnings(half) if "ends early" in warning]
    assert warnings(whole) == []


@pytest.mark.parametrize("form", ["mp3", "flac", "ogg-opus"])
def test_a_truncated_stream_is_decoded_to_its_end(form: str) -> None:
    container, codec, rate, layout = FORMATS[form]
    content = encoded(speech(), container, codec, rate, layout)
    assert 0.3 < len(decoded(content[: len(content) // 2])) / len(speech()) < 0.7


def test_damaged_data_in_the_middle_does_not_affect_the_rest() -> None:
    content = bytearray(encoded(speech(), "mp3", "libmp3lame", 44100))
    content[len(content) // 2 : len(content) // 2 + 2000] = b"\0" * 2000
    assert len(decoded(bytes(content))) / len(speech()) > 0.9


@pytest.mark.parametrize("name", REJECTED)
def test_a_file_without_audio_is_rejected_with_a_reason(name: str) -> None:
    content, code = REJECTED[name]
    assert rejection(content).code == code or code is None


def test_a_recording_longer_than_the_limit_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_HOURS", 5 / 3600)
    assert rejection(wav(speech())).code == "too-long"
    assert len(decoded(wav(speech()[: RATE * 4]))) == RATE * 4


def test_a_file_may_change_its_sample_rate() -> None:
    first = encoded(speech(SHORT), "mp3", "libmp3lame", 44100)
    second = encoded(speech(SHORT), "mp3", "libmp3lame", 22050)
    assert len(decoded(first + second)) == pytest.approx(2 * len(speech(SHORT)), rel=0.05)


def test_the_documentation_names_the_tested_versions() -> None:
    text = (ROOT / "docs" / "formats.md").read_text("utf-8")
    assert f"PyAV {av.__version__} with ffmpeg {av.ffmpeg_version_info}" in text
    for library in ("libavformat", "libavcodec"):
        assert f"{library} {'.'.join(map(str, av.library_versions[library]))}" in text


SEEDS = [
    recording()[:20_000],
    encoded(speech(SHORT), "mp3", "libmp3lame", 44100)[:8000],
    encoded(speech(SHORT), "ogg", "libopus", 48000)[:8000],
    encoded(speech(SHORT), "flac", "flac")[:8000],
    encoded(speech(SHORT), "ipod", "aac"),
]


def assert_decoded_or_rejected(content: bytes) -> None:
    keep(content)
    reason, samples = "", np.zeros(0)
    try:
        samples = decoded(content)
    except Rejected as error:
        reason = error.reason
    assert reason.endswith(".") != (samples.dtype == np.int16 and samples.ndim == 1 and len(samples) > 0)


@pytest.mark.fuzz
@bounded(150)
@given(
    seed=st.sampled_from(SEEDS),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=12)), max_size=6),
    length=st.floats(0, 1),
)
def test_a_damaged_file_is_decoded_or_rejected(seed: bytes, cuts: list[tuple[float, bytes]], length: float) -> None:
    content = bytearray(seed)
    for position, noise in cuts:
        at = int(position * len(content))
        content[at : at + len(noise)] = noise
    assert_decoded_or_rejected(bytes(content[: int(length * len(content))]))


@pytest.mark.fuzz
@bounded(100)
@given(st.binary(max_size=4000))
def test_random_bytes_are_decoded_or_rejected(content: bytes) -> None:
    assert_decoded_or_rejected(content)
