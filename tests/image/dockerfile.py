"""Takes the steps of a Dockerfile without Docker.

A folder stands for a container's root. Each absolute path of a step is taken below that folder, and every stage is
built in the same folder and then moved aside, so that what a step wrote down as a path (a virtual environment's
interpreter, say) is still right when a later stage copies it, as it is in containers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from string import Template

# What a step may name below the root. Any other absolute path is refused, for it would be this machine's.
_INSIDE = re.compile(r"(?<![^\s=\"':])/(?=(?:build|etc|models|opt|tmp|usr|var)\b)")
_OUTSIDE = re.compile(r"(?<![^\s=\"':])/")


@dataclass
class Image:
    """What the last stage left: its root, and how a container of it starts."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: Path = Path("/")
    user: str = "0"
    volumes: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


class StepFailedError(Exception):
    """A RUN step ended with another code than 0; the text is what it said."""


def build(
    context: Path, *, base: Path, folder: Path, arguments: Mapping[str, str], environment: Mapping[str, str]
) -> Image:
    """Build the image of a context's Dockerfile.

    Args:
        context: The folder with Dockerfile and .dockerignore.
        base: What stands for the root of the image that the stages start from.
        folder: Where to build; the image's root is `folder/root`.
        arguments: As `docker build --build-arg`.
        environment: What RUN steps get beside the Dockerfile's own, such as where pip finds packages.

    Raises:
        StepFailedError: a RUN step failed.
        NotImplementedError: the Dockerfile has an instruction or a path that this does not know.
    """
    return _Build(context, base, folder, arguments, environment).run()


class _Build:
    def __init__(
        self, context: Path, base: Path, folder: Path, given: Mapping[str, str], environment: Mapping[str, str]
    ) -> None:
        self._context, self._base, self._folder, self._given = context, base, folder, given
        self._outer = dict(environment)
        self._root = folder / "root"
        self._stage = ""
        self._arguments: dict[str, str] = {}
        self._image = Image(self._root)

    def run(self) -> Image:
        known = {
            "ARG": self._arg, "FROM": self._from, "COPY": self._copy, "RUN": self._run, "ENV": self._env,
            "WORKDIR": self._workdir, "USER": self._user, "VOLUME": self._volume, "CMD": self._cmd,
        }  # fmt: skip
        for name, text in instructions(self._context / "Dockerfile"):
            if name not in known:
                raise NotImplementedError(f"The Dockerfile has {name}: teach it to {__file__}.")
            known[name](text)
        return self._image

    def _variables(self) -> dict[str, str]:
        return {"PATH": f"{self._root}/usr/local/bin:/usr/bin:/bin", **self._arguments, **self._image.environment}

    def _arg(self, text: str) -> None:
        name, _, default = text.partition("=")
        self._arguments[name] = self._given.get(name, default)

    def _from(self, text: str) -> None:
        source, _, name = text.partition(" AS ")
        if self._stage:
            self._root.rename(self._folder / self._stage)
        start = self._folder / source if (self._folder / source).is_dir() else self._base
        shutil.copytree(start, self._root, symlinks=True)
        self._stage = name
        self._arguments = {}
        self._image = Image(self._root)

    def _copy(self, text: str) -> None:
        *sources, target = text.split()
        origin = self._context
        if sources[0].startswith("--from="):
            origin = self._folder / sources.pop(0).removeprefix("--from=")
        to = self._below_root(self._image.workdir / target)
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir():
                ignore = self._ignored if origin == self._context else None
                shutil.copytree(found, to, symlinks=True, ignore=ignore, dirs_exist_ok=True)
            elif origin == self._context and self._ignored(str(found.parent), [found.name]):
                raise StepFailedError(f"COPY {text}: .dockerignore leaves {source} out.")
            else:
                (to if target.endswith("/") else to.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, to)

    def _ignored(self, folder: str, names: list[str]) -> set[str]:
        """The names in a folder of the context that .dockerignore leaves out: the last rule that matches decides."""
        rules = (self._context / ".dockerignore").read_text().split()
        inside = Path(folder).relative_to(self._context)
        left_out: set[str] = set()
        for name in names:
            path = inside / name
            ancestors = [path, *path.parents][:-1]
            for rule in rules:
                pattern = rule.lstrip("!")
                anywhere = pattern.startswith("**/")
                if any(fnmatch(p.name if anywhere else str(p), pattern.removeprefix("**/")) for p in ancestors):
                    left_out = left_out - {name} if rule.startswith("!") else left_out | {name}
        return left_out

    def _run(self, text: str) -> None:
        script = _INSIDE.sub(f"{self._root}/", text)
        if _OUTSIDE.search(script.replace(f"{self._root}/", "")):
            raise NotImplementedError(f"RUN {text} names a path that {__file__} does not know to be the image's.")
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=self._below_root(self._image.workdir),
            env={**self._outer, **self._variables()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StepFailedError(f"RUN {text}: {done.stdout}{done.stderr}")

    def _env(self, text: str) -> None:
        for pair in text.split():
            name, _, value = pair.partition("=")
            if name == "PATH":
                value = value.replace("$PATH", f"{self._root}/usr/local/bin")  # no program of this machine
            value = Template(value).substitute(self._variables())
            self._image.environment[name] = _INSIDE.sub(f"{self._root}/", value)

    def _workdir(self, text: str) -> None:
        self._image.workdir = Path(text)
        self._below_root(Path(text)).mkdir(parents=True, exist_ok=True)

    def _user(self, text: str) -> None:
        self._image.user = text

    def _volume(self, text: str) -> None:
        self._image.volumes = json.loads(text)

    def _cmd(self, text: str) -> None:
        self._image.command = json.loads(text)

    def _below_root(self, path: Path) -> Path:
        return self._root / path.relative_to("/")


def instructions(dockerfile: Path) -> Iterator[tuple[str, str]]:
    """Each instruction's name and text, continued lines joined, comments left out."""
    lines = (line for line in dockerfile.read_text().splitlines() if line.strip() and not line.startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, text = line.partition(" ")
        yield name, " ".join(text.split())
