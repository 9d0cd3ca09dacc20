"""The image works in a container with the job definition's limits, and ends well with less."""

from __future__ import annotations

import subprocess

import pytest

from local_aws.containers import DockerContainer
from tests.image.children import Children, job_definition, limits, transcripts
from tests.image.docker_engine import PROJECT, Docker
from transcription_contract import layout
from transcription_contract.results import ExitCode

KILLED = 137  # the exit code of a process that SIGKILL ended

STOPS = 10
FEW = 4  # recordings


def test_the_job_definitions_limits_are_tested() -> None:
    """A new option of the job definition must be in `limits`, too."""
    assert set(job_definition()) - {"Name", "Image", "Command", "Environment", "Essential", "LogConfiguration"} == {
        "LinuxParameters", "MountPoints", "ReadonlyRootFilesystem", "ResourceRequirements", "StopTimeout", "User",
    }  # fmt: skip
    given = limits(job_definition())
    assert (given["--read-only"], given["--init"], given["--user"]) == ("true", "true", "1000:1000")


def test_a_child_transcribes_all_recordings_under_the_job_definitions_limits(children: Children) -> None:
    names = children.plan(16)
    ended = children.run()
    assert ended.code == ExitCode.DONE, ended
    assert children.listing(layout.OUTPUT) == transcripts(names)
    assert children.listing(layout.INPUT) == {}
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("limit", "engines"),
    [({"cpus": "2"}, 2), ({"cpus": "1.5"}, 2), ({"cpus": "1"}, 1), ({"cpus": "0.5"}, 1), ({"cpuset_cpus": "0"}, 1)],
)
def test_a_child_has_an_engine_for_each_cpu_of_its_container(
    limit: dict[str, str], engines: int, children: Children
) -> None:
    children.plan(FEW)
    ended = children.run(**limit)
    assert ended.code == ExitCode.DONE, ended
    assert ended.event("started")["engines"] == engines


def test_a_child_of_the_small_model_needs_little_memory(children: Children) -> None:
    children.plan(FEW)
    assert children.run(memory="256m").code == ExitCode.DONE


def test_a_child_without_enough_memory_ends_for_a_retry_or_says_what_it_needs(children: Children) -> None:
    """The kernel kills the worker or an engine."""
    children.plan(FEW)
    ended = children.run(memory="96m")
    assert ended.code in (KILLED, ExitCode.TEMPORARY, ExitCode.PERMANENT), ended
    if ended.code != KILLED:
        assert "memory" in ended.event("stopped")["reason"]


def test_a_child_that_is_stopped_at_work_completes_its_deliveries_and_the_next_one_the_rest(children: Children) -> None:
    names = children.plan(400)  # more than both engines take at once
    with children.container() as name:
        children.docker.run("start", name)
        children.wait_for_event(name, "file")
        children.docker.run("stop", name)
        ended = children.end(name)
    assert ended.code == ExitCode.TEMPORARY, ended
    left = children.listing(layout.INPUT)
    assert left, "it was done before it was stopped: the test shows nothing"
    delivered = [event["key"].removeprefix(layout.INPUT) for event in ended.events if event["event"] == "file"]
    assert sorted([*left, *delivered]) == sorted(names)
    assert children.run().code == ExitCode.DONE
    assert children.listing(layout.OUTPUT) == transcripts(names)


def test_a_child_that_is_stopped_at_its_start_ends_for_a_retry(children: Children) -> None:
    names = children.plan(FEW)
    for _ in range(STOPS):
        with children.container() as name:
            children.docker.run("start", name)
            children.docker.run("stop", name)
            ended = children.end(name)
        assert ended.code == ExitCode.TEMPORARY, ended
        assert "SIGTERM" in ended.event("stopped")["reason"]
    assert sorted([*children.listing(layout.INPUT), *children.listing(layout.PROCESSED)]) == sorted(names)


def test_a_child_that_cannot_write_its_scratch_folder_says_what_to_do(children: Children) -> None:
    children.plan(FEW)
    ended = children.run(volume="/scratch", env="TMPDIR=/scratch")  # the image does not have it: root's
    assert ended.code == ExitCode.PERMANENT, ended
    assert "/scratch cannot be written (Permission denied). Mount a volume" in ended.event("stopped")["reason"]
    assert "traceback" not in ended.event("stopped")


@pytest.mark.parametrize("most", ["8", "12", "20"])  # with fewer, Docker itself may fail to start the container
def test_a_child_that_may_not_have_enough_processes_says_so(most: str, children: Children) -> None:
    names = children.plan(16)
    ended = children.run(pids_limit=most)
    assert ended.code == ExitCode.PERMANENT, ended
    assert "limit on processes" in ended.event("stopped")["reason"]
    assert "traceback" not in ended.event("stopped")
    assert sorted(children.listing(layout.INPUT)) == sorted(names)


def test_every_line_of_a_terminal_is_an_event(children: Children) -> None:
    children.plan(FEW)
    ended = children.run(tty="true")
    assert ended.code == ExitCode.DONE, ended
    assert {event["event"] for event in ended.events} == {"started", "file", "done"}


@pytest.mark.parametrize(
    ("python", "modules", "at_least"),
    [
        ("python", "transcriber.worker, transcriber.audio, transcriber.pieces", 300),
        ("/opt/engine-environments/deepspeech-batched/bin/python", "engine_protocol, onnxruntime, ds_ctcdecoder", 100),
    ],
)
def test_a_container_has_the_bytecode_of_all_that_it_imports(
    docker: Docker, image: str, python: str, modules: str, at_least: int
) -> None:
    options = ["--rm", "--read-only", "--env=PYTHONPATH=/opt:/opt/engines"]
    done = docker.run("run", *options, image, python, "-v", "-c", f"import {modules}")
    compiled = [line for line in done.stderr.splitlines() if line.startswith("# code object from '")]
    assert not [line for line in compiled if not line.endswith(".pyc'")]
    assert done.stderr.count(".pyc matches") > at_least


def test_the_demo_runs_in_containers_and_leaves_none(docker: Docker, image: str) -> None:
    done = subprocess.run(
        ["make", "demo", f"DOCKER={image}"],
        cwd=PROJECT,
        env=docker.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 transcribed; 64 seconds of audio, 2 children." in done.stdout
    assert names_of_containers(docker) == []


def test_the_demo_of_an_image_that_is_not_there_ends_with_dockers_words(docker: Docker) -> None:
    done = subprocess.run(
        ["make", "demo", "DOCKER=no-such-image"],
        cwd=PROJECT,
        env=docker.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "no such image" in done.stderr.lower()
    assert "local AWS" not in done.stdout


def test_a_container_whose_command_line_was_killed_can_be_removed(
    docker: Docker, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in docker.environment.items():
        monkeypatch.setenv(name, value)
    runtime = DockerContainer(image)
    arguments, environment = runtime.command("", ["sh", "-c", "echo started; sleep 1000"], {})
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"started\n"
        process.kill()
    assert len(names_of_containers(docker)) == 1
    runtime.remove(arguments)
    assert names_of_containers(docker) == []


def names_of_containers(docker: Docker) -> list[str]:
    """Of the local Batch's containers, whether they run or not."""
    shown = docker.run("ps", "--all", "--filter", "name=transcription-", "--format", "{{.Names}}").stdout
    return shown.split()
