"""The whole template as a page that a reviewer can read: any change of the stack shows in its diff.

After a wanted change: UPDATE_SNAPSHOT=1 .venv/airflow/bin/python -m pytest tests/infra/test_stack_snapshot.py
"""

import os
import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.infra.stack_template import Assembly, plain, plain_name

SNAPSHOT = Path(__file__).parent / "snapshot.yaml"

# Hashes of files, which change with every line of code and are nobody's concern here.
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
    """Resources by name with type, dependencies and properties, then the outputs."""
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


def test_the_template_is_as_reviewed(stack: Assembly) -> None:
    now = snapshot(stack)
    if os.environ.get("UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(now)
    assert now == SNAPSHOT.read_text(), f"The stack changed. If that is wanted:\n{__doc__}"
