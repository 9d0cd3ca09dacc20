"""The command line of the local AWS.

`demo` runs the pipeline once. `airflow` runs the local AWS and Airflow's UI until Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from local_aws.containers import PROJECT, DockerContainer, Runtime, WorkerProcess


def main() -> int:
    """Run the command; return its exit code."""
    arguments = _parser().parse_args()
    runtime: Runtime = WorkerProcess()
    if arguments.docker:
        runtime = DockerContainer(arguments.docker)
        problem = runtime.problem()
        if problem:
            print(problem, file=sys.stderr)
            return 1
    if arguments.command == "demo":
        from local_aws import demo

        return demo.run(
            demo.Request(
                audio=arguments.audio,
                out=arguments.out,
                model=arguments.model,
                scorer=arguments.scorer,
                engine=arguments.engine,
                cloud_assembly=arguments.assembly,
            ),
            runtime,
        )
    from local_aws import ui

    if arguments.cloud:
        return ui.run_on_cloud(arguments.assembly, home=arguments.home.resolve(), ui_port=arguments.ui_port)
    return ui.run(
        runtime,
        arguments.assembly,
        home=arguments.home.resolve(),
        aws_port=arguments.aws_port,
        ui_port=arguments.ui_port,
        users=arguments.users,
        audio=arguments.audio,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="local_aws", description=__doc__)
    parser.add_argument("--docker", metavar="TAG", help="run the worker image with this tag in Docker")
    parser.add_argument(
        "--assembly",
        type=_existing,
        default=PROJECT / "build" / "local",
        metavar="FOLDER",
        help="output folder of the CDK app",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="run the pipeline once and print the transcripts")
    demo.add_argument("--audio", type=_existing, default=PROJECT / "tests" / "recordings", help="folder or file")
    demo.add_argument("--out", type=Path, help="folder for a copy of the files under output/")
    demo.add_argument("--model", type=_model, help="a built-in name, or a model's file or folder")
    demo.add_argument("--engine", help="the engine that runs the model, if several can")
    demo.add_argument("--scorer", type=_existing, help="the model's scorer")
    ui = commands.add_parser("airflow", help="keep the local AWS and Airflow's UI running")
    ui.add_argument(
        "--cloud", action="store_true", help="the deployed stack's bucket and queue instead of the local AWS"
    )
    ui.add_argument("--home", type=Path, default=PROJECT / ".local" / "airflow", help="Airflow's home folder")
    ui.add_argument("--aws-port", type=int, default=4566)
    ui.add_argument("--ui-port", type=int, default=8080)
    ui.add_argument("--audio", type=_existing, help="folder of recordings for a first run; default: no first run")
    ui.add_argument("--users", default="", help="who may sign in, such as ann:USER,bob:VIEWER; default: everybody")
    return parser


def _model(text: str) -> str:
    if Path(text).exists() or (PROJECT / "build" / "models" / text).is_dir():
        return text
    raise argparse.ArgumentTypeError(
        f"{text} is no file or folder, and the demo has no such model; it has whisper-tiny.en"
    )


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    for stop in (signal.SIGINT, signal.SIGTERM):  # both signals stop all started processes
        signal.signal(stop, _interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
