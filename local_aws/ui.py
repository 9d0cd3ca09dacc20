"""`make airflow`: runs Airflow with its UI until Ctrl-C, on the local AWS or on a deployed stack."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from local_aws import airflow, demo, deployment, server
from local_aws.containers import PROJECT, Runtime
from local_aws.deployed_stack import NoStackError, deployed_options

_START_SECONDS = 180
_STOP_SECONDS = 20
_COMPONENTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


def run(
    runtime: Runtime,
    cloud_assembly: Path,
    *,
    home: Path,
    aws_port: int,
    ui_port: int,
    users: str = "",
    audio: Path | None = None,
) -> int:
    """Start the local AWS and Airflow, print how to use them, and stop both when the user presses Ctrl-C.

    Args:
        runtime: Converts the containers of Batch jobs to command lines.
        cloud_assembly: The output folder of the CDK app's synthesis.
        home: Airflow's home folder. Its database is kept for the next start; the bucket is not kept.
        aws_port: Port of the local AWS on 127.0.0.1.
        ui_port: Port of Airflow's UI on 127.0.0.1.
        users: As `ui_variables`.
        audio: Folder of recordings for a first run, so that there is something to look at; None for no such run.

    Returns:
        the exit code: 0 after Ctrl-C, else 1.
    """
    if not _are_free({"AWS_PORT": aws_port, "UI_PORT": ui_port}):
        return 1
    try:
        with server.running(runtime, port=aws_port) as aws:
            stack = deployment.deploy(aws, cloud_assembly)
            print(f"The local AWS runs at {aws.endpoint}: {stack.resources} resources of the CDK app.", flush=True)
            variables = airflow.environment(aws, stack, home) | ui_variables(ui_port, users)

            def begin() -> None:
                if audio:
                    recordings, _ = demo.recordings_in(audio)
                    demo.upload(aws, stack.outputs["BucketName"], recordings)
                    airflow.run(["dags", "trigger", "transcription"], variables)
                airflow.run(["dags", "unpause", "--yes", "transcription"], variables)
                _write_environments(aws, stack, variables, home)
                _explain(aws, stack, home, ui_port, audio)

            return serve(variables, home, ui_port, begin)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


def run_on_cloud(cloud_assembly: Path, *, home: Path, ui_port: int) -> int:
    """Run Airflow with its UI on the deployed stack's bucket and queue until the user presses Ctrl-C.

    It has the rights of the user's AWS credentials. The DAG stays paused, so that nothing starts by itself.

    Args:
        cloud_assembly: The output folder of the CDK app's synthesis, which says the stack's name and region.
        home: Airflow's home folder.
        ui_port: Port of Airflow's UI on 127.0.0.1.

    Returns:
        the exit code: 0 after Ctrl-C, else 1.
    """
    if not _are_free({"UI_PORT": ui_port}):
        return 1
    try:
        options, region = deployed_options(cloud_assembly)
    except NoStackError as error:
        print(error, file=sys.stderr)
        return 1
    variables = {**os.environ, "AWS_DEFAULT_REGION": region}
    variables |= airflow.option_variables(options) | airflow.folder_variables(home) | ui_variables(ui_port)
    try:
        return serve(variables, home, ui_port, lambda: _explain_cloud(options["transcription.bucket"], ui_port))
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


def ui_variables(ui_port: int, users: str = "") -> dict[str, str]:
    """Environment variables of the UI on this port of 127.0.0.1.

    Args:
        ui_port: The port.
        users: Who may sign in and their roles, such as `ann:USER,bob:VIEWER`; Airflow writes their passwords to
            `simple_auth_manager_passwords.json.generated` in its home folder. Empty: everybody is an administrator
            without a password.
    """
    return {
        "AIRFLOW__API__PORT": str(ui_port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{ui_port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{ui_port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": str(not users),
        **({"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users} if users else {}),
    }


def serve(variables: Mapping[str, str], home: Path, ui_port: int, begin: Callable[[], None]) -> int:
    """Run Airflow with its UI until it ends, which is a failure.

    Args:
        variables: Airflow's.
        home: Airflow's home folder.
        ui_port: Port of the UI.
        begin: What to do when Airflow works.

    Returns:
        the exit code 1.
    """
    airflow.migrate(variables)
    with _standalone(variables, home / "standalone.log") as process:
        if not _is_healthy(ui_port, process):
            print(f"Airflow did not start. Its log: {home / 'standalone.log'}", file=sys.stderr)
            return 1
        begin()
        process.wait()
        print(f"Airflow ended. Its log: {home / 'standalone.log'}", file=sys.stderr)
        return 1


def _are_free(ports: Mapping[str, int]) -> bool:
    """Whether the ports are free. Say which is not."""
    for option, port in ports.items():
        if not _is_free(port):
            print(f"Port {port} is taken. Choose another: make airflow {option}={port + 1}", file=sys.stderr)
            return False
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def _standalone(variables: Mapping[str, str], log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `airflow standalone` in a new process group: a signal to one process would not stop its child processes."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            airflow.command(["standalone"]),
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            for stop in (signal.SIGINT, signal.SIGTERM):
                signal.signal(stop, signal.SIG_IGN)
            print("\nStopping …", flush=True)
            _stop_group(process)


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            break
        deadline = monotonic() + _STOP_SECONDS
        while monotonic() < deadline and _group_lives(process):
            sleep(0.2)
    process.wait()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _is_healthy(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait until all of Airflow's components report healthy. False if Airflow ends or the time is up."""
    print("Airflow starts …", flush=True)
    deadline = monotonic() + _START_SECONDS
    while monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5) as answer:
                health = json.load(answer)
            if all((health.get(part) or {}).get("status") == "healthy" for part in _COMPONENTS):
                return True
        except (urllib.error.URLError, OSError, ValueError):
            pass
        sleep(1)
    return False


def _write_environments(
    aws: server.LocalAws, stack: deployment.Stack, variables: Mapping[str, str], home: Path
) -> None:
    """Write the variables for a second terminal: `env` for any command, `env-test` for `airflow tasks test`.

    `env` has all rights, because a user uploads and reads with it. `env-test` has only those of the environment's
    execution role. It selects a separate database, or else the scheduler of the running Airflow would take the test's
    DAG run.
    """
    own = {name: value for name, value in variables.items() if name != "PATH" and os.environ.get(name) != value}
    tests = airflow.home_variables(home / "tasks-test")
    airflow.migrate({**variables, **tests})
    for name, values in (("env", {**own, **aws.environment}), ("env-test", {**own, **tests})):
        lines = [f"export {variable}={shlex.quote(value)}" for variable, value in sorted(values.items())]
        lines.append(f"export BUCKET={shlex.quote(stack.outputs['BucketName'])}")
        lines.append(f'export PATH={shlex.quote(str(PROJECT / ".venv" / "airflow" / "bin"))}:"$PATH"')
        (home / name).write_text("\n".join(lines) + "\n")


def _explain(aws: server.LocalAws, stack: deployment.Stack, home: Path, ui_port: int, audio: Path | None) -> None:
    """Print how to use Airflow and the bucket."""
    first_run = f"a first run has begun, with the recordings of {audio}" if audio else "empty until the first run"
    print(
        f"""
Airflow's UI:  http://127.0.0.1:{ui_port}  (no password; the DAG is `transcription`)
Transcripts:   http://127.0.0.1:{ui_port}/transcripts/  ({first_run})
The bucket:    {stack.outputs["BucketName"]}  at {aws.endpoint}

In a second terminal, in this folder:

  . {shlex.quote(os.path.relpath(home / "env"))}
  aws s3 cp tests/recordings "s3://$BUCKET/input/" --recursive --exclude '*' --include '*.wav'
  airflow dags trigger transcription
  aws s3 ls "s3://$BUCKET/output/"
  make status

Ctrl-C stops everything.""",
        flush=True,
    )


def _explain_cloud(bucket: str, ui_port: int) -> None:
    print(
        f"""
Airflow's UI:  http://127.0.0.1:{ui_port}  (no password; the DAG is `transcription`)
Transcripts:   http://127.0.0.1:{ui_port}/transcripts/
The bucket:    {bucket}  on AWS

The DAG is paused here: the stack starts its own runs. Its history is in the bucket, under runs/.
If you switch the DAG on and trigger it, the run works on that bucket and queue, with your AWS credentials.

Ctrl-C stops everything.""",
        flush=True,
    )
