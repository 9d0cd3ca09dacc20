"""Find the model and the scorer: built-in ones by name, local files or folders, or those in S3."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from transcription_contract import model_files
from transcription_contract.model_files import ModelChoice, ModelKind
from transcription_contract.run_options import TranscriptionOptions

from . import built_in_models
from .built_in_models import BuiltInModel
from .environment import Environment
from .failures import ConfigError
from .log import log
from .model_file import File, alphabet_of, model_kind, scorer_fault, sha256, sha256_of_folder


@dataclass(frozen=True)
class Model:
    model: File
    kind: ModelKind
    scorer: File | None
    language: str | None  # the only one that it knows; None if it has several, or does not say

    @property
    def choice(self) -> ModelChoice:
        """The model and scorer by their names."""
        return ModelChoice(self.model.name, self.scorer.name if self.scorer else model_files.NO_SCORER)


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
    built_in = built_in_models.find(environment.model, environment.models_dir)
    file = built_in.model if built_in else _model(environment.model, source, scratch)
    kind = model_kind(file.path)
    language = built_in.language if built_in else None
    if kind is ModelKind.WHISPER:
        language = model_files.only_language((file.path / model_files.CONFIG).read_bytes())
    return Model(
        file if built_in or kind is ModelKind.WHISPER else _named_by_kind(file, kind, scratch),
        kind,
        _scorer(environment, built_in, source, scratch),
        language,
    )


def _model(name: str, source: ModelSource, scratch: Path) -> File:
    path = Path(name)
    if model_files.is_s3_url(name) and model_files.is_folder(name):
        path = scratch / "model"
        _fetch_folder(name, source, path)
    if path.is_dir():
        there = [file for file in model_files.FOLDER_FILES if (path / file).is_file()]
        return File(name, path, sha256_of_folder({file: sha256(path / file) for file in there}))
    return _file("MODEL", name, source, scratch)


def _fetch_folder(url: str, source: ModelSource, path: Path) -> None:
    """Download the files of a model's folder. The vocabulary may be in one of several files."""
    path.mkdir()
    needed = (model_files.WEIGHTS, model_files.CONFIG)
    for name in needed:
        source.fetch_object(url + name, path / name)
    for name in sorted({*model_files.FOLDER_FILES} - {*needed}):
        with suppress(ConfigError):  # it is not there
            source.fetch_object(url + name, path / name)


def _scorer(environment: Environment, built_in: BuiltInModel | None, source: ModelSource, scratch: Path) -> File | None:
    if environment.scorer is None:
        return built_in.scorer if built_in else None
    if model_files.is_no_scorer(environment.scorer):
        return None
    other = built_in_models.find(environment.scorer, environment.models_dir)
    if other:
        if other.scorer is None:
            raise ConfigError(f"SCORER is {environment.scorer!r}, and this model has no scorer")
        return other.scorer
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
        known = ", ".join(built_in_models.entries())
        raise ConfigError(f"{setting} is {name!r}; it must be one of {known}, a file or s3://bucket/key")
    return File(name, path, sha256(path))


def _named_by_kind(file: File, kind: ModelKind, scratch: Path) -> File:
    """Give the file the extension of its kind, because DeepSpeech decides by the extension how to load it."""
    path = scratch / f"named.{kind.value}"
    path.symlink_to(file.path.resolve())
    return replace(file, path=path)


def usable_options(options: TranscriptionOptions, model: Model) -> TranscriptionOptions:
    """The options without the hot-words whose letters the model's alphabet lacks."""
    alphabet = frozenset() if model.kind is ModelKind.WHISPER else alphabet_of(model.model.path)
    foreign = sorted(word for word in options.hot_words if alphabet and set(word) - alphabet)
    if foreign:
        log("hot words left out", level="warning", words=foreign, reason="the model's alphabet lacks some letters")
    kept = {word: boost for word, boost in options.hot_words.items() if word not in foreign}
    return replace(options, hot_words=kept)
