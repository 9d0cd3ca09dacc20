"""`make airflow`: the scheduler, the triggerer and the UI's API on the local AWS. The tests act like a user."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from runs_on_mwaa import MwaaRun
from start_run import newest_report

from tests.airflow_ui import DEADLINE, PROJECT, Running, running_airflow, wait_for

RECORDING = PROJECT / "tests" / "recordings" / "vm-leavemsg.wav"
TEXT = "press five to leave a message"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with running_airflow("tests-ui", assembly="build/on_upload") as airflow:
        yield airflow


def trigger(running: Running, conf: dict[str, Any]) -> bool:
    """Trigger a run. Return False if SQLite is locked."""
    try:
        running.request_json("/api/v2/dags/transcription/dagRuns", {"logical_date": None, "conf": conf})
    except urllib.error.HTTPError as error:
        if error.code != 500:
            raise
        return False
    return True


def report_of(running: Running, prefix: str, number: int) -> Any:
    """The report with this number under the prefix, in order of writing, and its entries.

    None if it does not exist yet.
    """
    listed = running.s3.list_objects_v2(Bucket=running.bucket, Prefix=prefix).get("Contents", ())
    keys = [item["Key"] for item in sorted(listed, key=lambda item: item["LastModified"])]
    reports = [key for key in keys if key.endswith("/report.json")]
    if len(reports) <= number:
        return None
    entries = reports[number].replace("report.json", "entries.jsonl")
    bodies = [
        running.s3.get_object(Bucket=running.bucket, Key=key)["Body"].read() for key in (reports[number], entries)
    ]
    return json.loads(bodies[0]), [json.loads(line) for line in bodies[1].splitlines()]


def backfill(running: Running) -> bool:
    """Create a backfill. Return False if the previous one has not ended or SQLite is locked."""
    subcommand = ["backfill", "create", "--dag-id", "transcription", "--reprocess-behavior", "completed"]
    days = ["--from-date", "2026-03-02", "--to-date", "2026-03-03"]
    conf = ["--dag-run-conf", json.dumps({"model": "asterisk-en-pbmm"})]
    command = [sys.executable, "-m", "airflow", *subcommand, *days, *conf]
    done = subprocess.run(command, env=running.variables, capture_output=True, text=True)
    output = done.stdout + done.stderr
    assert not done.returncode or "AlreadyRunningBackfill" in output or "database is locked" in output, output
    return not done.returncode


def test_an_upload_starts_a_run_when_nothing_more_has_come_for_the_quiet_time(running: Running) -> None:
    wait_for(running.is_idle)
    running.s3.upload_file(str(RECORDING), running.bucket, "input/at once.wav")
    wait_for(lambda: any(key.endswith("report.json") for key in running.keys("runs/asset_triggered")))
    text = running.s3.get_object(Bucket=running.bucket, Key="output/at once")["Body"].read().decode()
    assert text.strip() == TEXT
    assert running.keys("processed/") == ["processed/at once.wav"]


def test_a_run_triggered_through_the_uis_api_has_its_params(running: Running) -> None:
    wait_for(running.is_idle)
    wait_for(lambda: trigger(running, {"output_formats": ["srt"], "again": True}))
    wait_for(lambda: any(key.endswith("report.json") for key in running.keys("runs/manual")))
    assert running.keys("output/") == ["output/at once", "output/at once.json", "output/at once.srt"]


class MwaaApi:
    """Amazon MWAA's InvokeRestApi, which passes a request on to Airflow's REST API. Here it is this Airflow's.

    https://docs.aws.amazon.com/mwaa/latest/API/API_InvokeRestApi.html
    """

    def __init__(self, running: Running) -> None:
        self._running = running

    def invoke_rest_api(
        self, *, Name: str, Path: str, Method: str, Body: Any = None, QueryParameters: Any = None
    ) -> Any:
        assert Name == "transcription"
        assert Method == ("GET" if Body is None else "POST")
        query = f"?{urllib.parse.urlencode(QueryParameters)}" if QueryParameters else ""
        for _ in range(DEADLINE):
            try:
                return {"RestApiResponse": self._running.request_json(f"/api/v2{Path}{query}", Body)}
            except urllib.error.HTTPError as error:
                if error.code != 500:  # SQLite is locked
                    raise
                time.sleep(1)
        raise AssertionError("SQLite stays locked")


def test_make_run_starts_and_follows_a_run_on_amazon_mwaa(running: Running) -> None:
    wait_for(running.is_idle)
    running.s3.upload_file(str(RECORDING), running.bucket, "input/mwaa/a.wav")
    said: list[str] = []
    outputs = {"AirflowEnvironmentName": "transcription", "AirflowUrl": running.url}
    run = MwaaRun(lambda _: MwaaApi(running), outputs, said.append, poll_seconds=1)
    run_id = run.start({"prefix": "mwaa/", "output_formats": ["vtt"]})
    assert run.follow() is True
    assert running.keys("output/mwaa/") == ["output/mwaa/a", "output/mwaa/a.vtt"]
    for text in ("1 recording with about", "Submitted the Batch job", "Report: s3://"):
        assert any(text in message for message in said), said
    assert len(said) == len(set(said)), "no message comes twice"
    found = newest_report(running.s3, running.bucket, run_id)
    assert found is not None
    assert found[0]["totals"]["files"]["transcribed"] == 1
    dry = MwaaRun(lambda _: MwaaApi(running), outputs, said.append, poll_seconds=1)
    dry.start({"prefix": "mwaa/", "again": True, "dry_run": True})
    assert dry.follow() is True
    assert any("A dry run, which submits nothing. 1 recording" in message for message in said)


def test_the_form_rejects_params_out_of_range(running: Running) -> None:
    with pytest.raises(urllib.error.HTTPError) as error:
        wait_for(lambda: trigger(running, {"max_instances": 0}))
    assert error.value.code == 400


def test_a_backfill_transcribes_the_uploads_of_its_interval_again_in_place(running: Running) -> None:
    s3, bucket = running.s3, running.bucket
    for name, uploaded in (("in", "2026-03-02T12:00:00+00:00"), ("out", "2026-03-03T12:00:00+00:00")):
        s3.put_object(
            Bucket=bucket,
            Key=f"processed/{name}.wav",
            Body=RECORDING.read_bytes(),
            Metadata={"uploaded": uploaded},
        )
    own = {"recording": "in.wav", "source-etag": "x", "uploaded": "2026-03-02T12:00:00+00:00"}
    s3.put_object(Bucket=bucket, Key="output/in", Body=b"the older transcript", Metadata=own)
    replaced = []
    for repeated in range(2):  # a backfill can be repeated
        wait_for(partial(backfill, running))
        report, entries = wait_for(partial(report_of, running, "runs/backfill__2026-03-03", repeated))
        done = [(file["source_key"], file["state"]) for file in entries]
        assert done == [("processed/in.wav", "transcribed")]
        assert report["totals"]["made_by"][0]["model"].startswith("asterisk-en-pbmm ")
        replaced.append((report["totals"]["replaced_transcripts"], entries[0].get("replaces")))
    text = s3.get_object(Bucket=bucket, Key="output/in")["Body"].read().decode()
    assert text.strip() == TEXT
    assert "output/out" not in running.keys("output/")
    assert {"processed/in.wav", "processed/out.wav"} <= set(running.keys("processed/"))
    (count, earlier), again = replaced
    assert count == 1
    assert again == (count, earlier), "a repeated run reports the same replaced transcript"
    older = s3.get_object(Bucket=bucket, Key="output/in", VersionId=earlier)
    assert older["Body"].read() == b"the older transcript"
