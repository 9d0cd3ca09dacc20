"""The whole templates as readable files, so that a review shows every change of the stack.

After an intended change, run `make snapshot`.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.infra.stack_template import Assembly, plain, plain_name

SNAPSHOTS = {"stack": "snapshot.yaml", "on_demand": "snapshot-on-demand.yaml"}

# Hashes of files. They change with every line of code, so the snapshot does not contain them.
VOLATILE = [(re.compile(r"\b[0-9a-f]{64}\b"), "<hash>"), (re.compile(r"-[0-9a-f]{12}(?=\.(zip|txt))"), "-<hash>")]


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _readable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_readable(part) for part in value]
    if isinstance(value, str):
        for pattern, word in VOLATILE:
            value = pattern.sub(word, value)
    return value


def snapshot(stack: Assembly) -> str:
    """The snapshot's text: resources by name with type, dependencies and properties, then the outputs."""
    page: dict[str, Any] = {}
    for name, resource in sorted(stack.resources.items(), key=lambda item: plain_name(item[0])):
        entry = {key: plain(value) for key, value in resource.items() if key not in ("Metadata", "DependsOn")}
        if "DependsOn" in resource:
            entry["DependsOn"] = sorted(plain_name(other) for other in resource["DependsOn"])
        entry.get("Properties", {}).pop("Tags", None)
        assert plain_name(name) not in page
        page[plain_name(name)] = entry
    page["Outputs"] = {name: plain(output["Value"]) for name, output in stack.template["Outputs"].items()}
    return yaml.safe_dump(_readable(page), sort_keys=True, width=120)


@pytest.mark.parametrize(("deployment", "file"), SNAPSHOTS.items())
def test_the_template_equals_the_snapshot(request: pytest.FixtureRequest, deployment: str, file: str) -> None:
    now = snapshot(request.getfixturevalue(deployment))
    path = Path(__file__).parent / file
    if os.environ.get("UPDATE_SNAPSHOT"):
        path.write_text(now)
    assert now == path.read_text(), "The stack changed. If the change is intended, run `make snapshot`."
