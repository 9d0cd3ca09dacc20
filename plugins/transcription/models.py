"""Which model and scorer hear which recording, and what makes an object one. Pure functions."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from transcription import layout
from transcription.errors import ModelUnusable, SettingError

if TYPE_CHECKING:
    from transcription.manifest import Line

What = Literal["model", "scorer"]

LEAST_BYTES = 1024
HEAD_BYTES = 4096
TAIL_BYTES = 64 << 10
"""What of an object's start and end tells whether it is a model: a `.pbmm` ends with its directory."""

_SCORER_MAGIC = b"mmap lm http://kheafield.com/code"
# A GraphDef's first field is a node, and a node's first fields are its name and its operation:
# https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/graph.proto
_GRAPH = re.compile(rb"\n[\x80-\xff]*[\x00-\x7f]\n[\x01-\x7f][\w./-]+\x12[\x01-\x7f]\w+")


class ModelChoice(NamedTuple):
    """What a child transcribes with."""

    model: str | None
    """A built-in name or an `s3://` URL; None: the image's own."""
    scorer: str | None
    """The same, or `none`; None: the model's own, which a model in S3 does not have."""

    @property
    def has_scorer(self) -> bool:
        if self.scorer is None:
            return not (self.model or "").startswith("s3://")
        return self.scorer.lower() != "none"


IMAGES_OWN = ModelChoice(None, None)


@dataclass(frozen=True, kw_only=True)
class Image:
    """What the worker's job definition says of models."""

    built_in: frozenset[str]
    """Names of the models that the image carries."""
    default: ModelChoice = IMAGES_OWN
    """What the deployment's settings `model` and `scorer` say."""


def of_folders(bucket: str, keys: Iterable[str]) -> dict[str, ModelChoice | ModelUnusable]:
    """The folders of `models/` by name: what is in each, or what is wrong with it.

    A folder holds one model and one scorer at most, told by their extensions; other files, and what lies deeper,
    do not count.
    """
    files: dict[str, dict[What, list[str]]] = defaultdict(lambda: {"model": [], "scorer": []})
    for key in keys:
        name, _, file = key.removeprefix(layout.MODELS).partition("/")
        what = layout.MODEL_EXTENSIONS.get(layout.extension(file))
        if what and name and "/" not in file:
            files[name][what].append(f"s3://{bucket}/{key}")
    return {name: _of_folder(f"s3://{bucket}/{layout.MODELS}{name}/", **found) for name, found in files.items()}


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

    def groups(self, lines: Iterable[Line]) -> tuple[dict[ModelChoice, list[Line]], dict[str, list[Line]]]:
        """The recordings by what hears them, and those of folders whose model cannot be used, by the reason.

        Raises:
            ModelUnusable: the model that the run or the deployment names cannot be used.
        """
        groups: dict[ModelChoice, list[Line]] = defaultdict(list)
        unheard: dict[str, list[Line]] = defaultdict(list)
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


def check_scorers(choices: Iterable[ModelChoice], params: Mapping[str, Any]) -> None:
    """Raises SettingError where one of the run's params weighs a scorer and a model has none."""
    given = [name for name in ("hot_words", "lm_alpha", "lm_beta") if params[name] not in (None, {})]
    for choice in choices:
        if given and not choice.has_scorer:
            raise SettingError(
                f"{given[0]} works only with a scorer, and the model {choice.model or 'of the image'} has none here: "
                f"name one in the param scorer, or leave {given[0]} out."
            )


def fault(what: What, size: int, head: bytes, tail: bytes) -> str:
    """Why an object is no model, or no scorer; empty if it is one.

    Args:
        what: What it should be.
        size: Its bytes.
        head: Its first bytes, `HEAD_BYTES` if it has so many.
        tail: Its last, `TAIL_BYTES` if it has so many.
    """
    if size < LEAST_BYTES:
        return f"it has only {size} bytes"
    is_scorer = head.startswith(_SCORER_MAGIC)
    if what == "scorer":
        return "" if is_scorer else "it is no scorer inside (KenLM binary with dictionary)"
    if is_scorer:
        return "it is a scorer"
    is_model = head[4:8] == b"TFL3" or _is_memory_mapped(size, tail) or _GRAPH.match(head)
    return "" if is_model else "it is neither .tflite nor .pbmm nor .pb inside"


def _is_memory_mapped(size: int, tail: bytes) -> bool:
    """Whether it ends with the directory of a `.pbmm`, which names its packages and starts where its end says."""
    return int.from_bytes(tail[-8:], "little") < size and b"memmapped_package://" in tail
