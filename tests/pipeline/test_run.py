"""Complete runs of the DAG on the deployed template, with the real worker and the sample recordings."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import wave
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local_aws import batch, deployment

PROJECT = Path(__file__).resolve().parents[2]
RECORDINGS = PROJECT / "tests" / "recordings"
DEMO = PROJECT / "worker_image" / "models" / "asterisk-en"
WHISPER = PROJECT / "build" / "models" / "whisper-tiny.en"
RATE = 16_000
TEXTS = {item["file"]: item["text"] for item in json.loads((RECORDINGS / "transcripts.json").read_text())}


def sha256(suffix: str) -> str:
    return hashlib.sha256((DEMO / f"asterisk-en.{suffix}").read_bytes()).hexdigest()


def stereo(left: str, right: str) -> bytes:
    """A WAV file with a recording on each channel. The second one starts after the first has ended."""
    silence = bytes(2 * 3 * RATE)
    channels = [(RECORDINGS / left).read_bytes()[44:] + silence, silence + (RECORDINGS / right).read_bytes()[44:]]
    length = max(map(len, channels))
    frames = array("h", bytes(2 * length))
    for number, channel in enumerate(channels):
        frames[number::2] = array("h", channel.ljust(length, b"\0"))
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((2, 2, RATE, 0, "NONE", ""))
        written.writeframes(frames.tobytes())
    return file.getvalue()


@pytest.fixture
def report(keys: Any, read: Any) -> Any:
    def report() -> dict[str, Any]:
        (key,) = (key for key in keys("runs/") if key.endswith("report.json"))
        return json.loads(read(key))

    return report


def test_every_sample_is_transcribed_correctly_and_moved(
    run: Any, put: Any, keys: Any, read: Any, report: Any, aws: Any, configured: Any
) -> None:
    for name in TEXTS:
        put(f"input/{name}", (RECORDINGS / name).read_bytes())
    done = run(audio_minutes_per_child=0.5)
    assert done.returncode == 0, done.stdout
    texts = {name: read(f"output/{name.removesuffix('.wav')}").decode().strip() for name in TEXTS}
    assert texts == TEXTS
    assert keys("input/") == []
    assert keys("child_job_input/") == []
    assert keys("processed/") == sorted(f"processed/{name}" for name in TEXTS)
    assert report()["totals"]["files"] == {"transcribed": 16, "rejected": 0, "replaced": 0, "missing": 0}
    job = aws.client("batch").describe_jobs(jobs=[report()["batch_job"]])["jobs"][0]
    assert job["arrayProperties"]["size"] == report()["children"] >= 2


@pytest.fixture
def jobs(aws: Any, configured: Any) -> Any:
    """The number of jobs that the queue has had so far."""
    batch, queue = aws.client("batch"), configured.airflow_options["transcription.job_queue"]

    def jobs() -> int:
        filters = [{"name": "JOB_NAME", "values": ["*"]}]
        return len(batch.list_jobs(jobQueue=queue, filters=filters)["jobSummaryList"])

    return jobs


def test_a_run_without_recordings_is_skipped_and_starts_no_job(run: Any, put: Any, keys: Any, jobs: Any) -> None:
    put("input/", b"")
    put("input/folder/", b"")
    put("input/notes.txt", b"no audio")
    before = jobs()
    done = run()
    assert done.returncode == 0, done.stdout
    assert "No recording waits" in done.stdout
    assert jobs() == before
    assert keys("runs/") == []
    assert keys("input/") == ["input/", "input/folder/", "input/notes.txt"]


def test_a_bad_recording_is_moved_to_failed_with_a_reason_and_the_others_are_transcribed(
    run: Any, put: Any, keys: Any, read: Any, report: Any
) -> None:
    good = "vm-leavemsg.wav"
    put(f"input/sub folder/ü '$(id)'; & {good}", (RECORDINGS / good).read_bytes())
    put("input/empty.wav", b"")
    put("input/text.mp3", b"This is no recording at all. " * 50)
    put("input/notes.txt", b"left alone")
    done = run()
    assert done.returncode == 0, done.stdout
    assert read("output/sub folder/ü '$(id)'; & vm-leavemsg").decode().strip() == TEXTS[good]
    assert keys("input/") == ["input/notes.txt"]
    assert keys("failed/") == [
        "failed/empty.wav",
        "failed/empty.wav.error.json",
        "failed/text.mp3",
        "failed/text.mp3.error.json",
    ]
    assert read("failed/text.mp3") == b"This is no recording at all. " * 50
    (entries,) = (key for key in keys("runs/") if key.endswith("entries.jsonl"))
    files = {file["source_key"]: file for file in map(json.loads, read(entries).splitlines())}
    assert files["input/empty.wav"]["reason"]
    assert files["input/empty.wav"]["code"] == "empty"
    assert report()["totals"]["files"] == {"transcribed": 1, "rejected": 2, "replaced": 0, "missing": 0}
    assert report()["left_alone"] == 1


def test_a_dry_run_plans_and_changes_nothing(run: Any, put: Any, keys: Any) -> None:
    put("input/vm-leavemsg.wav", (RECORDINGS / "vm-leavemsg.wav").read_bytes())
    done = run(dry_run=True)
    assert done.returncode == 0, done.stdout
    assert "A dry run, which submits nothing. 1 recording with about" in done.stdout
    assert keys() == ["input/vm-leavemsg.wav"]


def test_a_run_whose_job_fails_names_the_missing_recordings_and_the_next_run_transcribes_them(
    run: Any, put: Any, keys: Any, read: Any, empty_bucket: str
) -> None:
    put("input/vm-leavemsg.wav", (RECORDINGS / "vm-leavemsg.wav").read_bytes())
    for file in WHISPER.iterdir():  # the model is cut off, which only the engine sees
        put(f"models/cut/{file.name}", file.read_bytes()[:1_000_000])
    failed = run(model=f"s3://{empty_bucket}/models/cut/")
    assert failed.returncode == 1
    assert "exit code 78" in failed.stdout
    assert "'input/vm-leavemsg.wav': it waits untranscribed in input/" in failed.stdout
    assert keys("input/") == ["input/vm-leavemsg.wav"]
    assert keys("child_job_input/") == []
    assert run().returncode == 0
    assert read("output/vm-leavemsg").decode().strip() == TEXTS["vm-leavemsg.wav"]


def test_each_channel_of_a_call_is_transcribed_separately(run: Any, put: Any, read: Any, report: Any) -> None:
    left, right = "vm-leavemsg.wav", "vm-tocallnum.wav"
    put("input/calls/one.wav", stereo(left, right))
    done = run(channels="separate", output_formats=["json", "vtt"])
    assert done.returncode == 0, done.stdout
    text = read("output/calls/one").decode().strip()
    assert text == f"Channel 1: {TEXTS[left]}\nChannel 2: {TEXTS[right]}"
    segments = json.loads(read("output/calls/one.json"))["segments"]
    assert [(segment["channel"], segment["text"]) for segment in segments] == [(1, TEXTS[left]), (2, TEXTS[right])]
    assert "<v Channel 2>" in read("output/calls/one.vtt").decode()
    assert report()["totals"]["files"]["transcribed"] == 1


def test_each_folder_is_transcribed_with_the_model_of_its_name(
    run: Any, put: Any, keys: Any, read: Any, report: Any, empty_bucket: str
) -> None:
    short = "dictate__forhelp.wav"
    for folder, suffix in (("fr", "pbmm"), ("de", "tflite")):
        put(f"models/{folder}/model.{suffix}", (DEMO / f"asterisk-en.{suffix}").read_bytes())
        put(f"models/{folder}/words.scorer", (DEMO / "asterisk-en.scorer").read_bytes())
    put("models/it/one.tflite", b"x")
    put("models/it/two.tflite", b"x")
    for name in ("fr/a.wav", "de/a.wav", "asterisk-en-pbmm/a.wav", "it/a.wav", "a.wav"):
        put(f"input/{name}", (RECORDINGS / short).read_bytes())
    done = run(output_formats=["json"])
    assert done.returncode == 0, done.stdout
    made = {name: json.loads(read(f"output/{name}.json")) for name in ("fr/a", "de/a", "asterisk-en-pbmm/a", "a")}
    assert {name: (document["model"]["name"], document["model"]["sha256"]) for name, document in made.items()} == {
        "fr/a": (f"s3://{empty_bucket}/models/fr/model.pbmm", sha256("pbmm")),
        "de/a": (f"s3://{empty_bucket}/models/de/model.tflite", sha256("tflite")),
        "asterisk-en-pbmm/a": ("asterisk-en-pbmm", sha256("pbmm")),
        "a": ("asterisk-en", sha256("tflite")),
    }
    assert {document["scorer"]["sha256"] for document in made.values()} == {sha256("scorer")}
    assert {read(f"output/{name}").decode().strip() for name in made} == {TEXTS[short]}
    assert keys("input/") == ["input/it/a.wav"]
    assert report()["children"] == 4
    assert report()["left_alone"] == 1
    assert "models/it/ has 2 models" in report()["unusable_models"][0]
    assert "Left alone: 'input/it/a.wav': The folder" in done.stdout


def test_a_model_that_is_missing_fails_the_run_before_any_child_starts(
    run: Any, put: Any, keys: Any, jobs: Any, empty_bucket: str
) -> None:
    put("input/a.wav", (RECORDINGS / "vm-leavemsg.wav").read_bytes())
    before = jobs()
    done = run(model=f"s3://{empty_bucket}/models/fr/model.pbmm")
    assert done.returncode == 1
    assert f"There is no object s3://{empty_bucket}/models/fr/model.pbmm: upload the model there" in done.stdout
    assert jobs() == before
    assert keys() == ["input/a.wav"]


def test_a_run_whose_folders_need_several_engines_uses_all_of_them(
    run: Any, put: Any, keys: Any, read: Any, report: Any, empty_bucket: str
) -> None:
    sample = (RECORDINGS / "vm-leavemsg.wav").read_bytes()
    for name in WHISPER.iterdir():
        put(f"models/en/tiny/{name.name}", name.read_bytes())
    for folder in ("asterisk-en", "asterisk-en-pbmm", "whisper-tiny.en", "en"):
        put(f"input/{folder}/a.wav", sample)
    done = run(output_formats=["json"])
    assert done.returncode == 0, done.stdout
    made = {folder: json.loads(read(f"output/{folder}/a.json")) for folder in ("asterisk-en", "asterisk-en-pbmm", "en")}
    assert {folder: document["engine"].split()[0] for folder, document in made.items()} == {
        "asterisk-en": "deepspeech-batched",
        "asterisk-en-pbmm": "deepspeech-batched",
        "en": "whisper",
    }
    assert made["en"]["model"]["name"] == f"s3://{empty_bucket}/models/en/tiny/"
    assert read("output/whisper-tiny.en/a").decode().strip() == made["en"]["text"] == "Press 5 to leave a message."
    assert made["asterisk-en"]["text"] == TEXTS["vm-leavemsg.wav"]
    assert "log_margin" in made["asterisk-en"]["segments"][0]["words"][0]
    assert 0 < made["en"]["segments"][0]["words"][0]["probability"] <= 1
    made_by = {(entry["engine"].split()[0], entry["files"]) for entry in report()["totals"]["made_by"]}
    assert made_by == {("deepspeech-batched", 1), ("whisper", 1)}
    assert all(entry["cpu_seconds_per_audio_second"] > 0 for entry in report()["totals"]["made_by"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alternatives": 3}, "The engine whisper, which runs the model whisper-tiny.en, has no alternatives"),
        ({"scorer": "asterisk-en"}, "The engine whisper, which runs the model whisper-tiny.en, uses no scorer"),
        ({"language": "fr"}, "language is 'fr', and the model whisper-tiny.en knows only 'en'"),
        ({"engine": "deepspeech"}, "engine is 'deepspeech', which cannot run a Whisper model (CTranslate2)"),
        (
            {"model": "asterisk-en", "language": "auto"},
            "The engine deepspeech-batched, which runs the model asterisk-en, has no language",
        ),
    ],
)
def test_an_option_that_the_engine_lacks_is_refused_before_a_container_starts(
    run: Any, put: Any, keys: Any, jobs: Any, params: dict[str, Any], message: str
) -> None:
    put("input/a.wav", (RECORDINGS / "vm-leavemsg.wav").read_bytes())
    before = jobs()
    done = run(**{"model": "whisper-tiny.en", **params})
    assert done.returncode == 1
    assert message in done.stdout
    assert jobs() == before
    assert keys() == ["input/a.wav"]


@pytest.fixture
def without(aws: Any, stack: Any, tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Deploys the template without a right of a role."""
    synthesised = PROJECT / "build" / "local"

    def without(role: str, action: str) -> None:
        assembly = shutil.copytree(synthesised, tmp_path / "cdk.out")
        file = assembly / "Transcription.template.json"
        template = json.loads(file.read_text())
        [policy] = [item for name, item in template["Resources"].items() if name.startswith(f"{role}DefaultPolicy")]
        statements = policy["Properties"]["PolicyDocument"]["Statement"]
        left = [{**item, "Action": [one for one in listed(item["Action"]) if one != action]} for item in statements]
        assert left != [{**item, "Action": listed(item["Action"])} for item in statements]
        policy["Properties"]["PolicyDocument"]["Statement"] = [item for item in left if item["Action"]]
        file.write_text(json.dumps(template))
        deployment.deploy(aws, assembly)

    def listed(actions: Any) -> list[str]:
        return actions if isinstance(actions, list) else [actions]

    yield without
    deployment.deploy(aws, synthesised)


@pytest.mark.parametrize(
    ("role", "action", "message"),
    [
        ("AirflowRole", "batch:SubmitJob", "not authorized to perform batch:SubmitJob"),
        ("BatchWorkerRole", "s3:PutObject", "exit code 78"),
    ],
)
def test_a_run_fails_if_a_role_lacks_a_right_that_it_needs(
    run: Any, put: Any, keys: Any, without: Callable[[str, str], None], role: str, action: str, message: str
) -> None:
    put("input/a.wav", (RECORDINGS / "vm-leavemsg.wav").read_bytes())
    without(role, action)
    done = run()
    assert done.returncode == 1
    assert message in done.stdout
    assert keys("input/") == ["input/a.wav"]
    assert keys("output/") == []


def test_tagged_recordings_keep_their_tags_and_a_tagged_transcript_is_reused(
    run: Any, s3: Any, read: Any, keys: Any, empty_bucket: str
) -> None:
    sample = (RECORDINGS / "vm-leavemsg.wav").read_bytes()
    tags = {"TagSet": [{"Key": "scan", "Value": "clean"}]}
    for _ in range(2):  # the second run finds the first one's transcript, which a scanner has tagged
        s3.put_object(Bucket=empty_bucket, Key="input/a.wav", Body=sample, Tagging="scan=clean")
        done = run()
        assert done.returncode == 0, done.stdout
        assert keys("input/") == []
        s3.put_object_tagging(Bucket=empty_bucket, Key="output/a", Tagging=tags)
    for key in ("output/a", "processed/a.wav"):
        assert s3.get_object_tagging(Bucket=empty_bucket, Key=key)["TagSet"] == tags["TagSet"]
    assert read("output/a").decode().strip() == TEXTS["vm-leavemsg.wav"]
    versions = s3.list_object_versions(Bucket=empty_bucket, Prefix="output/")["Versions"]
    assert [version["Key"] for version in versions] == ["output/a", "output/a.json"]


def test_children_that_fargate_cannot_start_at_once_are_started_again(
    run: Any, put: Any, read: Any, report: Any, aws: Any, configured: Any
) -> None:
    put("input/a.wav", (RECORDINGS / "vm-leavemsg.wav").read_bytes())
    image = "CannotPullContainerError: failed to copy: httpReadSeeker: dial tcp: i/o timeout"
    batch.BatchJob.start_failures.extend(
        [
            batch.StartFailure("Timeout waiting for network interface provisioning to complete."),
            batch.StartFailure("Task failed to start", image),
        ]
    )
    done = run()
    assert done.returncode == 0, done.stdout
    assert read("output/a").decode().strip() == TEXTS["vm-leavemsg.wav"]
    [job] = aws.client("batch").describe_jobs(jobs=[report()["batch_job"]])["jobs"]
    assert len(job["attempts"]) == 3
