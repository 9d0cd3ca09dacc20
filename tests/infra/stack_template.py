"""Reads a synthesised template: resources by type, and intrinsic functions as readable text."""

import json
import re
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]

_HASH = re.compile(r"[0-9A-F]{8}$")


def plain_name(logical_id: str) -> str:
    """A logical id without the CDK's hash at its end."""
    return _HASH.sub("", logical_id)


def plain(value: Any) -> Any:
    """A value of the template with its intrinsic functions as text, such as `<StorageAudio.Arn>/input/*`."""
    if isinstance(value, list):
        return [plain(part) for part in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(function, argument)] = value.items()
        if function == "Ref":
            return f"<{plain_name(argument)}>"
        if function == "Fn::GetAtt":
            return f"<{plain_name(argument[0])}.{argument[1]}>"
        if function == "Fn::Join":
            return argument[0].join(str(plain(part)) for part in argument[1])
        if function == "Fn::Sub" and isinstance(argument, str):
            return re.sub(r"\$\{([^}]+)\}", r"<\1>", argument)
        if function == "Fn::Select":
            return f"{plain(argument[1])}[{argument[0]}]"
        if function == "Fn::GetAZs":
            return "<zones>"
    return {key: plain(part) for key, part in value.items()}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class Assembly:
    """The output of one synthesis: the template and its assets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        [self.template_file] = folder.glob("*.template.json")
        self.template: dict[str, Any] = json.loads(self.template_file.read_text())
        self.resources: dict[str, Any] = self.template["Resources"]

    def all(self, kind: str) -> dict[str, Any]:
        """The properties of every resource of a type, as readable text, by plain name."""
        return {
            plain_name(name): plain(resource.get("Properties", {}))
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def one(self, kind: str) -> Any:
        """The properties of the only resource of a type."""
        [properties] = self.all(kind).values()
        return properties

    def resource(self, name: str) -> Any:
        """A whole resource, as readable text, by its plain name."""
        [found] = [plain(value) for key, value in self.resources.items() if plain_name(key) == name]
        return found

    def statements(self, role: str) -> list[dict[str, Any]]:
        """All statements of a role's policies, as readable text."""
        found: list[dict[str, Any]] = []
        for policy in self.all("AWS::IAM::Policy").values():
            if f"<{role}>" in policy["Roles"]:
                found += policy["PolicyDocument"]["Statement"]
        for policy in self.all("AWS::IAM::Role")[role].get("Policies", []):
            found += policy["PolicyDocument"]["Statement"]
        return found

    def environment(self) -> Any:
        return self.one("AWS::MWAA::Environment")

    def job_definition(self, container: str = "worker") -> Any:
        """The properties of the job definition with this container."""
        definitions = self.all("AWS::Batch::JobDefinition").values()
        [found] = [item for item in definitions if _task(item)["Containers"][0]["Name"] == container]
        return found

    def task(self, container: str = "worker") -> Any:
        return _task(self.job_definition(container))

    def container(self, container: str = "worker") -> Any:
        [found] = self.task(container)["Containers"]
        return found


def _task(definition: Any) -> Any:
    [task] = definition["EcsProperties"]["TaskProperties"]
    return task
