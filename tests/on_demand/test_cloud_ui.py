"""`make airflow CLOUD=stack`: Airflow's UI on this machine, on the bucket and queue of a deployed stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.airflow_ui import free_port, until_ready
from tests.on_demand.conftest import ASSEMBLY, Deployed


def ask(url: str, path: str, body: Any = None, method: str | None = None) -> Any:
    token = json.load(urllib.request.urlopen(f"{url}/auth/token"))["access_token"]
    request = urllib.request.Request(
        f"{url}{path}",
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        method=method,
    )
    return json.load(urllib.request.urlopen(request))


def asked(url: str, path: str, body: Any, method: str | None = None) -> bool:
    """Whether the API took a change. SQLite may be locked."""
    try:
        ask(url, path, body, method)
    except urllib.error.HTTPError as error:
        if error.code != 500:
            raise
        return False
    return True


def test_airflows_ui_runs_the_dag_on_the_deployed_bucket_and_starts_nothing_by_itself(
    deployed: Deployed, tmp_path: Path
) -> None:
    deployed.put("from the ui/a.wav")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    arguments = ["--assembly", str(ASSEMBLY), "airflow", "--cloud", "--home", str(tmp_path / "home"), "--ui-port"]
    process = subprocess.Popen(
        [sys.executable, "-m", "local_aws", *arguments, str(port)],
        env={**os.environ, **deployed.aws.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert deployed.bucket in until_ready(process)
        dag = "/api/v2/dags/transcription"
        assert ask(url, dag)["is_paused"] is True
        assert ask(url, f"{dag}/dagRuns")["dag_runs"] == []
        deployed.wait_for(lambda: asked(url, dag, {"is_paused": False}, "PATCH"))
        run = {"logical_date": None, "conf": {"prefix": "from the ui/"}}
        deployed.wait_for(lambda: asked(url, f"{dag}/dagRuns", run))
        deployed.wait_for(lambda: deployed.keys("output/from the ui/"))
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
