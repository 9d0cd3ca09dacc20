"""The models that the image can carry, as models.toml lists them.

    python -m transcriber.built_in_models fetch NAME MODELS_DIR [--model-sha256 HEX] [--scorer-sha256 HEX]

downloads a model (the image's build does that) and accepts only files with the right checksum.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .failures import ConfigError
from .model_file import BLOCK, File, md5, sha256, sha256_of_folder


@dataclass(frozen=True)
class BuiltInModel:
    """A model of the image, and its scorer if it has one."""

    model: File
    scorer: File | None
    language: str | None
    """BCP 47; None if it has several."""


def entries() -> dict[str, Any]:
    """The entries of models.toml by name."""
    return tomllib.loads((Path(__file__).parent / "models.toml").read_text("utf-8"))


def find(name: str, models_dir: Path) -> BuiltInModel | None:
    """The built-in model of this name, or None if models.toml has none.

    Raises:
        ConfigError: the image does not carry its files.
    """
    entry = entries().get(name)
    if entry is None:
        return None
    folder = models_dir / entry["folder"]
    for _, stated in files_of(entry):
        path = folder / stated["file"]
        if not path.is_file():
            raise ConfigError(f"MODEL is {name!r}, but this image does not carry it ({path} is missing)")
    scorer = None
    if "scorer" in entry:
        path = folder / entry["scorer"]["file"]
        scorer = File(path.name, path, _known_sha256(path, entry["scorer"]))
    return BuiltInModel(_model(name, folder, entry["model"]), scorer, entry.get("language"))


def _model(name: str, folder: Path, stated: Mapping[str, Any]) -> File:
    if "files" in stated:
        return File(name, folder, sha256_of_folder({file["file"]: file["sha256"] for file in stated["files"]}))
    path = folder / stated["file"]
    return File(name, path, _known_sha256(path, stated))


def files_of(entry: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The files of an entry: "model" or "scorer", and what models.toml states of the file."""
    for role in ("model", "scorer"):
        stated = entry.get(role, {})
        for file in stated.get("files", [stated] if stated else ()):
            yield role, {**file, "url": stated["url"] + file["file"]} if "files" in stated else file


def fetch(name: str, models_dir: Path, checksums: Mapping[str, str | None]) -> None:
    """Download the missing files of a built-in model.

    Where models.toml has no SHA-256 of a file, it is written beside it, so that no container computes it at its start.

    Args:
        checksums: SHA-256 of `model` and `scorer`, where models.toml states none.

    Raises:
        ConfigError: the name is unknown, or a file has another checksum.
    """
    entry = entries().get(name)
    if entry is None:
        raise ConfigError(f"There is no model {name!r} in models.toml; it has {', '.join(entries())}")
    folder = models_dir / entry["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    for role, stated in files_of(entry):
        path = folder / stated["file"]
        if not path.is_file():
            _download(stated["url"], path)
        print(_check(path, role, stated, checksums.get(role)), flush=True)


def _check(path: Path, role: str, stated: Mapping[str, Any], given: str | None) -> str:
    """Check a file by its SHA-256, or by its size and MD5 if the SHA-256 is unknown. Return what was checked.

    Raises:
        ConfigError: it is not the file that was meant, and has been removed.
    """
    found = sha256(path)
    expected = (given or stated.get("sha256") or "").lower()
    if expected:
        is_meant, by = found == expected, f"SHA-256 {found}"
    else:
        is_meant = (path.stat().st_size, md5(path)) == (stated["size"], stated["md5"])
        by = f"size and MD5; to pin it, give the build --{role}-sha256 {found}"
    if not is_meant:
        path.unlink()
        raise ConfigError(f"{path.name} is not the file that was meant: its SHA-256 is {found}. It was removed")
    if "sha256" not in stated:
        _checksum_file(path).write_text(f"{found}  {path.name}\n")
    return f"{path}: right by its {by}"


def _checksum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _known_sha256(path: Path, stated: Mapping[str, str]) -> str:
    """SHA-256 of a built-in file: from models.toml, from the file beside it, or computed now."""
    if "sha256" in stated:
        return stated["sha256"]
    kept = _checksum_file(path)
    return kept.read_text().split()[0] if kept.is_file() else sha256(path)


def _download(url: str, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    print(f"{path}: downloading {url}", flush=True)
    with urllib.request.urlopen(url, timeout=60) as answer, part.open("wb") as file:  # noqa: S310, from models.toml
        shutil.copyfileobj(answer, file, BLOCK)
    part.rename(path)


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m transcriber.built_in_models")
    command = parser.add_subparsers(required=True).add_parser("fetch", help="download a built-in model")
    command.add_argument("name")
    command.add_argument("models_dir", type=Path)
    command.add_argument("--model-sha256")
    command.add_argument("--scorer-sha256")
    given = parser.parse_args(arguments)
    try:
        fetch(given.name, given.models_dir, {"model": given.model_sha256, "scorer": given.scorer_sha256})
    except ConfigError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
