"""Read format, alphabet and checksum from models and scorer files."""

from __future__ import annotations

import hashlib
import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transcription_contract import model_files
from transcription_contract.model_files import FileRole, ModelKind

from .failures import ConfigError

SCORER_MAGIC = b"mmap lm http://kheafield.com/code"
# OpenFst's header of a ConstFst<StdArc> (fst/fst.h, const-fst.h): magic number, the two types' names, version, flags,
# properties, start, number of states and of arcs. Then come the states and the arcs.
DICTIONARY_MAGIC = struct.pack("<ii5si8s", 2125659606, 5, b"const", 8, b"standard")
DICTIONARY_HEADER = struct.Struct(f"<{len(DICTIONARY_MAGIC)}siiQqqq")
ALIGNED = 4  # the flag that both tables start at multiples of ALIGNMENT
ALIGNMENT, STATE_BYTES, ARC_BYTES = 16, 20, 16
BLOCK = 1 << 20


@dataclass(frozen=True)
class File:
    """A scorer's file, or a model's file or folder, on this machine."""

    name: str  # the name in the user's setting
    path: Path
    sha256: str

    def __str__(self) -> str:
        """The name and the beginning of the checksum, for the log."""
        return f"{self.name} {self.sha256[:12]}"


def model_kind(path: Path) -> ModelKind:
    """Recognise a model's format by its content and not by its name.

    Args:
        path: Its file, or its folder.

    Raises:
        ConfigError: it is not a model; the message says what it looks like.
    """
    return _folder_kind(path) if path.is_dir() else _file_kind(path)


def _folder_kind(path: Path) -> ModelKind:
    files = {}
    for name in model_files.FOLDER_FILES:
        if (path / name).is_file():
            with (path / name).open("rb") as file:
                files[name] = file.read(-1 if name == model_files.CONFIG else model_files.HEAD_BYTES)
    weights = path / model_files.WEIGHTS
    fault = model_files.folder_fault(files, weights.stat().st_size if weights.is_file() else 0)
    if fault:
        raise ConfigError(f"The folder {path} is not a Whisper model: {fault}")
    return ModelKind.WHISPER


def _file_kind(path: Path) -> ModelKind:
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(model_files.HEAD_BYTES)
        file.seek(max(0, size - model_files.TAIL_BYTES))
        tail = file.read()
    fault = model_files.fault(FileRole.MODEL, size, head, tail)
    found = model_files.recognise(size, head, tail)
    if fault or not isinstance(found, ModelKind):
        raise ConfigError(f"The model {path} is not a DeepSpeech model: {fault}")
    return found


def scorer_fault(path: Path) -> str:
    """The reason why a file is not a complete scorer, or an empty string if it is one.

    It is a KenLM binary and, behind it, the dictionary as OpenFst's `ConstFst`, whose header says how long it is. The
    engine maps the file and does not look: it would crash at the first word that is in no page of it.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(SCORER_MAGIC)) != SCORER_MAGIC:
            return "it is no scorer inside (KenLM binary with dictionary)"
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start = content.rfind(DICTIONARY_MAGIC)
            if start < 0 or size < start + DICTIONARY_HEADER.size:
                return f"its dictionary is missing: the file ends after {size} bytes"
            *_, flags, _, _, states, arcs = DICTIONARY_HEADER.unpack_from(content, start)
    whole = start + DICTIONARY_HEADER.size
    for table in (states * STATE_BYTES, arcs * ARC_BYTES):
        whole += (-whole % ALIGNMENT if flags & ALIGNED else 0) + table
    return f"it is cut off: {size} of {whole} bytes are there" if size < whole else ""


def alphabet_of(path: Path) -> frozenset[str]:
    """The characters of a model's alphabet, or an empty result if the file does not contain them.

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


def _letters(content: mmap.mmap, at: int) -> list[str]:
    (count,) = struct.unpack_from("<H", content, at)
    at += 2
    letters: list[str] = []
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


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hex digits."""
    return _digest(path, hashlib.sha256())


def sha256_of_folder(files: Mapping[str, str]) -> str:
    """SHA-256 of a model's folder: of what `sha256sum` prints for its files, sorted by their names.

    Args:
        files: The SHA-256 of each file by its name, as 64 hex digits.
    """
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def md5(path: Path) -> str:
    """MD5 of a file, as 32 hex digits. It detects a broken download, but not a forged one."""
    return _digest(path, hashlib.md5())  # noqa: S324


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()
