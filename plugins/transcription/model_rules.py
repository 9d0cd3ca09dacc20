"""Choose the model and scorer of each recording. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from transcription.errors import ModelUnusable
from transcription_contract import layout
from transcription_contract.model_files import (
    EXTENSIONS,
    IMAGE_MODEL,
    WEIGHTS,
    BuiltInModel,
    FileRole,
    ModelChoice,
    is_folder,
)
from transcription_contract.speech_engines import SpeechEngine


@dataclass(frozen=True, kw_only=True)
class Image:
    """What the worker's job definition says of its image."""

    built_in: Mapping[str, BuiltInModel]
    """The image's models by name."""
    engines: tuple[SpeechEngine, ...] = ()
    model: str = ""
    """Name of the built-in model that is used unless a run or the deployment names another."""
    default: ModelChoice = IMAGE_MODEL
    """What the deployment's settings `model` and `scorer` say."""
    revision: str = ""
    """ARN of the job definition with its revision: another image, or another size of the container, has another one."""


def of_folders(bucket: str, keys: Iterable[str]) -> dict[str, ModelChoice | ModelUnusable]:
    """The folders of `models/` by name: the model and scorer of each, or the problem.

    A folder holds at most one model and one scorer, recognised by their extensions. A Whisper model is the folder
    itself or one of its subfolders, recognised by its `model.bin`. Other files and subfolders do not count.
    """
    files: dict[str, dict[FileRole, list[str]]] = defaultdict(lambda: {FileRole.MODEL: [], FileRole.SCORER: []})
    for key in keys:
        name, _, file = key.removeprefix(layout.MODELS).partition("/")
        role = EXTENSIONS.get(layout.extension(file))
        if role and name and "/" not in file:
            files[name][role].append(f"s3://{bucket}/{key}")
        elif name and file.rpartition("/")[2] == WEIGHTS and file.count("/") <= 1:
            files[name][FileRole.MODEL].append(f"s3://{bucket}/{key.removesuffix(WEIGHTS)}")
    return {
        name: _of_folder(f"s3://{bucket}/{layout.model_folder(name)}", found[FileRole.MODEL], found[FileRole.SCORER])
        for name, found in files.items()
    }


def _of_folder(url: str, model: list[str], scorer: list[str]) -> ModelChoice | ModelUnusable:
    if len(model) != 1:
        return ModelUnusable(f"The folder {url} has {len(model) or 'no'} models, and must have one: {_remedy(model)}.")
    if len(scorer) > 1:
        return ModelUnusable(f"The folder {url} has {len(scorer)} scorers, and may have one: {_remedy(scorer)}.")
    if scorer and is_folder(model[0]):
        return ModelUnusable(f"The folder {url} has a scorer, which Whisper does not use: delete {_named(scorer[0])}.")
    return ModelChoice(model[0], scorer[0] if scorer else None)


def _remedy(urls: list[str]) -> str:
    if not urls:
        return "upload a .tflite, .pbmm or .pb, or a folder with a Whisper model"
    return f"keep one of {', '.join(map(_named, sorted(urls)))}"


def _named(url: str) -> str:
    """The last part of a URL, for a message."""
    return url.rstrip("/").rpartition("/")[2] + ("/" if is_folder(url) else "")


@dataclass(frozen=True)
class ModelFacts:
    """What `plan` knows of a model."""

    engine: SpeechEngine | None
    """The engine that runs it; None if only the children may read the model."""
    size: int
    """Bytes of its weights; 0 if unknown."""
    language: str | None = None
    """The only language that it knows; None if it has several, or does not say."""

    def cpu_seconds(self, *, has_scorer: bool) -> float | None:
        """Measured CPU time for a second of audio, or None if nobody measured it."""
        return self.engine.cpu_seconds_of(self.size, has_scorer=has_scorer) if self.engine else None


class ModelRule:
    """Gives each recording its model.

    The run's params come first, for all recordings. Else the first folder of a recording's name picks the folder of
    `models/` of that name, or the built-in model of that name. Else it is the deployment's default.

    Args:
        param: The run's params `model` and `scorer`.
        image: What the job definition says.
        folders: As `of_folders`.
        check: Tells what is known of a model. Raises ModelUnusable for a choice that cannot work.
    """

    def __init__(
        self,
        param: ModelChoice,
        image: Image,
        folders: Mapping[str, ModelChoice | ModelUnusable],
        check: Callable[[ModelChoice], ModelFacts],
    ) -> None:
        self._param = param
        self._image = image
        self._folders = folders
        self._check = check
        self._found: dict[str, ModelChoice | ModelUnusable] = {}
        self.facts: dict[ModelChoice, ModelFacts] = {}
        """What is known of the models that the rule has given."""

    def choice_of(self, name: str) -> ModelChoice | ModelUnusable:
        """The model and scorer of a recording, or the reason why the model of its folder cannot be used.

        Args:
            name: The recording's, see `layout.recording_name`.

        Raises:
            ModelUnusable: the model that the run or the deployment names cannot be used.
        """
        first, slash, _ = name.partition("/")
        folder = first if slash else ""
        choice = self._found.get(folder)
        if choice is None:
            choice = self._found[folder] = self._choice(folder)
        return choice

    def _choice(self, folder: str) -> ModelChoice | ModelUnusable:
        if self._param.model or not (folder in self._folders or folder in self._image.built_in):
            choice = self._param if self._param.model else self._with_params_scorer(self._image.default)
            self.facts[choice] = self._check(choice)
            return choice
        found = self._folders.get(folder, ModelChoice(folder, None))
        if isinstance(found, ModelUnusable):
            return found
        choice = self._with_params_scorer(found)
        try:
            self.facts[choice] = self._check(choice)
        except ModelUnusable as error:
            return error
        return choice

    def _with_params_scorer(self, choice: ModelChoice) -> ModelChoice:
        return choice._replace(scorer=self._param.scorer) if self._param.scorer else choice
