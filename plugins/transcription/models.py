"""Choose the model and scorer of each recording. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transcription.errors import ModelUnusable
from transcription_contract import layout
from transcription_contract.model_files import EXTENSIONS, IMAGE_MODEL, FileRole, ModelChoice

if TYPE_CHECKING:
    from transcription_contract.manifest import Recording


@dataclass(frozen=True, kw_only=True)
class Image:
    """What the worker's job definition says of models."""

    built_in: frozenset[str]
    """Names of the models that the image carries."""
    default: ModelChoice = IMAGE_MODEL
    """What the deployment's settings `model` and `scorer` say."""


def of_folders(bucket: str, keys: Iterable[str]) -> dict[str, ModelChoice | ModelUnusable]:
    """The folders of `models/` by name: what is in each, or what is wrong with it.

    A folder holds one model and one scorer at most, told by their extensions; other files, and what lies deeper,
    do not count.
    """
    files: dict[str, dict[FileRole, list[str]]] = defaultdict(lambda: {FileRole.MODEL: [], FileRole.SCORER: []})
    for key in keys:
        name, _, file = key.removeprefix(layout.MODELS).partition("/")
        role = EXTENSIONS.get(layout.extension(file))
        if role and name and "/" not in file:
            files[name][role].append(f"s3://{bucket}/{key}")
    return {
        name: _of_folder(f"s3://{bucket}/{layout.model_folder(name)}", found[FileRole.MODEL], found[FileRole.SCORER])
        for name, found in files.items()
    }


def _of_folder(url: str, model: list[str], scorer: list[str]) -> ModelChoice | ModelUnusable:
    if len(model) != 1:
        return ModelUnusable(f"The folder {url} has {len(model) or 'no'} models, and must have one: {_remedy(model)}.")
    if len(scorer) > 1:
        return ModelUnusable(f"The folder {url} has {len(scorer)} scorers, and may have one: {_remedy(scorer)}.")
    return ModelChoice(model[0], scorer[0] if scorer else None)


def _remedy(urls: list[str]) -> str:
    if not urls:
        return "upload a .tflite, .pbmm or .pb"
    return f"keep one of {', '.join(url.rpartition('/')[2] for url in sorted(urls))}"


class ModelRule:
    """Gives each recording its model.

    The run's params come first, for all recordings. Else the first folder of a recording's name picks the folder of
    `models/` of that name, or the built-in model of that name. Else it is the deployment's default.

    Args:
        param: The run's params `model` and `scorer`.
        image: What the job definition says.
        folders: As `of_folders`.
        check: Raises ModelUnusable for a choice that cannot work.
    """

    def __init__(
        self,
        param: ModelChoice,
        image: Image,
        folders: Mapping[str, ModelChoice | ModelUnusable],
        check: Callable[[ModelChoice], None],
    ) -> None:
        self._param = param
        self._image = image
        self._folders = folders
        self._check = check
        self._found: dict[str, ModelChoice | ModelUnusable] = {}

    def groups(
        self, lines: Iterable[Recording]
    ) -> tuple[dict[ModelChoice, list[Recording]], dict[str, list[Recording]]]:
        """The recordings by what hears them, and those of folders whose model cannot be used, by the reason.

        Raises:
            ModelUnusable: the model that the run or the deployment names cannot be used.
        """
        groups: dict[ModelChoice, list[Recording]] = defaultdict(list)
        unheard: dict[str, list[Recording]] = defaultdict(list)
        for line in lines:
            folder, slash, _ = line.name.partition("/")
            name = folder if slash else ""
            choice = self._found.get(name)
            if choice is None:
                choice = self._found[name] = self._choice(name)
            if isinstance(choice, ModelUnusable):
                unheard[str(choice)].append(line)
            else:
                groups[choice].append(line)
        return dict(groups), dict(unheard)

    def _choice(self, folder: str) -> ModelChoice | ModelUnusable:
        if self._param.model or not (folder in self._folders or folder in self._image.built_in):
            choice = self._param if self._param.model else self._with_params_scorer(self._image.default)
            self._check(choice)
            return choice
        found = self._folders.get(folder, ModelChoice(folder, None))
        if isinstance(found, ModelUnusable):
            return found
        choice = self._with_params_scorer(found)
        try:
            self._check(choice)
        except ModelUnusable as error:
            return error
        return choice

    def _with_params_scorer(self, choice: ModelChoice) -> ModelChoice:
        return choice._replace(scorer=self._param.scorer) if self._param.scorer else choice
