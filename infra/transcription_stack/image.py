"""Finds in the image's sources which models the worker's image will contain."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path


def built_in_models(image_directory: Path, build_args: Mapping[str, str]) -> list[str]:
    """Names of the models in models.toml whose files are in the image's folder or are downloaded by its build.

    Args:
        image_directory: The folder with the Dockerfile.
        build_args: Build arguments of the image. MODEL is the name of the model that the build downloads.

    Raises:
        ValueError: the Dockerfile has no default for MODEL.
    """
    entries = tomllib.loads((image_directory / "transcriber" / "models.toml").read_text("utf-8"))
    fetched = build_args.get("MODEL") or _default_model(image_directory)

    def files(name: str) -> set[str]:
        return {f"{entries[name]['folder']}/{entries[name][what]['file']}" for what in ("model", "scorer")}

    there = {path for name in entries for path in files(name) if (image_directory / "models" / path).is_file()}
    there |= files(fetched) if fetched in entries else set()
    return [name for name in entries if files(name) <= there]


def _default_model(image_directory: Path) -> str:
    dockerfile = (image_directory / "Dockerfile").read_text("utf-8")
    found = re.search(r"^ARG MODEL=(\S+)$", dockerfile, re.MULTILINE)
    if found is None:
        raise ValueError("worker_image/Dockerfile has no default for ARG MODEL.")
    return found[1]
