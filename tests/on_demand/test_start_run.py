"""`make run` on a stack without Amazon MWAA: the run starts at once, and its messages and report are printed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from run_log import OwnMessages, own_event
from start_run import CannotStartError, params_of

from local_aws.containers import PROJECT
from tests.on_demand.conftest import ASSEMBLY, Deployed


def start_run(deployed: Deployed, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "infra/start_run.py", str(ASSEMBLY), *arguments],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", **deployed.aws.environment, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_by_hand_has_its_params_and_ends_with_its_report(deployed: Deployed) -> None:
    deployed.put("by hand/a.wav")
    deployed.put("elsewhere/b.wav")
    done = start_run(deployed, "--params", json.dumps({"prefix": "by hand/", "output_formats": ["srt"]}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Started the run manual__" in done.stdout
    assert "1 recording with about" in done.stdout
    assert "Submitted the Batch job" in done.stdout
    assert "Transcription done: 1 transcribed" in done.stdout
    assert f"s3://{deployed.bucket}/runs/" in done.stdout
    assert deployed.keys("output/by hand/") == ["output/by hand/a", "output/by hand/a.srt"]
    assert deployed.keys("input/by hand/") == []
    assert deployed.keys("input/elsewhere/") == ["input/elsewhere/b.wav"]


def test_a_dry_run_prints_its_plan_and_transcribes_nothing(deployed: Deployed) -> None:
    deployed.put("dry/a.wav")
    done = start_run(deployed, "--params", '{"prefix": "dry/", "dry_run": true}')
    assert done.returncode == 0, done.stdout + done.stderr
    assert "A dry run, which submits nothing. 1 recording with about" in done.stdout
    assert "'input/dry/a.wav'" in done.stdout
    assert "It has no report" in done.stdout
    assert deployed.keys("input/dry/") == ["input/dry/a.wav"]


def test_a_run_for_uploads_of_a_time_transcribes_them_again_as_a_backfill_does(deployed: Deployed) -> None:
    deployed.put("again/a.wav")
    assert start_run(deployed, "--params", '{"prefix": "again/", "output_formats": []}').returncode == 0
    assert deployed.keys("output/again/") == ["output/again/a"]
    params = '{"prefix": "again/", "output_formats": ["vtt"]}'
    done = start_run(deployed, "--uploaded-from", "2026-01-01T00:00:00Z", "--params", params)
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployed.keys("output/again/") == ["output/again/a", "output/again/a.vtt"]
    other = start_run(deployed, "--uploaded-to", "2026-01-01T00:00:00Z", "--params", params)
    assert "No recording waits" in other.stdout


def test_a_run_that_fails_says_so_and_where_its_log_is(deployed: Deployed) -> None:
    deployed.put("failing/a.wav")
    done = start_run(deployed, "--params", '{"prefix": "failing/", "model": "deepspeech-0.9.3-en"}')
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        "The run failed. Its whole log: log group /transcription/transcription/orchestrator, stream run/" in done.stdout
    )
    assert "Transcription FAILED: 1 missing" in done.stdout


def test_a_stack_that_is_not_deployed_is_named(deployed: Deployed) -> None:
    done = start_run(deployed, AWS_REGION="eu-north-1", AWS_DEFAULT_REGION="eu-north-1")
    assert done.returncode == 1
    assert "Nothing was started. There is no stack Transcription in this account and region." in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prefiks": "calls/"}', "Did you mean 'prefix'?"),
        ('{"beam_width": 0}', "beam_width"),
        ("prefix=calls/", "PARAMS is no JSON"),
        ('["calls/"]', "PARAMS must be a JSON object"),
    ],
)
def test_wrong_params_are_refused_before_anything_starts(text: str, message: str) -> None:
    with pytest.raises(CannotStartError, match=message.replace("?", r"\?")):
        params_of(text, None, None)


def test_params_that_do_not_fit_into_a_containers_arguments_are_refused(deployed: Deployed) -> None:
    words = {f"word{number}": 1.5 for number in range(600)}
    done = start_run(deployed, "--params", json.dumps({"hot_words": words}))
    assert done.returncode == 1
    assert "Nothing was started. The params have" in done.stderr


def test_the_pipelines_own_messages_are_picked_out_of_airflows_log() -> None:
    submit = "[airflow.task.operators.transcription.tasks.submit.SubmitOnce] loc=submit.py:94"
    log = [
        "2026-11-28T12:59:53.753378Z [info     ] Task started   [airflow.api_fastapi] correlation_id=0 loc=t.py:231",
        "2026-11-28T12:59:53.948359Z [info     ] 2 recordings. The largest:",
        "         0.1 MB: 'input/a [b].wav' [transcription.tasks.plan] loc=plan.py:82",
        f"2026-11-28T12:59:54.132972Z [info     ] Running AWS Batch job - x {submit}",
        f"2026-11-28T12:59:54.313913Z [warning  ] Submitted. {submit}",
        "A line of something else",
    ]
    messages = OwnMessages()
    found = [message for line in log if (message := messages.feed(line))]
    assert found == ["2 recordings. The largest:\n         0.1 MB: 'input/a [b].wav'", "Submitted."]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"event": "Planned.", "logger": "transcription.tasks.plan"}, "Planned."),
        ({"event": "Planned.", "logger": "airflow.task.operators.transcription.tasks.wait.ArrayJobSensor"}, "Planned."),
        ({"event": "Task started", "logger": "airflow.sdk"}, None),
        ({"event": "::group::Log message source details"}, None),
        ("a line", None),
    ],
)
def test_of_the_log_that_airflows_api_returns_only_the_pipelines_events_are_shown(event: Any, message: Any) -> None:
    assert own_event(event) == message
