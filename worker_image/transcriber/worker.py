"""Transcribe the recordings of one manifest, as the environment says (environment.py)."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from transcription_contract import __version__, manifest
from transcription_contract.manifest import Header, ManifestError
from transcription_contract.run_options import OptionError, TranscriptionOptions
from transcription_contract.speech_engines import EngineError

from . import signals
from .cpus import available_cpus
from .decoder import Decoder
from .delivery import Delivery
from .engine_programs import EngineSpec, engine_for
from .environment import Environment, read_environment
from .failures import ConfigError, Gone, ProcessLimitError, TemporaryError, Terminated, WorkerError
from .log import log
from .model_loading import Model, find_model, usable_options
from .pipeline import Pipeline
from .pool import Engines
from .process import kill_all
from .provenance import Provenance
from .stderr_log import StderrLog
from .storage import Bucket, scratch_folder, scratch_space

# 30 seconds of speech take at least so many bytes in common encodings.
PIECE_BYTES = 48_000
READINGS = 20  # for margins and alternatives; 1% of the engine's time
UNEXPECTED = 1  # the exit code of a bug, as Python's own


def main() -> int:
    """Run the child and return its exit code."""
    environment = read_environment(os.environ)
    with scratch_folder() as scratch, Decoder() as decoder:
        bucket = Bucket(environment.bucket)
        with fetch_manifest(bucket, environment, scratch / "manifest") as file:
            work = survey(file, environment.manifest_key)
            environment = with_model_of(work.header, environment)
            model = find_model(environment, bucket, scratch)
            options = usable_options(work.header.options, model)
            width = min(available_cpus(), work.pieces)
            spec = engine_spec(model, options, environment.engines_dir)
            with Engines(spec, width) as engines:
                facts = engines.facts()
                log("started", transcriber=__version__, manifest=environment.manifest_key, files=work.recordings,
                    engines=width, engine=facts.runtime, sample_rate=facts.sample_rate,
                    model=model.model, scorer=model.scorer)  # fmt: skip
                pipeline = Pipeline(
                    bucket=bucket,
                    delivery=Delivery(bucket, Provenance(environment.manifest_prefix, facts, model, options)),
                    decoder=decoder,
                    engines=engines,
                    sample_rate=facts.sample_rate,
                    piece_seconds=facts.piece_seconds,
                    separate=options.channels == "separate",
                    at_once=width * facts.pieces,
                    scratch=scratch,
                )
                file.seek(0)
                _, recordings = manifest.read(file)
                return pipeline.transcribe(recordings, work.recordings)


def fetch_manifest(bucket: Bucket, environment: Environment, path: Path) -> BinaryIO:
    """Download the manifest to a file and open it. Raises ConfigError if there is none."""
    try:
        with scratch_space(), path.open("wb") as file:
            bucket.download_newest(environment.manifest_key, file)
    except Gone as error:
        raise ConfigError(f"There is no manifest {environment.manifest_key} in s3://{environment.bucket}") from error
    return path.open("rb")


@dataclass(frozen=True)
class Work:
    """A manifest's header and totals."""

    header: Header
    recordings: int
    pieces: int
    """An upper estimate of the pieces in all recordings: more engines are of no use."""


def survey(file: BinaryIO, key: str) -> Work:
    """Read a manifest from its start to its end. Raises ConfigError if it is malformed or names no recording."""
    recordings = pieces = 0
    try:
        header, lines = manifest.read(file)
        for recording in lines:
            recordings += 1
            pieces += 1 + recording.source_size // PIECE_BYTES
    except ManifestError as error:
        raise ConfigError(f"{key}: {error}") from error
    if not recordings:
        raise ConfigError(f"The manifest {key} names no recordings")
    return Work(header, recordings, pieces)


def with_model_of(header: Header, environment: Environment) -> Environment:
    """The environment, with the model and scorer that the manifest names instead.

    A model that the manifest names without a scorer takes its own scorer, never that of the environment.
    """
    model, scorer = header.model
    if model:
        return replace(environment, model=model, scorer=scorer)
    return replace(environment, scorer=scorer or environment.scorer)


def engine_spec(model: Model, options: TranscriptionOptions, engines_dir: Path) -> EngineSpec:
    """What the model's engine is started with.

    Raises:
        ConfigError: this image has no engine for the model, or the engine lacks an option of the run.
    """
    program = engine_for(model.kind, engines_dir, options.engine)
    try:
        program.engine.check(options, model.choice, model.language)
    except (EngineError, OptionError) as error:
        raise ConfigError(str(error)) from error
    scorer = model.scorer.path if model.scorer else None
    given = {name: value for name, value in options.changed().items() if name in program.engine.options}
    readings = READINGS if "json" in options.output_formats else 1
    return EngineSpec(program, model.model.path, scorer, given, readings)


def leave(code: int, stderr: StderrLog) -> None:
    """End at once with all engines, without waiting for threads that wait for S3."""
    kill_all()
    stderr.close()
    sys.stdout.flush()
    os._exit(code)


def run() -> None:
    """Run the child, log why it stops, and end the process with its exit code."""
    stderr = StderrLog()
    try:
        signals.handle()
        exit_code = main()
    except Terminated as error:
        exit_code = TemporaryError.exit_code
        log("stopped", level="warning", reason=f"{error}: the container must stop", exit_code=exit_code)
    except Exception as error:
        exit_code = failed(error)
    leave(exit_code, stderr)


def failed(error: Exception) -> int:
    """Log why the child fails, and return its exit code."""
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        error = ProcessLimitError()
    if isinstance(error, WorkerError):
        log("stopped", level="error", reason=str(error), exit_code=error.exit_code)
        return error.exit_code
    log("stopped", level="error", reason=repr(error), exit_code=UNEXPECTED, traceback=traceback.format_exc())
    return UNEXPECTED
