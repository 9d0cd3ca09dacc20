"""Find the model and the scorer: built-in ones by name, local files, or objects in S3.

    python -m transcriber.model_loading fetch NAME MODELS_DIR [--model-sha256 HEX] [--scorer-sha256 HEX]

downloads a built-in model (the image's build does that) and accepts only files with the right checksum.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tomllib
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from transcription_contract import model_files
from transcription_contract.model_files import ModelChoice, ModelKind
from transcription_contract.run_options import OptionError, TranscriptionOptions

from .environment import Environment
from .failures import ConfigError
from .log import log
from .model_file import BLOCK, alphabet_of, md5, model_kind, scorer_fault, sha256


@dataclass(frozen=True)
class File:
    """A model's or scorer's file on this machine."""

    name: str  # the name in the user's setting
    path: Path
    sha256: str


@dataclass(frozen=True)
class Model:
    model: File
    kind: ModelKind
    scorer: File | None
    language: str | None  # None unless the model is built in


class ModelSource(Protocol):
    """Downloads models from s3:// addresses."""

    def fetch_object(self, uri: str, path: Path) -> None: ...


def find_model(environment: Environment, source: ModelSource, scratch: Path) -> Model:
    """Find the model and the scorer that the environment names; download them from S3 if needed.

    Args:
        scratch: folder for downloads.

    Raises:
        ConfigError: a file is missing, damaged or of another kind.
    """
    built_in = _built_in(environment)
    file = built_in.model if built_in else _file("MODEL", environment.model, source, scratch)
    kind = model_kind(file.path)
    return Model(
        file if built_in else _named_by_kind(file, kind, scratch),
        kind,
        _scorer(environment, built_in, source, scratch),
        built_in.language if built_in else None,
    )


@dataclass(frozen=True)
class _BuiltIn:
    model: File
    scorer: File
    language: str


def _built_in(environment: Environment) -> _BuiltIn | None:
    entry = built_in_models().get(environment.model)
    if entry is None:
        return None
    folder = environment.models_dir / entry["folder"]
    files = {}
    for what in ("model", "scorer"):
        path = folder / entry[what]["file"]
        if not path.is_file():
            raise ConfigError(f"MODEL is {environment.model!r}, but this image does not carry it ({path} is missing)")
        files[what] = File(environment.model, path, _known_sha256(path, entry[what]))
    return _BuiltIn(files["model"], replace(files["scorer"], name=files["scorer"].path.name), entry["language"])


def built_in_models() -> dict[str, Any]:
    """The entries of models.toml by name."""
    return tomllib.loads((Path(__file__).parent / "models.toml").read_text("utf-8"))


def _scorer(environment: Environment, built_in: _BuiltIn | None, source: ModelSource, scratch: Path) -> File | None:
    if environment.scorer is None:
        return built_in.scorer if built_in else None
    if model_files.is_no_scorer(environment.scorer):
        return None
    entry = built_in_models().get(environment.scorer)
    if entry is not None:
        return _built_in(replace(environment, model=environment.scorer)).scorer  # type: ignore[union-attr]
    file = _file("SCORER", environment.scorer, source, scratch)
    fault = scorer_fault(file.path)
    if fault:
        raise ConfigError(f"SCORER is {environment.scorer!r}, which cannot be used: {fault}")
    return file


def _file(setting: str, name: str, source: ModelSource, scratch: Path) -> File:
    path = Path(name)
    if model_files.is_s3_url(name):
        path = scratch / setting.lower()
        source.fetch_object(name, path)
    elif not path.is_file():
        known = ", ".join(built_in_models())
        raise ConfigError(f"{setting} is {name!r}; it must be one of {known}, a file or s3://bucket/key")
    return File(name, path, sha256(path))


def _named_by_kind(file: File, kind: ModelKind, scratch: Path) -> File:
    """Give the file the extension of its kind, because DeepSpeech decides by the extension how to load it."""
    path = scratch / f"named.{kind.value}"
    path.symlink_to(file.path.resolve())
    return replace(file, path=path)


def usable_options(options: TranscriptionOptions, model: Model) -> TranscriptionOptions:
    """The options without the hot-words whose letters the model's alphabet lacks.

    Raises:
        ConfigError: an option needs a scorer, and there is no scorer.
    """
    choice = ModelChoice(model.model.name, model.scorer.name if model.scorer else model_files.NO_SCORER)
    try:
        options.check_scorer(choice)
    except OptionError as error:
        raise ConfigError(f"{error}") from error
    alphabet = alphabet_of(model.model.path)
    foreign = sorted(word for word in options.hot_words if alphabet and set(word) - alphabet)
    if foreign:
        log("hot words left out", level="warning", words=foreign, reason="the model's alphabet lacks some letters")
    kept = {word: boost for word, boost in options.hot_words.items() if word not in foreign}
    return replace(options, hot_words=kept)


def fetch(name: str, models_dir: Path, checksums: Mapping[str, str | None]) -> None:
    """Download the missing files of a built-in model.

    Each file's SHA-256 is written beside it, so that no container computes it at its start.

    Args:
        checksums: SHA-256 of `model` and `scorer`, where models.toml states none.

    Raises:
        ConfigError: the name is unknown, or a file has another checksum.
    """
    entry = built_in_models().get(name)
    if entry is None:
        raise ConfigError(f"There is no model {name!r} in models.toml; it has {', '.join(built_in_models())}")
    folder = models_dir / entry["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    for what in ("model", "scorer"):
        path = folder / entry[what]["file"]
        if not path.is_file():
            _download(entry[what]["url"], path)
        print(_check(path, what, entry[what], checksums.get(what)), flush=True)


def _check(path: Path, what: str, stated: Mapping[str, Any], given: str | None) -> str:
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
        by = f"size and MD5; to pin it, give the build --{what}-sha256 {found}"
    if not is_meant:
        path.unlink()
        raise ConfigError(f"{path.name} is not the file that was meant: its SHA-256 is {found}. It was removed")
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
    parser = argparse.ArgumentParser(prog="python -m transcriber.model_loading")
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
