"""Which model and scorer transcribe: built-in ones by name, local files, or objects in S3.

    python -m transcriber.models fetch NAME MODELS_DIR [--model-sha256 HEX] [--scorer-sha256 HEX]

downloads a built-in model (the image's build does that) and accepts only files with the right checksum.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import re
import struct
import sys
import urllib.request
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Optional, Protocol

import tomli

from .errors import ConfigError
from .settings import Settings

SCORER_MAGIC = b"mmap lm http://kheafield.com/code"
BLOCK = 1 << 20


class Kind(Enum):
    """A model file's format, told by its content."""

    TFLITE = "tflite"
    PBMM = "pbmm"
    PB = "pb"


@dataclass(frozen=True)
class File:
    """A model's or scorer's file on this machine."""

    name: str  # how the user named it
    path: Path
    sha256: str


@dataclass(frozen=True)
class Model:
    model: File
    kind: Kind
    scorer: Optional[File]
    language: Optional[str]  # known of built-in models only


class ModelSource(Protocol):
    """Where s3:// models come from."""

    def fetch_object(self, uri: str, path: Path) -> None: ...


def find_model(settings: Settings, source: ModelSource, scratch: Path) -> Model:
    """Find, and where needed fetch, the model and scorer that the settings ask for.

    Args:
        scratch: folder for what comes from S3.

    Raises:
        ConfigError: a file is missing or not what it should be, or the hot-words cannot work.
    """
    built_in = _built_in(settings)
    file = built_in.model if built_in else _file("MODEL", settings.model, source, scratch)
    model = Model(file, model_kind(file.path), _scorer(settings, built_in, source, scratch),
                  built_in.language if built_in else None)
    _check_decoding(settings, model)
    return model


@dataclass(frozen=True)
class _BuiltIn:
    model: File
    scorer: File
    language: str


def _built_in(settings: Settings) -> Optional[_BuiltIn]:
    entry = built_in_models().get(settings.model)
    if entry is None:
        return None
    folder = settings.models_dir / entry["folder"]
    files = {}
    for what in ("model", "scorer"):
        path = folder / entry[what]["file"]
        if not path.is_file():
            raise ConfigError(f"MODEL is {settings.model!r}, but this image does not carry it ({path} is missing)")
        files[what] = File(settings.model, path, entry[what].get("sha256") or _sha256(path))
    return _BuiltIn(files["model"], replace(files["scorer"], name=files["scorer"].path.name), entry["language"])


def built_in_models() -> Dict[str, Any]:
    """The entries of models.toml by name."""
    return tomli.loads((Path(__file__).parent / "models.toml").read_text("utf-8"))


def _scorer(
    settings: Settings, built_in: Optional[_BuiltIn], source: ModelSource, scratch: Path
) -> Optional[File]:
    if settings.scorer is None:
        return built_in.scorer if built_in else None
    if settings.scorer.lower() == "none":
        return None
    entry = built_in_models().get(settings.scorer)
    if entry is not None:
        return _built_in(replace(settings, model=settings.scorer)).scorer  # type: ignore[union-attr]
    file = _file("SCORER", settings.scorer, source, scratch)
    with file.path.open("rb") as content:
        if not content.read(len(SCORER_MAGIC)) == SCORER_MAGIC:
            raise ConfigError(f"SCORER is {settings.scorer!r}, which is no scorer (KenLM binary with dictionary)")
    return file


def _file(setting: str, name: str, source: ModelSource, scratch: Path) -> File:
    path = Path(name)
    if name.startswith("s3://"):
        path = scratch / setting.lower()
        source.fetch_object(name, path)
    elif not path.is_file():
        known = ", ".join(built_in_models())
        raise ConfigError(f"{setting} is {name!r}; it must be one of {known}, a file or s3://bucket/key")
    return File(name, path, _sha256(path))


def model_kind(path: Path) -> Kind:
    """Tell a model file's format by its content; its name proves nothing.

    Raises:
        ConfigError: it is no DeepSpeech model; says what it looks like.
    """
    size = path.stat().st_size
    if size < 1024:
        raise ConfigError(f"The model {path} is no DeepSpeech model: it has only {size} bytes")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[4:8] == b"TFL3":
            return Kind.TFLITE
        if content[: len(SCORER_MAGIC)] == SCORER_MAGIC:
            raise ConfigError(f"The model {path} is a scorer; it belongs into SCORER")
        # The directory of a .pbmm starts where its last eight bytes say, and names its packages.
        (directory,) = struct.unpack("<Q", content[-8:])
        if directory < size and content.find(b"memmapped_package://", directory) >= 0:
            return Kind.PBMM
        if content[:1] == b"\n" and content.find(b"metadata_version") >= 0:
            return Kind.PB
    raise ConfigError(f"The model {path} is no DeepSpeech model: it is neither .tflite nor .pbmm nor .pb inside")


def _check_decoding(settings: Settings, model: Model) -> None:
    decoding = settings.decoding
    if model.scorer is None and decoding.lm_alpha is not None:
        raise ConfigError("LM_ALPHA and LM_BETA weigh the scorer, and none is set")
    if not decoding.hot_words:
        return
    if model.scorer is None:
        raise ConfigError("HOT_WORDS work only with a scorer, and none is set")
    alphabet = alphabet_of(model.model.path)
    for word in decoding.hot_words:
        if not word or " " in word:
            raise ConfigError(f"HOT_WORDS has {word!r}; a hot-word must be a single word without spaces")
        foreign = sorted(set(word) - alphabet) if alphabet else []
        if foreign:
            raise ConfigError(f"HOT_WORDS has {word!r}; the model's alphabet lacks {' '.join(map(repr, foreign))}")


def alphabet_of(path: Path) -> FrozenSet[str]:
    """The characters that a model can write; empty if its file does not tell.

    Every export carries its serialised alphabet (training/deepspeech_training/util/text.py): the count, then
    for each label from 0 up the label, its length and its UTF-8 bytes, all counts as little-endian uint16.
    """
    start = rb"(..)\x00\x00(?:\x01\x00.|\x02\x00..|\x03\x00...|\x04\x00....)\x01\x00[\x01-\x04]\x00"
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in re.finditer(start, content, re.DOTALL):
            letters = _letters(content, found.start())
            if letters:
                return frozenset(letters)
    return frozenset()


def _letters(content: mmap.mmap, at: int) -> List[str]:
    (count,) = struct.unpack_from("<H", content, at)
    at += 2
    letters: List[str] = []
    for label in range(count):
        if at + 4 > len(content):
            return []
        found, length = struct.unpack_from("<HH", content, at)
        if found != label or not 1 <= length <= 4:
            return []
        try:
            letters.append(content[at + 4 : at + 4 + length].decode("utf-8"))
        except UnicodeDecodeError:
            return []
        at += 4 + length
    return letters


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def fetch(name: str, models_dir: Path, checksums: Dict[str, Optional[str]]) -> None:
    """Download a built-in model's files that are not there yet.

    Args:
        checksums: SHA-256 of `model` and `scorer`, for what models.toml does not state.

    Raises:
        ConfigError: the name is unknown, a checksum is not known, or a file does not have it.
    """
    entry = built_in_models().get(name)
    if entry is None:
        raise ConfigError(f"There is no model {name!r} in models.toml; it has {', '.join(built_in_models())}")
    folder = models_dir / entry["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    for what in ("model", "scorer"):
        expected = entry[what].get("sha256") or checksums.get(what)
        path = folder / entry[what]["file"]
        if not expected:
            raise ConfigError(f"models.toml states no SHA-256 of {path.name}: give it with --{what}-sha256")
        if not path.is_file():
            _download(entry[what]["url"], path)
        if _sha256(path) != expected.lower():
            path.unlink()
            raise ConfigError(f"{path.name} does not have the SHA-256 {expected}; it was removed")
        print(f"{path}: checksum is right", flush=True)


def _download(url: str, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    with urllib.request.urlopen(url, timeout=60) as answer, part.open("wb") as file:
        for block in iter(lambda: answer.read(BLOCK), b""):
            file.write(block)
    part.rename(path)


def _main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m transcriber.models")
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
