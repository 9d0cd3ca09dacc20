"""The engines of this image: each is a program in an environment of its own (docs/engines.md)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from transcription_contract.model_files import ModelKind

from .failures import ConfigError
from .process import Channel, Child, Reply, SupervisedProcess
from .recognition import Reading, Recognition, Word
from .samples import Samples

PROGRAMS = Path(__file__).parents[1] / "engines"
ENVIRONMENTS = Path(sys.prefix).with_name("engine-environments")
_ANSWER_BYTES = 64 << 20  # more is no answer


@dataclass(frozen=True)
class EngineProgram:
    """A folder of `PROGRAMS`."""

    name: str
    program: Path
    python: Path
    """The interpreter of its environment."""
    models: frozenset[str]
    """The kinds of model that it runs, as `ModelKind`'s values."""
    preferred: bool = False
    """Whether it goes before other engines that run the same kind of model."""


@dataclass(frozen=True)
class EngineSpec:
    """What an engine is started with."""

    program: EngineProgram
    model: Path
    scorer: Path | None
    options: Mapping[str, Any]
    """Run options that have another value than their default."""
    readings: int
    """Number of readings that the engine computes; 1 if no output needs more."""


@dataclass(frozen=True)
class EngineFacts:
    """What a loaded engine says of itself."""

    name: str
    version: str
    sample_rate: int
    """Hz."""
    longest_seconds: float
    """Maximum of a piece."""
    pieces: int
    """How many pieces it takes at once."""
    options: frozenset[str]
    """Names of the run options that it honours."""

    @property
    def runtime(self) -> str:
        """Such as "deepspeech-tflite 0.9.3"."""
        return f"{self.name} {self.version}"


def engine_programs(folder: Path) -> list[EngineProgram]:
    """The engines in a folder, by name. An engine's folder has an `engine.toml`."""
    return [_program(path.parent) for path in sorted(folder.glob("*/engine.toml"))]


def _program(folder: Path) -> EngineProgram:
    stated = tomllib.loads((folder / "engine.toml").read_text("utf-8"))
    own = folder / "environment"
    environment = own if own.exists() else ENVIRONMENTS / folder.name
    return EngineProgram(
        folder.name,
        (folder / stated.get("program", "program.py")).resolve(),
        environment / "bin" / "python",
        frozenset(stated["models"]),
        bool(stated.get("preferred", False)),
    )


def engine_for(kind: ModelKind, folder: Path) -> EngineProgram:
    """The engine for a kind of model. Of several that this image has, a preferred one, or else the first by name.

    Raises:
        ConfigError: this image has no engine for it.
    """
    fitting = [program for program in engine_programs(folder) if kind.value in program.models]
    present = [program for program in fitting if program.python.exists()]
    if present:
        return min(present, key=lambda program: (not program.preferred, program.name))
    named = " or ".join(program.name for program in fitting) or "an engine"
    raise ConfigError(f"A .{kind.value} model needs {named}, which this image does not have")


class EngineProcess(SupervisedProcess[EngineFacts]):
    """A running engine."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        super().__init__()

    def recognise(self, pieces: Sequence[Samples], limit: float) -> list[Recognition]:
        """Recognise the pieces: int16 mono samples of shape (n,) each, at the engine's rate.

        Raises:
            RuntimeError: the engine reports an error, or answers something else.
            Exception: as `ask`.
        """
        answer: list[Recognition] = self.ask(pieces, limit)
        if len(answer) != len(pieces):
            raise RuntimeError(f"{self._spec.program.name} answered {len(answer)} of {len(pieces)} pieces")
        return answer

    def _launch(self) -> tuple[Child, Channel]:
        program = self._spec.program
        ours, others_end = socket.socketpair()
        with others_end:  # closed here, so that this end learns of the process's death
            process = subprocess.Popen(
                [str(program.python), str(program.program), str(others_end.fileno())],
                pass_fds=[others_end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # stdout is the worker's log
                env={**os.environ, "PYTHONPATH": _python_path()},
            )
        channel = _EngineChannel(Connection(ours.detach()), program.name)
        with suppress(OSError):  # it has died already, which the first answer shows
            channel.start(self._spec)
        return _Program(process), channel


def _python_path() -> str:
    """PYTHONPATH of an engine's process: the protocol's module, and what the worker has."""
    return os.pathsep.join(filter(None, [str(PROGRAMS), os.environ.get("PYTHONPATH", "")]))


class _Program:
    """A `subprocess.Popen` as a `Child`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        return self._process.returncode

    def kill(self) -> None:
        self._process.kill()

    def join(self, timeout: float | None = None) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)


class _EngineChannel:
    """The worker's side of the protocol: JSON objects and raw samples."""

    def __init__(self, connection: Connection, engine: str) -> None:
        self._connection = connection
        self._engine = engine

    def start(self, spec: EngineSpec) -> None:
        """Send the first message."""
        self._send(
            {
                "model": str(spec.model),
                "scorer": str(spec.scorer) if spec.scorer else None,
                "options": dict(spec.options),
                "readings": spec.readings,
            }
        )

    def send(self, request: Sequence[Samples]) -> None:
        self._send({"pieces": [len(piece) for piece in request]})
        self._connection.send_bytes(b"".join(piece.astype("<i2", copy=False).tobytes() for piece in request))

    def _send(self, message: Mapping[str, Any]) -> None:
        self._connection.send_bytes(json.dumps(message).encode())

    def recv(self) -> Reply:
        message = self._connection.recv_bytes(_ANSWER_BYTES)
        try:
            return _reply(json.loads(message))
        except (ValueError, KeyError, TypeError) as error:
            return Reply(error=RuntimeError(f"The engine {self._engine} answers what no engine may: {error!r}"))

    def poll(self, timeout: float) -> bool:
        return self._connection.poll(timeout)

    def close(self) -> None:
        self._connection.close()


def _reply(message: dict[str, Any]) -> Reply:
    if "refused" in message:
        return Reply(error=ConfigError(str(message["refused"])))
    if "error" in message:
        trace = str(message["error"])
        return Reply(error=RuntimeError(f"The engine fails: {trace.strip().splitlines()[-1]}"), trace=trace)
    if "begun" in message:
        return Reply()
    if "recognitions" in message:
        found = message["recognitions"]
        share = float(message["compute_seconds"]) / max(1, len(found))
        return Reply([_recognition(item, share) for item in found])
    return Reply(
        EngineFacts(
            str(message["name"]),
            str(message["version"]),
            int(message["sample_rate"]),
            float(message["longest_seconds"]),
            int(message["pieces"]),
            frozenset(map(str, message["options"])),
        )
    )


def _recognition(found: Mapping[str, Any], compute_seconds: float) -> Recognition:
    words = [
        Word(str(text), float(start), float(end), None if margin is None else float(margin))
        for text, start, end, margin in found["words"]
    ]
    readings = [Reading(str(text), float(score)) for text, score in found["alternatives"]]
    return Recognition(words, float(found["score"]), readings, compute_seconds)
