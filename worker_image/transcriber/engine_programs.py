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
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from transcription_contract.model_files import ModelKind
from transcription_contract.speech_engines import EngineError, SpeechEngine, choose_engine
from transcription_contract.words import Word

from .failures import ConfigError
from .process import Channel, Child, Reply, SupervisedProcess
from .recognition import Reading, RecognisedSegment, Recognition
from .samples import PieceSeconds, Samples

PROGRAMS = Path(__file__).parents[1] / "engines"
ENVIRONMENTS = Path(sys.prefix).with_name("engine-environments")
# The engines run side by side, one a CPU.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
CERTAINTIES = ("log_margin", "probability")
_ANSWER_BYTES = 64 << 20  # more is no answer


@dataclass(frozen=True)
class EngineProgram:
    """A folder of `PROGRAMS`."""

    engine: SpeechEngine
    program: Path
    python: Path
    """The interpreter of its environment."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that it wants."""

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.engine.name


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
    piece_seconds: PieceSeconds
    """Length of the pieces of a long recording."""
    pieces: int
    """How many pieces it takes at once."""
    certainty: str | None
    """What stands beside a word: "log_margin", "probability" (docs/engines.md), or None for nothing."""

    @property
    def runtime(self) -> str:
        """Such as "deepspeech-tflite 0.9.3"."""
        return f"{self.name} {self.version}"


def engine_programs(folder: Path) -> list[EngineProgram]:
    """The engines in a folder, by name. An engine's folder has an `engine.toml`."""
    return [_program(path.parent) for path in sorted(folder.glob("*/engine.toml"))]


def _program(folder: Path) -> EngineProgram:
    text = (folder / "engine.toml").read_text("utf-8")
    own = folder / "environment"
    environment = own if own.exists() else ENVIRONMENTS / folder.name
    try:
        engine = SpeechEngine.of_toml(folder.name, text)
    except EngineError as error:
        raise ConfigError(str(error)) from error
    stated = tomllib.loads(text)
    program = (folder / stated.get("program", "program.py")).resolve()
    variables = stated.get("variables", {})
    if not (isinstance(variables, dict) and all(isinstance(value, str) for value in variables.values())):
        raise ConfigError(f"engines/{folder.name}/engine.toml cannot be used: variables must be a table of strings")
    return EngineProgram(engine, program, environment / "bin" / "python", variables)


def engine_for(kind: ModelKind, folder: Path, name: str | None = None) -> EngineProgram:
    """The engine of this image for a kind of model.

    Args:
        kind: What the model is.
        folder: The engines.
        name: The engine that the run names.

    Raises:
        ConfigError: this image has no engine for it, or not the named one.
    """
    present = {program.name: program for program in engine_programs(folder) if program.python.exists()}
    try:
        return present[choose_engine([program.engine for program in present.values()], kind, name).name]
    except EngineError as error:
        raise ConfigError(str(error)) from error


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
                env={**os.environ, **ONE_THREAD, **program.variables, "PYTHONPATH": _python_path()},
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
        return Reply([Recognition([_segment(segment) for segment in segments], share) for segments in found])
    return Reply(_facts(message))


def _facts(message: Mapping[str, Any]) -> EngineFacts:
    certainty = message["certainty"]
    if certainty not in (None, *CERTAINTIES):
        raise ValueError(f"certainty is {certainty!r}")
    return EngineFacts(
        str(message["name"]),
        str(message["version"]),
        int(message["sample_rate"]),
        PieceSeconds(**{name: float(value) for name, value in message["piece_seconds"].items()}),
        int(message["pieces"]),
        certainty,
    )


def _segment(found: Mapping[str, Any]) -> RecognisedSegment:
    return RecognisedSegment(
        float(found["start"]),
        float(found["end"]),
        [_word(*word) for word in found["words"]],
        float(found["score"]),
        [Reading(str(text), float(score)) for text, score in found.get("alternatives", ())],
        found.get("language"),
    )


def _word(text: str, start: float, end: float, certainty: float | None, spaced: bool = True) -> Word:
    return Word(str(text), float(start), float(end), None if certainty is None else float(certainty), bool(spaced))
