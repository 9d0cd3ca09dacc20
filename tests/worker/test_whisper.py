"""Whisper beside DeepSpeech: folders as models, words with probabilities, no text without speech."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.worker import no_speech
from tests.worker.cases import FORMATS, REJECTED
from tests.worker.harness import ROOT, TEXTS, Bucket, assert_conforms_to_the_schema, recording
from tests.worker.sounds import RATE, encoded, speech, stereo, wav
from transcriber.engine_programs import PROGRAMS, EngineProcess, EngineSpec, engine_for
from transcriber.failures import ConfigError, Rejected
from transcriber.model_file import model_kind
from transcriber.pool import Engines
from transcription_contract.model_files import ModelKind
from transcription_contract.words import Word, joined

MODELS = ROOT / "build" / "models"
MODEL = MODELS / "whisper-tiny.en"
SPEC = EngineSpec(engine_for(ModelKind.WHISPER, PROGRAMS), MODEL, None, {}, 1)
SAID = "After the tone, say your temporary message and then press the pound key."


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    process = EngineProcess(SPEC)
    process.prepared()
    yield process
    process.stop()


def text(engine: EngineProcess, samples: np.ndarray) -> str:
    [found] = engine.recognise([samples], 600)
    return joined(found.words)


def copied(folder: Path, without: str = "") -> Path:
    """A folder with links to the model's files, but for one of them."""
    folder.mkdir()
    for path in MODEL.iterdir():
        if path.name != without:
            (folder / path.name).symlink_to(path)
    return folder


def run(bucket: Bucket, **options: Any) -> Any:
    bucket.set_options(**options)
    return bucket.run(MODEL="whisper-tiny.en", MODELS_DIR=str(MODELS))


def test_the_transcript_has_capitals_punctuation_times_and_probabilities(bucket: Bucket) -> None:
    line = bucket.put("call.wav", recording("vm-rec-temp.wav"))
    bucket.plan(line)
    assert run(bucket, output_formats=["json", "srt", "vtt"]).code == 0
    assert bucket.text("output/call") == SAID
    made = json.loads(bucket.read("output/call.json"))
    assert_conforms_to_the_schema([made])
    assert (made["language"], made["word_certainty"], made["scorer"]) == ("en", "probability", None)
    assert made["engine"].startswith("whisper ")
    words = [word for segment in made["segments"] for word in segment["words"]]
    assert " ".join(word["text"] for word in words) == SAID
    times = [moment for word in words for moment in (word["start"], word["end"])]
    assert times == sorted(times)
    assert times[-1] <= made["duration"]
    assert all(0 < word["probability"] <= 1 and "log_margin" not in word for word in words)
    assert "temporary message" in bucket.text("output/call.srt").replace("\n", " ")


def test_a_models_checksum_is_that_of_the_listing_of_its_files(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav"))
    assert run(bucket, output_formats=["json"]).code == 0
    listing = subprocess.run(
        ["sha256sum", *sorted(path.name for path in MODEL.iterdir())], cwd=MODEL, capture_output=True, check=True
    ).stdout
    model = json.loads(bucket.read("output/call.json"))["model"]
    assert model == {"name": "whisper-tiny.en", "sha256": hashlib.sha256(listing).hexdigest()}


@pytest.mark.parametrize("vocabulary", ["vocabulary.txt", "tokenizer.json"])
def test_a_model_in_s3_is_a_folder_and_needs_a_vocabulary_or_a_tokenizer(bucket: Bucket, vocabulary: str) -> None:
    for name in ("model.bin", "config.json", vocabulary):
        bucket.s3.put_object(Bucket=bucket.name, Key=f"models/en/{name}", Body=(MODEL / name).read_bytes())
    bucket.plan(bucket.put("call.wav", recording("vm-rec-temp.wav")), model=f"s3://{bucket.name}/models/en/")
    run = bucket.run()
    assert run.code == 0, run
    assert bucket.text("output/call") == SAID
    assert bucket.facts("output/call")["Metadata"]["model"].startswith(f"s3://{bucket.name}/models/en/ ")


TOKENIZERS = """
import sys
from pathlib import Path
from tokenizers import Tokenizer
from whisper_tokens import completed

made, own = (Tokenizer.from_file(f"{folder}/tokenizer.json") for folder in (completed(Path(sys.argv[1])), sys.argv[2]))
for text in (" Press 1 for Dr. Müller, please!", "naïve café 你好 don't", " antidisestablishmentarianism"):
    assert made.encode(text).ids == own.encode(text, add_special_tokens=False).ids, text
    assert made.decode(made.encode(text).ids) == text
assert made.token_to_id("<|notimestamps|>") == own.token_to_id("<|notimestamps|>")
"""


def test_a_tokenizer_made_from_the_vocabulary_has_the_same_tokens(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model", without="tokenizer.json")
    python = SPEC.program.python
    subprocess.run([python, "-c", TOKENIZERS, folder, MODEL], check=True, env={"PYTHONPATH": str(PROGRAMS / "whisper")})


@pytest.mark.parametrize(
    ("absent", "reason"),
    [
        (["config.json"], "it has no config.json"),
        (["vocabulary.txt", "tokenizer.json"], "it has no vocabulary.json or tokenizer.json"),
        (["model.bin"], "it has no model.bin"),
    ],
)
def test_a_folder_that_is_not_a_model_is_refused_with_what_it_lacks(
    absent: list[str], reason: str, tmp_path: Path
) -> None:
    folder = copied(tmp_path / "model")
    for name in absent:
        (folder / name).unlink()
    with pytest.raises(ConfigError, match=reason):
        model_kind(folder)


def test_a_truncated_model_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = copied(tmp_path / "model", without="model.bin")
    (folder / "model.bin").write_bytes((MODEL / "model.bin").read_bytes()[:1_000_000])
    assert model_kind(folder) is ModelKind.WHISPER
    with Engines(replace(SPEC, model=folder), 1) as engines, pytest.raises(ConfigError, match=str(folder)):
        engines.facts()


@pytest.mark.parametrize("sound", no_speech.SOUNDS)
def test_a_recording_without_speech_gets_no_word(engine: EngineProcess, sound: str) -> None:
    assert text(engine, no_speech.samples(sound)) == ""


def test_a_recording_without_speech_is_rejected(bucket: Bucket) -> None:
    bucket.plan(bucket.put("music.wav", wav(no_speech.samples("band"))), bucket.put("call.wav"))
    assert run(bucket).code == 0
    assert bucket.reason("music.wav")["code"] == "no-speech"
    assert bucket.text("output/call") == "Press zero for help."


def test_speech_between_long_noises_is_found_at_its_place(engine: EngineProcess) -> None:
    noise = no_speech.samples("sea") // 4
    [found] = engine.recognise([np.concatenate([noise, speech("vm-leavemsg.wav"), noise])], 600)
    assert joined(found.words) == "Press 5 to leave a message."
    start = len(noise) / RATE
    assert start - 0.5 < found.words[0].start < found.words[-1].end < start + 3


def test_a_long_recording_keeps_its_words_and_their_places(bucket: Bucket) -> None:
    names = [name for name in TEXTS if not name.startswith(("digits", "number", "phonetic"))]
    pause = np.zeros(RATE // 2, np.int16)
    parts, starts, at = [], {}, 0.0
    for number, name in enumerate(names * 4):
        starts[number] = at
        parts += [speech(name), pause]
        at += (len(parts[-2]) + len(pause)) / RATE
    bucket.plan(bucket.put("long.wav", wav(np.concatenate(parts))))
    assert run(bucket, output_formats=["json"]).code == 0
    made = json.loads(bucket.read("output/long.json"))
    words = [word for segment in made["segments"] for word in segment["words"]]
    assert len(made["segments"]) > 3
    times = [word["start"] for word in words]
    assert times == sorted(times)
    leaves = [number for number, name in enumerate(names * 4) if name == "vm-leavemsg.wav"]
    found = [word["start"] for word in words if word["text"].startswith("leave")]
    assert [round(time - starts[number]) for time, number in zip(found, leaves, strict=True)] == [1] * 4


def test_each_channel_of_a_call_is_transcribed_by_itself(bucket: Bucket) -> None:
    call = wav(stereo(speech("vm-leavemsg.wav"), speech("vm-tocallnum.wav")), channels=2)
    bucket.plan(bucket.put("call.wav", call))
    assert run(bucket, channels="separate").code == 0
    said = set(bucket.text("output/call").splitlines())
    assert said == {"Channel 1: Press 5 to leave a message.", "Channel 2: Press 1 to call this number."}


def test_hot_words_are_a_prompt_that_changes_the_spelling(engine: EngineProcess) -> None:
    prompted = EngineProcess(replace(SPEC, options={"hot_words": {"Papa": 1.0, "Yankey": 9.0, "Ecco": -5.0}}))
    try:
        assert "Yankey" in text(prompted, speech("phonetic01.wav"))
    finally:
        prompted.stop()
    assert "Yankey" not in text(engine, speech("phonetic01.wav"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"alternatives": 3}, "The engine whisper, which runs the model whisper-tiny.en, has no alternatives"),
        ({"lm_alpha": 1, "lm_beta": 1}, "has no lm_alpha and no lm_beta"),
        ({"beam_width": 100}, "has no beam_width"),
        ({"language": "fr"}, "language is 'fr', and the model whisper-tiny.en knows only 'en'"),
        ({"engine": "deepspeech"}, "engine is 'deepspeech', which cannot run a Whisper model"),
    ],
)
def test_an_option_that_whisper_lacks_is_refused_by_its_name(bucket: Bucket, options: Any, reason: str) -> None:
    bucket.plan(bucket.put("call.wav"))
    refused = run(bucket, **options)
    assert refused.code == 78
    assert reason in refused.reason()
    assert "input/call.wav" in bucket.listing()


@pytest.mark.parametrize("language", ["auto", "en"])
def test_an_english_model_takes_its_language(bucket: Bucket, language: str) -> None:
    bucket.plan(bucket.put("call.wav"))
    assert run(bucket, language=language).code == 0


def test_words_of_a_language_without_spaces_are_joined_without_them() -> None:
    words = [Word("你", 0, 1, spaced=True), Word("好", 1, 2, spaced=False), Word("bye", 2, 3)]
    assert joined(words) == "你好 bye"


LEAVES_OUT = """
import sys
sys.path.insert(0, {folder!r})
import engine_protocol, whisper_program

class LeavesOut(whisper_program.Whisper):
    calls = 0

    def _aligned(self, *arguments):
        words = super()._aligned(*arguments)
        self.calls += 1
        return {words} if self.calls == 1 else words

engine_protocol.serve(LeavesOut)
"""


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("words[:4]", id="the end"),
        pytest.param("[words[6]._replace(start=0.0), *words[7:]]", id="the beginning"),
        pytest.param(
            "[*words[:4], words[4]._replace(end=words[12].start), *words[12:]]", id="words after a stretched one"
        ),
        pytest.param("[*words[:4], *words[12:]]", id="words after a full stop"),
    ],
)
def test_speech_that_a_text_leaves_out_is_recognised_again(tmp_path: Path, words: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(LEAVES_OUT.format(folder=str(PROGRAMS / "whisper"), words=words))
    (tmp_path / "whisper_program.py").symlink_to(PROGRAMS / "whisper" / "program.py")
    process = EngineProcess(replace(SPEC, program=replace(SPEC.program, program=program)))
    try:
        [found] = process.recognise([speech("queue-periodic-announce.wav")], 600)
    finally:
        process.stop()
    assert len(found.segments) == 2
    assert re.findall(r"[a-z]+", joined(found.words).lower()) == TEXTS["queue-periodic-announce.wav"].split()
    times = [word.start for word in found.words]
    assert times == sorted(times)


# The windows, which are arithmetic


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(PROGRAMS / "whisper"))
    import speech_windows

    return speech_windows


def seconds(*stretches: tuple[float, float]) -> deque[tuple[int, int]]:
    return deque((int(start * RATE), int(end * RATE)) for start, end in stretches)


def test_a_window_takes_stretches_until_it_is_full(windows: Any) -> None:
    speech = seconds((0, 10), (15, 25), (40, 50), (60, 90))
    taken = [windows.next_window(speech) for _ in range(2)]
    assert [window.length / RATE for window in taken] == [30, 30]
    assert (taken[0].start, taken[0].end, taken[1].start) == (0, 50, 60)
    assert not speech


@pytest.mark.parametrize(
    ("in_window", "in_piece"),
    [((1, 2), (6, 7)), ((9, 11), (14, 15)), ((10.5, 11), (20.5, 21)), ((19, 40), (29, 30))],
)
def test_a_words_time_skips_the_silence_before_it(windows: Any, in_window: Any, in_piece: Any) -> None:
    window = windows.Window(list(seconds((5, 15), (20, 30))))
    assert window.times_in_piece(*in_window) == in_piece


@pytest.mark.parametrize(
    ("second", "before", "after"),
    [(4, [(5, 9)], [(9, 15), (20, 30)]), (10, [(5, 15)], [(20, 30)]), (12, [(5, 15), (20, 22)], [(22, 30)])],
)
def test_a_window_is_cut_at_a_second_of_it(windows: Any, second: float, before: Any, after: Any) -> None:
    parts = windows.Window(list(seconds((5, 15), (20, 30)))).cut(second)
    assert [part.stretches for part in parts] == [list(seconds(*before)), list(seconds(*after))]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([("a", 0, 1), ("b", 1, 2.5), ("c", 3, 4)], None),
        ([("a", 0, 1), ("b", 1, 3.5), ("c", 3.5, 4)], (1, 3.5)),
        ([("a", 0, 2.5), ("b", 2.5, 4)], (0, 2.5)),
        ([("a", 0, 0.5), ("b", 3, 3.5)], (0.5, 3)),
        ([("a", 3, 3.5), ("b", 3.5, 4)], (0, 3)),
        ([("a", 0, 1), ("b", 1, 1.9)], (1.9, 4)),
        ([("a", 0, 1), ("b", 1, 4)], (1, 4)),
        ([("a", 0, 1), ("762.", 1, 4)], None),
        ([("62", 0, 2.5), ("a", 2.5, 4)], (0, 2.5)),
    ],
)
def test_speech_without_a_word_for_two_seconds_is_left_out_but_for_numbers(
    windows: Any, words: Any, expected: Any
) -> None:
    assert windows.left_out(words, 4) == expected


def test_words_are_no_longer_than_the_longest(windows: Any) -> None:
    assert windows.trimmed([(0, 3), (3, 4), (4, 9)], 1) == [(2, 3), (3, 4), (4, 5)]


# The same files as for DeepSpeech


def test_recordings_in_other_formats_are_transcribed(bucket: Bucket) -> None:
    """Some of them: the decoder does not know which engine follows."""
    forms = dict([*FORMATS.items()][::5])
    lines = [
        bucket.put(f"{form}.wav", encoded(speech("vm-leavemsg.wav"), container, codec, rate, layout, bit_rate=64_000))
        for form, (container, codec, rate, layout) in forms.items()
    ]
    bucket.plan(*lines)
    assert run(bucket).code == 0
    texts = {form: bucket.text(bucket.transcript_key({"source_key": f"input/{form}.wav"})) for form in forms}
    assert {form: text for form, text in texts.items() if "leave a message" not in text} == {}


def test_files_that_are_no_recordings_are_rejected_with_their_reason(bucket: Bucket) -> None:
    lines = [bucket.put(f"{name}.wav", content) for name, (content, _) in REJECTED.items()]
    bucket.plan(*lines, bucket.put("good.wav"))
    assert run(bucket).code == 0
    codes = {name: bucket.reason(f"{name}.wav")["code"] for name in REJECTED}
    assert {name: codes[name] for name, (_, code) in REJECTED.items() if code not in (None, codes[name])} == {}
    assert bucket.text("output/good") == "Press zero for help."


@pytest.mark.parametrize("samples", [0, 1, 100, 1599, 1600, 4000])
def test_audio_that_is_shorter_than_a_word_gives_no_words(engine: EngineProcess, samples: int) -> None:
    assert text(engine, speech()[:samples]) == ""


FRAGILE = """
import os, sys
sys.path.insert(0, {folder!r})
import engine_protocol, whisper_program

answer = engine_protocol._answer

def fragile(engine, pieces):
    if len(pieces[0]) == 7777:
        os.abort()
    return answer(engine, pieces)

engine_protocol._answer = fragile
engine_protocol.serve(whisper_program.Whisper)
"""


def test_a_piece_that_kills_the_engine_twice_is_rejected_alone(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(FRAGILE.format(folder=str(PROGRAMS / "whisper")))
    (tmp_path / "whisper_program.py").symlink_to(PROGRAMS / "whisper" / "program.py")
    with Engines(replace(SPEC, program=replace(SPEC.program, program=program)), 1) as engines:
        engines.facts()
        fatal, other = (engines.transcribe(piece, RATE) for piece in (speech()[:7777], speech()))
        with pytest.raises(Rejected) as caught:
            fatal.result(120)
        assert joined(other.result(120).words) == SAID
    assert caught.value.code == "engine-crash"
