"""Finds in the image's sources which models and engines the worker's image will contain."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transcription_contract.model_files import WEIGHTS, BuiltInModel, ModelKind
from transcription_contract.speech_engines import EngineError, SpeechEngine, choose_engine


@dataclass(frozen=True)
class ImageContent:
    """What `plan` has to know of the image."""

    model: str
    """The name that the build argument MODEL has."""
    models: Mapping[str, BuiltInModel]
    """By name."""
    engines: Mapping[str, SpeechEngine]
    """By name."""


def content_of(image_directory: Path, build_args: Mapping[str, str]) -> ImageContent:
    """Read what the image will contain.

    Args:
        image_directory: The folder with the Dockerfile.
        build_args: Build arguments of the image; the Dockerfile has the defaults.

    Raises:
        ValueError: a build argument names something that does not exist, or no engine of ENGINES runs a model.
    """
    entries = tomllib.loads((image_directory / "transcriber" / "models.toml").read_text("utf-8"))
    model = _argument("MODEL", image_directory, build_args)
    fetched = [model, *build_args.get("MORE_MODELS", "").split()]
    for name in fetched:
        if name not in entries:
            raise ValueError(f"MODEL and MORE_MODELS have {name!r}; it must be one of {', '.join(entries)}.")
    names = _argument("ENGINES", image_directory, build_args).split()
    engines = {name: _engine(image_directory, name) for name in names}
    for name in fetched:
        try:
            choose_engine(engines.values(), ModelKind(entries[name]["kind"]), None)
        except EngineError as error:
            raise ValueError(f"The image would have the model {name!r}. {error}.") from error
    folder = image_directory / "models"
    there = {name: entry for name, entry in entries.items() if name in fetched or _is_in(folder, entry)}
    models = {
        name: BuiltInModel(ModelKind(entry["kind"]), _size(folder, entry), entry.get("language"))
        for name, entry in there.items()
    }
    return ImageContent(model, models, engines)


def _engine(image_directory: Path, name: str) -> SpeechEngine:
    path = image_directory / "engines" / name / "engine.toml"
    if not path.is_file():
        raise ValueError(f"ENGINES has {name}, but there is no engines/{name}/engine.toml.")
    return SpeechEngine.of_toml(name, path.read_text("utf-8"))


def _argument(name: str, image_directory: Path, build_args: Mapping[str, str]) -> str:
    """A build argument, or its default in the Dockerfile."""
    dockerfile = (image_directory / "Dockerfile").read_text("utf-8")
    found = re.search(rf'^ARG {name}="?([^"\n]+)"?$', dockerfile, re.MULTILINE)
    if found is None:
        raise ValueError(f"worker_image/Dockerfile has no default for ARG {name}.")
    return build_args.get(name) or found[1]


def _files(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The files of a model and its scorer."""
    for role in ("model", "scorer"):
        stated = entry.get(role, {})
        yield from stated.get("files", [stated] if stated else ())


def _is_in(folder: Path, entry: Mapping[str, Any]) -> bool:
    return all((folder / entry["folder"] / stated["file"]).is_file() for stated in _files(entry))


def _size(folder: Path, entry: Mapping[str, Any]) -> int:
    """Bytes of the model's weights: as models.toml says, or those of the file."""
    files = list(_files(entry))
    weights = next((stated for stated in files if stated["file"] == WEIGHTS), files[0])
    return int(weights.get("size") or (folder / entry["folder"] / weights["file"]).stat().st_size)
