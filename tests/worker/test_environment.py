"""The worker checks settings, options and models before any work, with one clear message."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.worker.harness import ROOT, Bucket
from transcriber import built_in_models, model_loading, storage
from transcriber.built_in_models import fetch
from transcriber.engine_programs import PROGRAMS
from transcriber.environment import read_environment
from transcriber.failures import ConfigError
from transcriber.model_file import alphabet_of, model_kind, scorer_fault
from transcriber.model_loading import find_model, usable_options
from transcriber.worker import engine_spec, with_model_of
from transcription_contract import run_options
from transcription_contract.manifest import Header
from transcription_contract.model_files import ModelChoice, ModelKind
from transcription_contract.run_options import TranscriptionOptions

DEMO = ROOT / "worker_image" / "models" / "asterisk-en"
NEEDED = {"S3_BUCKET_NAME": "audio", "MANIFEST_PREFIX": "child_job_input/run/", "MODEL": "asterisk-en"}


def refusal(**given: str) -> str:
    with pytest.raises(ConfigError) as caught:
        find_model(read_environment({**NEEDED, **given}), storage.Bucket("audio"), Path("/nowhere"))
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_only_bucket_manifest_and_model_must_be_set_and_empty_means_absent() -> None:
    plain = read_environment(NEEDED)
    assert read_environment({**NEEDED, "SCORER": "", "AWS_BATCH_JOB_ARRAY_INDEX": " "}) == plain
    assert plain.manifest_key == "child_job_input/run/0"
    assert read_environment({**NEEDED, "AWS_BATCH_JOB_ARRAY_INDEX": "12"}).manifest_key == "child_job_input/run/12"
    for name in NEEDED:
        with pytest.raises(ConfigError, match=name):
            read_environment({**NEEDED, name: ""})


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("AWS_BATCH_JOB_ARRAY_INDEX", "-1", "0 to 9999"),
        ("AWS_BATCH_JOB_ARRAY_INDEX", "10000", "0 to 9999"),
        ("AWS_BATCH_JOB_ARRAY_INDEX", "9" * 5000, "0 to 9999"),
        ("MODEL", "klingon", "asterisk-en"),
        ("SCORER", "/no/such/file", "s3://bucket/key"),
        ("MODELS_DIR", "/nowhere", "does not carry it"),
    ],
)
def test_the_error_names_the_wrong_setting_its_value_and_the_allowed_values(
    name: str, value: str, allowed: str
) -> None:
    message = refusal(**{name: value})
    assert allowed in message
    assert name in message or name == "MODELS_DIR"


def demo_model(**given: str) -> model_loading.Model:
    return find_model(read_environment({**NEEDED, **given}), storage.Bucket("audio"), Path("/nowhere"))


@pytest.mark.parametrize("options", [{"hot_words": {"zebra": 5}}, {"lm_alpha": 1, "lm_beta": 1}])
def test_an_option_of_the_scorer_is_rejected_without_a_scorer(options: dict[str, Any]) -> None:
    given = run_options.parse(TranscriptionOptions, options)
    assert usable_options(given, demo_model()) == given
    with pytest.raises(ConfigError, match=r"works only with a scorer"):
        engine_spec(demo_model(SCORER="none"), given, PROGRAMS)


def test_a_hot_word_with_letters_outside_the_alphabet_is_ignored_and_logged(capsys: pytest.CaptureFixture[str]) -> None:
    words = {"zebra": 5.0, "Zebra": 5.0, "naïve": 5.0}
    assert usable_options(TranscriptionOptions(hot_words=words), demo_model()).hot_words == {"zebra": 5.0}
    assert json.loads(capsys.readouterr().out)["words"] == ["Zebra", "naïve"]


def test_hot_words_change_the_transcript(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav"))
    bucket.set_options(hot_words={"four": 20, "Four": 20})
    assert bucket.run().code == 0
    assert "four" in bucket.text("output/call"), "without it the text is: press zero for help"


@pytest.mark.parametrize("suffix", ["tflite", "pbmm"])
def test_a_models_alphabet_is_read_from_its_file(suffix: str) -> None:
    letters = [line for line in (DEMO / "alphabet.txt").read_text().split("\n") if line and line[0] != "#"]
    assert alphabet_of(DEMO / f"asterisk-en.{suffix}") == frozenset(letters)


def test_a_models_content_decides_its_kind(tmp_path: Path) -> None:
    for kind in (ModelKind.TFLITE, ModelKind.PBMM):
        misnamed = tmp_path / "model.bin"
        misnamed.write_bytes((DEMO / f"asterisk-en.{kind.value}").read_bytes())
        assert model_kind(misnamed) is kind


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"<html>404</html>", "16 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n" * 50, "not that of a .tflite"),
        (bytes(5000), "not that of a .tflite"),
        (b"mmap lm http://kheafield.com/code format version 5\n" * 50, "it is a scorer"),
    ],
)
def test_a_file_that_is_not_a_model_is_rejected_before_any_engine_starts(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.pbmm"
    path.write_bytes(content)
    assert reason in refusal(MODEL=str(path))


def test_a_model_is_rejected_as_a_scorer() -> None:
    assert "no scorer" in refusal(SCORER=str(DEMO / "asterisk-en.tflite"))


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        (2000, "dictionary is missing: the file ends after 2000 bytes"),
        (50_000, "cut off: 50000 of 87024 bytes"),
        (87_023, "cut off: 87023 of 87024 bytes"),
    ],
)
def test_a_truncated_scorer_is_rejected_although_the_engine_would_load_it(
    size: int, reason: str, tmp_path: Path
) -> None:
    whole = (DEMO / "asterisk-en.scorer").read_bytes()
    (tmp_path / "scorer").write_bytes(whole[:size])
    assert reason in refusal(SCORER=str(tmp_path / "scorer"))


def test_a_scorer_with_additional_bytes_at_its_end_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "scorer").write_bytes((DEMO / "asterisk-en.scorer").read_bytes())
    assert scorer_fault(tmp_path / "scorer") == ""
    with (tmp_path / "scorer").open("ab") as file:
        file.write(b"more")
    assert scorer_fault(tmp_path / "scorer") == ""


def test_the_error_names_the_missing_s3_object() -> None:
    name = Bucket().name
    assert f"There is no object s3://{name}/models/x.tflite" in refusal(MODEL=f"s3://{name}/models/x.tflite")
    assert "There is no object s3://" in refusal(MODEL="s3://")


def test_every_model_in_models_toml_can_be_selected_by_its_name() -> None:
    entries = built_in_models.entries()
    assert [*entries] == [
        *("asterisk-en", "asterisk-en-pbmm", "deepspeech-0.9.3-en", "deepspeech-0.9.3-en-pbmm"),
        *("whisper-tiny.en", "whisper-base", "whisper-small", "whisper-large-v3-turbo"),
    ]
    for name, entry in entries.items():
        whisper = ModelKind(entry["kind"]) is ModelKind.WHISPER
        optional = {"language"} if whisper and not name.endswith(".en") else set()
        assert {"kind", "description", "language", "folder", "model"} - optional <= entry.keys()
        assert ("scorer" in entry) is not whisper
        files = {stated["file"] for _, stated in built_in_models.files_of(entry)}
        if whisper:
            assert {"model.bin", "config.json", "tokenizer.json"} < files
            assert all(len(stated["sha256"]) == 64 for _, stated in built_in_models.files_of(entry))


def test_the_checksums_of_the_demo_model_are_right() -> None:
    for name, entry in built_in_models.entries().items():
        if entry["folder"] == "asterisk-en":
            for what in ("model", "scorer"):
                content = (DEMO / entry[what]["file"]).read_bytes()
                assert hashlib.sha256(content).hexdigest() == entry[what]["sha256"], name


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A model of models.toml on a local server. models.toml has only the sizes and MD5s of its files."""
    entry: dict[str, Any] = {"folder": "own", "language": "en"}
    for what, suffix in (("model", "tflite"), ("scorer", "scorer")):
        source = DEMO / f"asterisk-en.{suffix}"
        content = source.read_bytes()
        entry[what] = {
            "file": f"own.{suffix}",
            "url": source.as_uri(),
            "size": len(content),
            "md5": hashlib.md5(content).hexdigest(),  # noqa: S324
        }
    monkeypatch.setattr(built_in_models, "entries", lambda: {"own": entry})
    return entry


def test_a_download_with_a_wrong_checksum_is_rejected(published: dict[str, Any], tmp_path: Path) -> None:
    right = {
        what: hashlib.sha256((DEMO / f"asterisk-en.{suffix}").read_bytes()).hexdigest()
        for what, suffix in (("model", "tflite"), ("scorer", "scorer"))
    }
    with pytest.raises(ConfigError, match="not the file that was meant"):
        fetch("own", tmp_path, {**right, "scorer": "0" * 64})
    assert not (tmp_path / "own" / "own.scorer").exists()
    fetch("own", tmp_path, right)
    found = find_model(
        read_environment({**NEEDED, "MODEL": "own", "MODELS_DIR": str(tmp_path)}), storage.Bucket("audio"), tmp_path
    )
    assert found.model.sha256 == right["model"]
    assert found.scorer
    assert found.scorer.sha256 == right["scorer"]


LINE = {
    "source_key": "input/talk.wav",
    "source_etag": "5d41402abc4b2a76b9719d911017c592",
    "source_size": 48044,
    "uploaded": "2026-11-22T22:14:05+00:00",
    "keeps_extension": False,
}


def body(*entries: Any, **header: Any) -> bytes:
    first = {"schema": 4, "model": None, "scorer": None, "options": {}, **header}
    return "\n".join(map(json.dumps, (first, *entries))).encode()


def test_a_model_in_the_manifest_uses_its_own_scorer_and_not_the_environments(bucket: Bucket) -> None:
    bucket.plan(bucket.put("call.wav"), model="asterisk-en-pbmm")
    bucket.set_options(output_formats=["json"])
    assert bucket.run(MODEL="asterisk-en", SCORER="none").code == 0
    made = json.loads(bucket.read("output/call.json"))
    entry = built_in_models.entries()["asterisk-en-pbmm"]
    assert made["model"] == {"name": "asterisk-en-pbmm", "sha256": entry["model"]["sha256"]}
    assert made["scorer"]["sha256"] == entry["scorer"]["sha256"]


@pytest.mark.parametrize(("suffix", "name"), [("pbmm", "model.pbmm"), ("pbmm", "model.bin"), ("tflite", "x.pbmm")])
def test_a_model_in_s3_may_have_any_name(suffix: str, name: str, bucket: Bucket) -> None:
    for key, kind in ((name, suffix), ("l.scorer", "scorer")):
        bucket.s3.put_object(Bucket=bucket.name, Key=f"models/{key}", Body=(DEMO / f"asterisk-en.{kind}").read_bytes())
    folder = f"s3://{bucket.name}/models"
    bucket.plan(bucket.put("call.wav"), model=f"{folder}/{name}", scorer=f"{folder}/l.scorer")
    bucket.set_options(output_formats=["json"])
    assert bucket.run().code == 0
    assert bucket.text("output/call") == "press zero for help"
    made = json.loads(bucket.read("output/call.json"))
    digest = hashlib.sha256((DEMO / f"asterisk-en.{suffix}").read_bytes()).hexdigest()
    assert made["model"] == {"name": f"{folder}/{name}", "sha256": digest}


@pytest.mark.parametrize(
    ("model", "scorer", "used"),
    [
        (None, None, ("asterisk-en", "none")),
        (None, "s3://b/fr.scorer", ("asterisk-en", "s3://b/fr.scorer")),
        ("s3://b/fr.pbmm", None, ("s3://b/fr.pbmm", None)),
        ("s3://b/fr.pbmm", "s3://b/fr.scorer", ("s3://b/fr.pbmm", "s3://b/fr.scorer")),
    ],
)
def test_without_a_model_in_the_manifest_the_environments_model_is_used(
    model: str | None, scorer: str | None, used: tuple[str, str | None]
) -> None:
    found = with_model_of(Header(ModelChoice(model, scorer)), read_environment({**NEEDED, "SCORER": "none"}))
    assert (found.model, found.scorer) == used


@pytest.mark.parametrize(
    ("given", "manifest", "reason"),
    [
        ({}, None, "There is no manifest"),
        ({}, b"input/a b.wav\n", "line 1 of the manifest"),
        ({"S3_BUCKET_NAME": "no-such-bucket-anywhere"}, None, "bucket"),
        ({}, body(LINE, options={"beam_width": -5}), "beam_width is -5"),
        ({}, body(LINE, options={"beem_width": 5}), "Did you mean 'beam_width'"),
        ({}, body(LINE, schema=2), "reads schema 4"),
        ({}, body(), "names no recordings"),
        ({"MODEL": str(DEMO / "alphabet.txt")}, body(LINE), "not a DeepSpeech model"),
        ({"MODEL": str(DEMO / "asterisk-en.scorer")}, body(LINE), "it is a scorer"),
    ],
)
def test_the_worker_exits_with_78_and_one_sentence_if_a_retry_cannot_help(
    given: dict[str, str], manifest: bytes | None, reason: str, bucket: Bucket
) -> None:
    if manifest is not None:
        bucket.s3.put_object(Bucket=bucket.name, Key="child_job_input/manual__2026-11-23-ab12/0", Body=manifest)
    run = bucket.run(**given)
    assert run.code == 78, run
    assert reason in run.reason()
    assert [event["event"] for event in run.events] == ["stopped"]
    assert bucket.listing() == []


@pytest.mark.parametrize("changed", [{"md5": "0" * 32}, {"size": 1}, {"sha256": "0" * 64}])
def test_a_model_without_a_known_sha256_must_have_its_size_and_md5(
    published: dict[str, Any], tmp_path: Path, changed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fetch("own", tmp_path, {})
    pinned = hashlib.sha256((tmp_path / "own" / "own.scorer").read_bytes()).hexdigest()
    assert f"--scorer-sha256 {pinned}" in capsys.readouterr().out
    published["scorer"].update(changed)
    with pytest.raises(ConfigError, match="not the file that was meant"):
        fetch("own", tmp_path, {})
    assert not (tmp_path / "own" / "own.scorer").exists()
