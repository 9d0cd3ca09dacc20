"""The choice of each recording's model, and what `plan` checks before a child starts."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from transcription import model_check, model_rules
from transcription.errors import ModelUnusable, SettingError
from transcription.model_check import ModelCheck
from transcription.model_rules import Image, ModelFacts, ModelRule
from transcription_contract import model_files
from transcription_contract.model_files import IMAGE_MODEL, BuiltInModel, FileRole, ModelChoice, ModelKind
from transcription_contract.speech_engines import SpeechEngine

PROJECT = Path(__file__).resolve().parents[2]
DEMO = PROJECT / "worker_image" / "models" / "asterisk-en"
TFLITE = BuiltInModel(ModelKind.TFLITE, 920_776)
DEEPSPEECH = SpeechEngine(
    name="deepspeech", models=frozenset({"pb", "pbmm", "tflite"}), options=frozenset({"beam_width"}), scorer=True
)
WHISPER = SpeechEngine(
    name="whisper",
    models=frozenset({"ctranslate2-whisper"}),
    options=frozenset({"language"}),
    cpu_seconds_per_gigabyte=0.4,
)
IMAGE = Image(
    built_in={"asterisk-en": TFLITE, "en": TFLITE},
    engines=(DEEPSPEECH, WHISPER),
    model="asterisk-en",
    default=ModelChoice("s3://b/default.pbmm", "en"),
)
FACTS = ModelFacts(DEEPSPEECH, 7)
FR = ModelChoice("s3://b/models/fr/m.pbmm", "s3://b/models/fr/l.scorer")


def rule(
    *keys: str, model: str | None = None, scorer: str | None = None, unusable: str = "-", image: Image = IMAGE
) -> ModelRule:
    def check(choice: ModelChoice) -> ModelFacts:
        if unusable in str(choice.model):
            raise ModelUnusable(f"{choice.model} is no model.")
        return FACTS

    folders = model_rules.of_folders("b", [f"models/{key}" for key in keys])
    return ModelRule(ModelChoice(model, scorer), image, folders, check)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("fr/a.wav", FR),
        ("fr/2026/11/a.wav", FR),
        ("en/a.wav", ModelChoice("en", None)),  # built-in
        ("de/a.wav", IMAGE.default),
        ("a.wav", IMAGE.default),
        ("fr.wav", IMAGE.default),
        ("calls/fr/a.wav", IMAGE.default),  # only the first folder selects the model
    ],
)
def test_the_first_folder_of_a_name_selects_the_model(name: str, choice: ModelChoice) -> None:
    others = ("fr/README.md", "fr/old/m.pbmm", "fr.wav/m.pbmm", "/m.pbmm", "m.pbmm")
    assert rule("fr/m.pbmm", "fr/l.scorer", *others).choice_of(name) == choice


@pytest.mark.parametrize("folder", ["", "whisper-small/"])
def test_a_whisper_model_is_a_folder_or_its_subfolder(folder: str) -> None:
    files = [f"fr/{folder}{name}" for name in ("model.bin", "config.json", "vocabulary.json")]
    found = rule(*files, "fr/old/deeper/model.bin", unusable="old").choice_of("fr/a.wav")
    assert found == ModelChoice(f"s3://b/models/fr/{folder}", None)


def test_a_model_folder_has_priority_over_a_built_in_model_of_the_same_name() -> None:
    assert rule("en/m.TFLITE").choice_of("en/a.wav") == ModelChoice("s3://b/models/en/m.TFLITE", None)


def test_a_runs_model_is_used_for_all_recordings() -> None:
    named = rule("fr/m.pbmm", model="s3://b/x.tflite")
    assert {named.choice_of(name) for name in ("fr/a.wav", "en/a.wav", "a.wav")} == {("s3://b/x.tflite", None)}
    scorer = rule("fr/m.pbmm", "fr/l.scorer", scorer="none")
    assert scorer.choice_of("fr/a.wav") == FR._replace(scorer="none")
    assert scorer.choice_of("a.wav") == IMAGE.default._replace(scorer="none")


def test_a_runs_model_without_a_scorer_does_not_use_the_deployments_scorer() -> None:
    assert rule(model="en").choice_of("a.wav") == ModelChoice("en", None)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["m.pbmm", "m.tflite"], r"s3://b/models/fr/ has 2 models, and must have one: keep one of m\.pbmm, m\.tflite"),
        (["m.pbmm", "a.scorer", "b.scorer"], r"has 2 scorers, and may have one: keep one of a\.scorer, b\.scorer"),
        (["a.scorer"], r"has no models, and must have one: upload a \.tflite"),
        (["m.pbmm", "tiny/model.bin"], r"has 2 models, and must have one: keep one of m\.pbmm, tiny/"),
        (["model.bin", "tiny/model.bin"], r"has 2 models, and must have one: keep one of fr/, tiny/"),
        (["tiny/model.bin", "a.scorer"], r"has a scorer, which Whisper does not use: delete a\.scorer"),
    ],
)
def test_an_ambiguous_model_folder_excludes_only_its_own_recordings(files: list[str], reason: str) -> None:
    found = rule(*(f"fr/{file}" for file in files))
    assert found.choice_of("b.wav") == IMAGE.default
    unusable = found.choice_of("fr/a.wav")
    assert isinstance(unusable, ModelUnusable)
    assert re.search(reason, str(unusable))


def test_an_unusable_model_of_a_folder_excludes_its_recordings_and_one_of_the_run_excludes_all() -> None:
    found = rule("fr/m.pbmm", unusable="fr/m.pbmm")
    assert found.choice_of("b.wav") == IMAGE.default
    assert str(found.choice_of("fr/a.wav")) == "s3://b/models/fr/m.pbmm is no model."
    with pytest.raises(ModelUnusable, match="default"):
        rule("fr/m.pbmm", unusable="default").choice_of("b.wav")
    with pytest.raises(ModelUnusable, match="own"):
        rule(model="s3://b/own.pb", unusable="own").choice_of("fr/a.wav")


def test_a_folders_model_is_checked_once_and_only_if_a_recording_needs_it() -> None:
    checked: list[Any] = []

    def check(choice: ModelChoice) -> ModelFacts:
        checked.append(choice)
        return FACTS

    folders = model_rules.of_folders("b", ["models/fr/m.pbmm", "models/de/m.pbmm"])
    found = ModelRule(IMAGE_MODEL, IMAGE, folders, check)
    assert found.choice_of("fr/a.wav") == found.choice_of("fr/b.wav")
    assert checked == [ModelChoice("s3://b/models/fr/m.pbmm", None)]
    assert found.facts == {ModelChoice("s3://b/models/fr/m.pbmm", None): FACTS}


def graph() -> bytes:
    """The demo's graph as in a `.pb` file. The `.pbmm` has it before the directory, which contains its start."""
    content = demo("pbmm")
    directory = int.from_bytes(content[-8:], "little")
    entry = re.search(rb"\x08([\x80-\xff]*[\x00-\x7f])\x12\x15memmapped_package://\.\x18", content[directory:])
    assert entry
    start = sum((digit & 0x7F) << 7 * place for place, digit in enumerate(entry[1]))
    return content[start:directory]


def fault(role: FileRole, content: bytes) -> str:
    return model_files.fault(role, len(content), content[: model_files.HEAD_BYTES], content[-model_files.TAIL_BYTES :])


def demo(suffix: str) -> bytes:
    return (DEMO / f"asterisk-en.{suffix}").read_bytes()


def test_models_and_scorers_are_recognised_by_their_content() -> None:
    assert (
        fault(FileRole.MODEL, demo("tflite"))
        == fault(FileRole.MODEL, demo("pbmm"))
        == fault(FileRole.MODEL, graph())
        == ""
    )
    assert fault(FileRole.SCORER, demo("scorer")) == ""


@pytest.mark.parametrize(
    ("role", "content", "reason"),
    [
        (FileRole.MODEL, b"", "only 0 bytes"),
        (FileRole.MODEL, demo("pbmm")[:-1], "not that of a .tflite"),
        (FileRole.MODEL, demo("pbmm")[: 1 << 20], "not that of a .tflite"),
        (FileRole.MODEL, b"version https://git-lfs.github.com/spec/v1\n" * 50, "not that of a .tflite"),
        (FileRole.MODEL, b"\n\n{'a': 1}" * 500, "not that of a .tflite"),
        (FileRole.MODEL, bytes(5000), "not that of a .tflite"),
        (FileRole.MODEL, demo("scorer"), "it is a scorer"),
        (FileRole.SCORER, demo("tflite"), "not a scorer's"),
    ],
)
def test_a_malformed_file_is_rejected_with_a_reason(role: FileRole, content: bytes, reason: str) -> None:
    assert reason in fault(role, content)


@pytest.fixture
def check(put: Any, empty_bucket: str) -> ModelCheck:
    return ModelCheck(empty_bucket, IMAGE)


def test_existing_models_and_scorers_are_accepted(check: ModelCheck, put: Any, empty_bucket: str) -> None:
    put("models/fr/my model é.pbmm", demo("pbmm"))
    put("models/fr/l.scorer", demo("scorer"))
    check(ModelChoice(f"s3://{empty_bucket}/models/fr/my model é.pbmm", f"s3://{empty_bucket}/models/fr/l.scorer"))
    assert check(ModelChoice("asterisk-en", "none")) == check(IMAGE_MODEL) == ModelFacts(DEEPSPEECH, TFLITE.size)


def whisper(name: str) -> bytes:
    """A file of Whisper's tiny English model; of the weights only the start."""
    content = (PROJECT / "build" / "models" / "whisper-tiny.en" / name).read_bytes()
    return content[:50_000] if name == "model.bin" else content


@pytest.mark.parametrize("vocabulary", ["vocabulary.txt", "tokenizer.json"])
def test_a_whisper_folder_is_accepted_and_its_weights_tell_its_cost(
    check: ModelCheck, put: Any, empty_bucket: str, vocabulary: str
) -> None:
    for name in ("model.bin", "config.json", vocabulary):
        put(f"models/en/{name}", whisper(name))
    found = check(ModelChoice(f"s3://{empty_bucket}/models/en/", None))
    assert found == ModelFacts(WHISPER, 50_000, "en")
    assert found.cpu_seconds(has_scorer=False) == pytest.approx(0.4 * 50_000 / 1e9)


@pytest.mark.parametrize(
    ("damaged", "content", "reason"),
    [
        ("model.bin", b"<html>404</html>" * 100, "its model.bin is not that of a Whisper model"),
        ("model.bin", b"", "its model.bin is not that of a Whisper model"),
        ("config.json", b"{", "its config.json is not JSON"),
        ("config.json", b'{"bos_token": "<s>"}', "its config.json is not that of a Whisper model"),
    ],
)
def test_a_malformed_whisper_folder_is_rejected_with_a_reason(damaged: str, content: bytes, reason: str) -> None:
    files = {name: whisper(name) for name in ("model.bin", "config.json", "vocabulary.txt")}
    files[damaged] = content
    assert reason in model_files.folder_fault(files, len(files["model.bin"]))


def test_the_weights_of_a_whisper_model_alone_are_refused_with_what_to_name(
    check: ModelCheck, put: Any, empty_bucket: str
) -> None:
    put("models/en/model.bin", whisper("model.bin"))
    with pytest.raises(ModelUnusable, match=r"it is the model\.bin of a Whisper model: name its folder"):
        check(ModelChoice(f"s3://{empty_bucket}/models/en/model.bin", None))


def test_a_model_that_no_engine_of_the_image_runs_is_unusable(put: Any, empty_bucket: str) -> None:
    image = replace(IMAGE, engines=(WHISPER,))
    with pytest.raises(ModelUnusable, match=r"no engine for a \.tflite model; it has whisper"):
        ModelCheck(empty_bucket, image)(IMAGE_MODEL)
    with pytest.raises(
        ModelUnusable, match=r"engine is 'whisper', which cannot run a \.tflite model .*must be one of deep"
    ):
        ModelCheck(empty_bucket, IMAGE, "whisper")(IMAGE_MODEL)


@pytest.mark.parametrize(
    ("model", "scorer", "reason"),
    [
        ("s3://{bucket}/models/x.pbmm", None, r"There is no object s3://.*/models/x\.pbmm: upload the model there"),
        ("s3://no-such-bucket/x.pbmm", None, r"There is no object s3://no-such-bucket/x\.pbmm"),
        (
            "s3://{bucket}/models/page.pbmm",
            None,
            r"page\.pbmm is not a model .*not that of .*: upload it again",
        ),
        ("s3://{bucket}/models/fr.tflite", "s3://{bucket}/models/fr.tflite", "is not a scorer of DeepSpeech"),
        ("s3://", None, "'s3://' is not an S3 URL"),
        ("s3://Not A Bucket!/x", None, "is not an S3 URL"),
        (
            "s3://{bucket}/models/tiny",
            None,
            r"There is no object .*/models/tiny: .* If it is a folder, write s3://.*/tiny/",
        ),
        ("s3://{bucket}/models/gone/", None, r"There is no folder s3://.*/models/gone/ with a model"),
        (
            "s3://{bucket}/models/cut/",
            None,
            r"/cut/ is not a Whisper model \(it has no config.json and no vocabulary.json",
        ),
        ("klingon", None, "'klingon'; it must be s3://bucket/key or a built-in one: asterisk-en, en"),
        (None, "/opt/x.scorer", "The scorer is '/opt/x.scorer'; it must be"),
    ],
)
def test_the_error_for_a_missing_or_invalid_file_has_a_solution(
    check: ModelCheck, put: Any, empty_bucket: str, model: str | None, scorer: str | None, reason: str
) -> None:
    put("models/page.pbmm", b"<html>404</html>" * 100)
    put("models/fr.tflite", demo("tflite"))
    put("models/cut/model.bin", whisper("model.bin"))
    place = empty_bucket
    choice = ModelChoice(model and model.format(bucket=place), scorer and scorer.format(bucket=place))
    with pytest.raises(ModelUnusable, match=reason):
        check(choice)


@pytest.fixture
def closed_bucket(s3: Any, configured: Any) -> str:
    """A bucket whose policy denies all reads."""
    name = "closed-models"
    s3.create_bucket(Bucket=name)
    s3.put_object(Bucket=name, Key="models/x.pbmm", Body=demo("pbmm"))
    denial = f'{{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::{name}/*"}}'
    s3.put_bucket_policy(Bucket=name, Policy=f'{{"Version": "2012-10-17", "Statement": [{denial}]}}')
    return name


def test_a_model_that_airflow_cannot_read_is_left_to_the_children_unless_it_is_in_the_pipelines_bucket(
    check: ModelCheck, closed_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    choice = ModelChoice(f"s3://{closed_bucket}/models/x.pbmm", None)
    with caplog.at_level(logging.WARNING):
        check(choice)
    assert "only the children will see" in caplog.text
    with pytest.raises(ModelUnusable, match="put it under closed-models/models/"):
        ModelCheck(closed_bucket, IMAGE)(choice)


def test_a_failure_of_s3_is_not_a_fault_of_the_model_and_causes_a_retry(check: ModelCheck) -> None:
    with Stubber(check._s3) as answers:
        answers.add_client_error("head_object", "SlowDown", http_status_code=503)
        with pytest.raises(ClientError, match="SlowDown"):
            check(ModelChoice("s3://b/m.pbmm", None))


def test_the_deployed_job_definition_lists_the_built_in_models(configured: Any) -> None:
    found = model_check.image_of(boto3.client("batch"), configured.airflow_options["transcription.job_definition"])
    assert found.built_in.keys() == {"asterisk-en", "asterisk-en-pbmm", "whisper-tiny.en"}
    assert {engine.name for engine in found.engines} == {
        "deepspeech",
        "deepspeech-tflite",
        "deepspeech-batched",
        "whisper",
    }
    assert (found.model, found.default) == ("asterisk-en", IMAGE_MODEL)


def test_the_newest_revision_of_the_job_definition_is_used(configured: Any) -> None:
    batch = boto3.client("batch")
    for names, variables in (("old", []), ("ab", [{"name": "MODEL", "value": "a"}, {"name": "SCORER", "value": "b"}])):
        container = {
            "name": "worker",
            "image": "worker",
            "environment": variables,
            "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
        }
        answer = batch.register_job_definition(
            jobDefinitionName="revised",
            type="container",
            parameters={
                "image_model": names[0],
                "built_in_models": json.dumps({name: TFLITE.to_json() for name in names}),
                "engines": json.dumps({"whisper": WHISPER.to_json()}),
            },
            ecsProperties={"taskProperties": [{"containers": [container]}]},
        )
    assert model_check.image_of(batch, "revised") == Image(
        built_in={"a": TFLITE, "b": TFLITE},
        engines=(WHISPER,),
        model="a",
        default=ModelChoice("a", "b"),
        revision=answer["jobDefinitionArn"],
    )
    assert model_check.image_of(batch, answer["jobDefinitionArn"]).built_in.keys() == {*"ab"}
    with pytest.raises(SettingError, match="no active job definition 'gone'"):
        model_check.image_of(batch, "gone")
