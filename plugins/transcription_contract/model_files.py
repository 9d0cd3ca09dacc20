"""The choice of a model and scorer, and the recognition of models by their content.

A DeepSpeech model is a file. A Whisper model is a folder, as CTranslate2's converter writes it. The URL of a folder
ends with a slash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

LEAST_BYTES = 1024
HEAD_BYTES = 4096
TAIL_BYTES = 64 << 10
"""The bytes that `recognise` needs from a file's start and end. The directory of a `.pbmm` is at its end."""

NO_SCORER = "none"

_SCORER_MAGIC = b"mmap lm http://kheafield.com/code"
# A GraphDef's first field is a node, and a node's first fields are its name and its operation:
# https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/graph.proto
_GRAPH = re.compile(rb"\n[\x80-\xff]*[\x00-\x7f]\n[\x01-\x7f][\w./-]+\x12[\x01-\x7f]\w+")


# A model of CTranslate2 starts with its format's version (uint32) and the name of its architecture (uint16, text):
# https://github.com/OpenNMT/CTranslate2/blob/v4.8.1/python/ctranslate2/specs/model_spec.py
_WHISPER = re.compile(rb"[\x01-\x0f]\0\0\0\x0c\0WhisperSpec\0")

ENGLISH = "en"
_ENGLISH_END_OF_TEXT = 50256  # https://github.com/openai/whisper/blob/v20250625/whisper/tokenizer.py

WEIGHTS = "model.bin"
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
FOLDER_FILES = (WEIGHTS, CONFIG, TOKENIZER, *VOCABULARIES, "preprocessor_config.json")
"""The files of a model's folder that count. Others are ignored."""


class ModelKind(Enum):
    """Format of a model."""

    TFLITE = "tflite"
    PBMM = "pbmm"
    PB = "pb"
    WHISPER = "ctranslate2-whisper"

    @property
    def description(self) -> str:
        """What to call such a model in a sentence."""
        return "a Whisper model (CTranslate2)" if self is ModelKind.WHISPER else f"a .{self.value} model"


class FileRole(Enum):
    """The role of a file in a model folder."""

    MODEL = "model"
    SCORER = "scorer"


EXTENSIONS = {
    ".tflite": FileRole.MODEL,
    ".pbmm": FileRole.MODEL,
    ".pb": FileRole.MODEL,
    ".scorer": FileRole.SCORER,
}


class ModelChoice(NamedTuple):
    """The model and scorer that a child transcribes with."""

    model: str | None = None
    """A built-in name or an `s3://` URL, with a slash at its end for a folder. None means the image's model."""
    scorer: str | None = None
    """The same, or `none`. None means the model's scorer; a model in S3 has none."""

    @property
    def has_scorer(self) -> bool:
        """Whether this choice uses a scorer."""
        if self.scorer is None:
            return not is_s3_url(self.model or "")
        return not is_no_scorer(self.scorer)


IMAGE_MODEL = ModelChoice()
"""The model and scorer that the image was built with."""


@dataclass(frozen=True)
class BuiltInModel:
    """What is known of a model that the image has."""

    kind: ModelKind
    size: int
    """Bytes of its weights."""
    language: str | None = None
    """The only language that it knows; None if it has several, or does not say."""

    def to_json(self) -> list[Any]:
        """The model as plain JSON values."""
        return [self.kind.value, self.size, self.language]

    @classmethod
    def of_json(cls, stated: Sequence[Any]) -> BuiltInModel:
        """Read what `to_json` made."""
        kind, size, language = stated
        return cls(ModelKind(kind), int(size), language)


def is_s3_url(name: str) -> bool:
    """Whether a model's name is the URL of an object."""
    return name.startswith("s3://")


def is_no_scorer(name: str) -> bool:
    """Whether a scorer's name means that there is none."""
    return name.lower() == NO_SCORER


def is_folder(name: str) -> bool:
    """Whether a model's name is that of a folder."""
    return name.endswith("/") and not name.endswith("//")


@dataclass(frozen=True)
class S3Place:
    """Bucket and key of an object. The key of a folder ends with a slash."""

    bucket: str
    key: str


def s3_place(url: str) -> S3Place:
    """Split `s3://bucket/key`.

    Raises:
        ValueError: it is not such a URL.
    """
    bucket, _, key = url[len("s3://") :].partition("/")
    if not is_s3_url(url) or not re.fullmatch(r"[A-Za-z0-9._-]+", bucket) or not key:
        raise ValueError(f"{url!r} is not an S3 URL; write s3://bucket/key")
    return S3Place(bucket, key)


def recognise(size: int, head: bytes, tail: bytes) -> ModelKind | FileRole | None:
    """What a file is by its bytes: a kind of model, `FileRole.SCORER`, or None if it is neither.

    Args:
        size: Its length in bytes.
        head: Its first `HEAD_BYTES`, or all of it.
        tail: Its last `TAIL_BYTES`, or all of it.
    """
    if size < LEAST_BYTES:
        return None
    if _WHISPER.match(head):
        return ModelKind.WHISPER
    if head.startswith(_SCORER_MAGIC):
        return FileRole.SCORER
    if head[4:8] == b"TFL3":
        return ModelKind.TFLITE
    # The directory of a .pbmm names its packages. The file's last eight bytes contain the directory's start.
    if int.from_bytes(tail[-8:], "little") < size and b"memmapped_package://" in tail:
        return ModelKind.PBMM
    if _GRAPH.match(head):
        return ModelKind.PB
    return None


def fault(role: FileRole, size: int, head: bytes, tail: bytes) -> str:
    """Why a file cannot be the model, or the scorer; empty if it can. Arguments as for `recognise`."""
    if size < LEAST_BYTES:
        return f"it has only {size} bytes"
    found = recognise(size, head, tail)
    if role is FileRole.SCORER:
        return "" if found is FileRole.SCORER else "its content is not a scorer's (KenLM binary with dictionary)"
    if found is FileRole.SCORER:
        return "it is a scorer"
    if found is ModelKind.WHISPER:
        return f"it is the {WEIGHTS} of a Whisper model: name its folder, with a slash at the end"
    return "" if found else "its content is not that of a .tflite, .pbmm or .pb"


def folder_fault(files: Mapping[str, bytes], size: int) -> str:
    """Why a folder is not a Whisper model of CTranslate2; empty if it is one.

    Args:
        files: The first `HEAD_BYTES` of each of `FOLDER_FILES` that it has; all of its `CONFIG`.
        size: Length of its `WEIGHTS` in bytes.
    """
    absent = [name for name in (WEIGHTS, CONFIG) if name not in files]
    if not any(name in files for name in (TOKENIZER, *VOCABULARIES)):
        absent.append(f"{VOCABULARIES[0]} or {TOKENIZER}")
    if absent:
        return f"it has no {' and no '.join(absent)}"
    if recognise(size, files[WEIGHTS], b"") is not ModelKind.WHISPER:
        return f"its {WEIGHTS} is not that of a Whisper model of CTranslate2"
    try:
        config = json.loads(files[CONFIG])
    except ValueError:
        return f"its {CONFIG} is not JSON"
    is_whisper = isinstance(config, dict) and "suppress_ids" in config
    return "" if is_whisper else f"its {CONFIG} is not that of a Whisper model"


def only_language(config: bytes) -> str | None:
    """The code of English if the `CONFIG` is that of an English Whisper model, whose tokens have other numbers.

    Args:
        config: All of it, as `folder_fault` accepts it.
    """
    return ENGLISH if _ENGLISH_END_OF_TEXT in json.loads(config).get("suppress_ids_begin", ()) else None
