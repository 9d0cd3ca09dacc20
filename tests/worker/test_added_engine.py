"""An engine that is added as a folder, without a change of the worker."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.worker.harness import ROOT, Bucket
from tests.worker.sounds import RATE, speech, wav
from transcriber.engine_programs import EngineSpec, engine_for
from transcriber.failures import ConfigError, Rejected
from transcriber.pool import Engines
from transcription_contract.model_files import ModelKind

MODEL = ROOT / "worker_image" / "models" / "asterisk-en" / "asterisk-en.tflite"
# Dies at pieces with the loudness 1, and once at pieces with the loudness 2.
FRAGILE = """
import os, sys
from pathlib import Path
from engine_protocol import serve

class Fragile:
    facts = {"name": "fragile", "version": "1", "sample_rate": 16_000, "pieces": 4, "certainty": None,
             "piece_seconds": {"least": 10.0, "most": 30.0, "silence": 2.0}}

    def __init__(self, given):
        pass

    def recognise(self, pieces):
        once = Path(__file__).with_name("died")
        if any(piece[0] == 1 for piece in pieces) or (any(piece[0] == 2 for piece in pieces) and not once.exists()):
            once.touch()
            os.abort()
        with Path(__file__).with_name("calls").open("a") as calls:
            print(len(pieces), file=calls)
        return [[{"start": 0, "end": 1, "words": [[str(piece[0]), 0, 1, None]], "score": 0}] for piece in pieces]

serve(Fragile)
"""


def added(folder: Path, name: str, program: str) -> Path:
    """Make an engine for `.tflite`. Return the folder of engines."""
    engine = folder / "engines" / name
    engine.mkdir(parents=True)
    (engine / "engine.toml").write_text('models = ["tflite"]\noptions = []\n')
    (engine / "program.py").write_text(program)
    (engine / "environment").symlink_to(sys.prefix)
    return engine.parent


@pytest.fixture
def beeps(tmp_path: Path) -> Path:
    """The engine of docs/engines.md."""
    [program] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "engines.md").read_text("utf-8"), re.DOTALL)
    return added(tmp_path, "beeps", program)


def test_the_engine_of_the_documentation_transcribes(beeps: Path, bucket: Bucket) -> None:
    bucket.plan(bucket.put("a.wav", wav(speech())), bucket.put("b.wav", wav(np.zeros(RATE, np.int16))))
    bucket.set_options(output_formats=["json"])
    run = bucket.run(ENGINES_DIR=str(beeps), SCORER="none")
    assert run.code == 0, run
    assert bucket.text("output/a") == "beep"
    [word] = json.loads(bucket.read("output/a.json"))["segments"][0]["words"]
    assert word.keys() == {"text", "start", "end", "channel"}  # it gives no certainty
    assert bucket.facts("output/a")["Metadata"]["engine"] == "beeps 1"
    assert bucket.reason("b.wav")["code"] == "no-speech"


def test_what_an_engine_refuses_ends_the_worker_with_its_sentence(beeps: Path, bucket: Bucket) -> None:
    bucket.plan(bucket.put("a.wav"))
    toml = beeps / "beeps" / "engine.toml"
    toml.write_text(toml.read_text() + "scorer = true\n")
    run = bucket.run(ENGINES_DIR=str(beeps))
    assert run.code == 78
    assert run.reason() == "Beeps have no scorer."


def test_an_option_that_an_engine_does_not_honour_is_refused(beeps: Path, bucket: Bucket) -> None:
    bucket.plan(bucket.put("a.wav"))
    bucket.set_options(beam_width=100)
    run = bucket.run(ENGINES_DIR=str(beeps), SCORER="none")
    assert run.code == 78
    assert run.reason().startswith(
        "The engine beeps, which runs the model asterisk-en, has no beam_width; leave that out"
    )


def test_a_scorer_for_an_engine_that_uses_none_is_refused(beeps: Path, bucket: Bucket) -> None:
    bucket.plan(bucket.put("a.wav"))
    run = bucket.run(ENGINES_DIR=str(beeps))
    assert run.code == 78
    assert run.reason().endswith("uses no scorer; leave the scorer out")


@pytest.mark.parametrize(
    ("toml", "reason"),
    [
        ("options = []\n", "KeyError('models')"),
        ('models = ["tflite"]\noptions = ["colour"]\n', "there is no run option colour"),
        ("models = [", "Invalid"),
        ('models = ["tflite"]\noptions = []\nvariables = "A=1"\n', "variables must be a table of strings"),
        ('models = ["tflite"]\noptions = []\n[variables]\nA = 1\n', "variables must be a table of strings"),
    ],
)
def test_a_malformed_engine_toml_is_refused_with_the_file_and_the_reason(
    tmp_path: Path, toml: str, reason: str
) -> None:
    (added(tmp_path, "odd", "") / "odd" / "engine.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        engine_for(ModelKind.TFLITE, tmp_path / "engines")
    assert "engines/odd/engine.toml cannot be used" in str(caught.value)
    assert reason in str(caught.value)


def test_the_preferred_engine_runs_a_model_unless_the_run_names_another(beeps: Path, tmp_path: Path) -> None:
    added(tmp_path, "zebra", "")
    assert engine_for(ModelKind.TFLITE, beeps).name == "beeps"
    toml = beeps / "zebra" / "engine.toml"
    toml.write_text(toml.read_text() + "preferred = true\n")
    assert engine_for(ModelKind.TFLITE, beeps).name == "zebra"
    assert engine_for(ModelKind.TFLITE, beeps, "beeps").name == "beeps"
    with pytest.raises(ConfigError, match=r"engine is 'gnu', which cannot run a \.tflite model.* one of zebra, beeps"):
        engine_for(ModelKind.TFLITE, beeps, "gnu")


def test_a_model_without_an_engine_is_refused_with_the_engines_that_would_run_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image has no engine for a \.tflite model; it has none"):
        engine_for(ModelKind.TFLITE, tmp_path)
    added(tmp_path, "gone", "")
    (tmp_path / "engines" / "gone" / "environment").unlink()
    with pytest.raises(ConfigError, match=r"image has no engine for a \.tflite model; it has none"):
        engine_for(ModelKind.TFLITE, tmp_path / "engines")


def piece(loudness: int) -> np.ndarray:
    return np.full(RATE, loudness, np.int16)


def test_a_piece_that_kills_twice_is_rejected_alone_out_of_a_batch(tmp_path: Path) -> None:
    folder = added(tmp_path, "fragile", FRAGILE)
    spec = EngineSpec(engine_for(ModelKind.TFLITE, folder), MODEL, None, {}, 1)
    with Engines(spec, 1) as engines:
        engines.facts()
        answers = [engines.transcribe(piece(loudness), RATE) for loudness in (7, 7, 5, 1, 6, 2, 8)]
        with pytest.raises(Rejected) as caught:
            answers[3].result(60)
        words = [answer.result(60).words[0].text for number, answer in enumerate(answers) if number != 3]
    assert caught.value.code == "engine-crash"
    assert words == ["7", "7", "5", "6", "2", "8"]


def test_an_engine_gets_as_many_pieces_at_once_as_it_wants(tmp_path: Path) -> None:
    folder = added(tmp_path, "fragile", FRAGILE)
    spec = EngineSpec(engine_for(ModelKind.TFLITE, folder), MODEL, None, {}, 1)
    with Engines(spec, 1) as engines:
        engines.facts()
        answers = [engines.transcribe(piece(7), RATE) for _ in range(9)]
        assert [answer.result(60).words[0].text for answer in answers] == ["7"] * 9
    calls = list(map(int, (folder / "fragile" / "calls").read_text().split()))
    assert sum(calls) == 9
    assert max(calls) <= 4


def test_an_engine_gets_the_environment_variables_that_it_states(tmp_path: Path) -> None:
    folder = added(tmp_path, "fragile", FRAGILE.replace("str(piece[0])", "os.environ['ALLOCATOR']"))
    toml = folder / "fragile" / "engine.toml"
    toml.write_text(toml.read_text() + '[variables]\nALLOCATOR = "thrifty"\n')
    spec = EngineSpec(engine_for(ModelKind.TFLITE, folder), MODEL, None, {}, 1)
    with Engines(spec, 1) as engines:
        engines.facts()
        assert engines.transcribe(piece(7), RATE).result(60).words[0].text == "thrifty"


def test_an_engine_that_takes_many_pieces_gets_them_from_as_many_short_recordings(
    tmp_path: Path, bucket: Bucket
) -> None:
    program = FRAGILE.replace('"pieces": 4', '"pieces": 40').replace(
        "        once =", "        time.sleep(3)\n        once ="
    )
    folder = added(tmp_path, "many", program.replace("import os, sys", "import os, sys, time"))
    bucket.plan(*(bucket.put(f"{number}.wav", wav(piece(7))) for number in range(50)))
    run = bucket.run(ENGINES_DIR=str(folder), SCORER="none")
    assert run.code == 0, run
    calls = list(map(int, (folder / "many" / "calls").read_text().split()))
    assert sum(calls) == 50
    assert max(calls) > 16


@pytest.mark.parametrize(
    "answer",
    ['{"recognitions": [], "compute_seconds": 0}', '{"recognitions": [[{"words": 5}]], "compute_seconds": 0}', "[]"],
)
def test_an_answer_that_breaks_the_protocol_fails_the_piece_and_nothing_else(tmp_path: Path, answer: str) -> None:
    program = (
        FRAGILE.replace("serve(Fragile)", f"import engine_protocol\nengine_protocol._answer = lambda *_: {answer}\n")
        + "serve(Fragile)\n"
    )
    folder = added(tmp_path, "wrong", program)
    spec = EngineSpec(engine_for(ModelKind.TFLITE, folder), MODEL, None, {}, 1)
    with Engines(spec, 1) as engines:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="wrong"):
                engines.transcribe(piece(7), RATE).result(60)
