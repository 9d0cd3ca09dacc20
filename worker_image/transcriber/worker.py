"""Transcribe the recordings of one manifest, as the environment says (settings.py)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from transcription_contract import __version__, manifest
from transcription_contract.manifest import Header, ManifestError, Recording
from transcription_contract.run_options import TranscriptionOptions

from .child import Child
from .cpus import available_cpus
from .decoder import Decoder
from .delivery import Delivery, Making
from .engine import READINGS, EngineSpec
from .errors import ConfigError, Gone, TemporaryError, Terminated, WorkerError
from .log import log
from .models import Model, find_model, usable_options
from .pool import Engines
from .settings import Settings, read_settings
from .storage import Bucket

# The least that 30 seconds of speech take in common encodings: no more engines than pieces are of use.
PIECE_BYTES = 48_000


def main() -> int:
    """Run the child and return its exit code."""
    settings = read_settings(os.environ)
    with tempfile.TemporaryDirectory(prefix="transcriber-") as scratch, Decoder() as decoder:
        bucket = Bucket(settings.bucket)
        header, recordings = read_manifest(bucket, settings)
        settings = with_model_of(header, settings)
        model = find_model(settings, bucket, Path(scratch))
        options = usable_options(header.options, model)
        width = min(available_cpus(), sum(1 + file.source_size // PIECE_BYTES for file in recordings))
        with Engines(engine_spec(model, options), width) as engines:
            facts = engines.facts()
            log("started", transcriber=__version__, manifest=settings.manifest_key, files=len(recordings),
                engines=width, engine=facts.runtime, sample_rate=facts.sample_rate,
                model=model.model, scorer=model.scorer)  # fmt: skip
            making = Making(settings.manifest_prefix, facts.runtime, model, options)
            child = Child(
                bucket=bucket,
                delivery=Delivery(bucket, making),
                decoder=decoder,
                engines=engines,
                sample_rate=facts.sample_rate,
                separate=options.channels == "separate",
                width=width,
                scratch=Path(scratch),
            )
            return child.transcribe(recordings)


def read_manifest(bucket: Bucket, settings: Settings) -> tuple[Header, list[Recording]]:
    """Raises ConfigError if the manifest is not there, is malformed, or names no recording."""
    try:
        header, recordings = manifest.read(bucket.read(settings.manifest_key))
        found = list(recordings)
    except Gone as error:
        raise ConfigError(f"There is no manifest {settings.manifest_key} in s3://{settings.bucket}") from error
    except ManifestError as error:
        raise ConfigError(f"{settings.manifest_key}: {error}") from error
    if not found:
        raise ConfigError(f"The manifest {settings.manifest_key} names no recordings")
    return header, found


def with_model_of(header: Header, settings: Settings) -> Settings:
    """The settings with the model and scorer that the manifest names; the environment gives what it leaves open.

    A model that is named without a scorer takes its own, never the one that the environment has for another model.
    """
    model, scorer = header.model
    if model:
        return replace(settings, model=model, scorer=scorer)
    return replace(settings, scorer=scorer or settings.scorer)


def engine_spec(model: Model, options: TranscriptionOptions) -> EngineSpec:
    scorer = str(model.scorer.path) if model.scorer else None
    readings = READINGS if "json" in options.output_formats else 1
    return EngineSpec(str(model.model.path), model.kind, scorer, options, readings)


def terminate(signal_number: int, _frame: object) -> None:
    """End what the main thread does; once, for what follows must not be interrupted."""
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, signal.SIG_IGN)
    raise Terminated(signal.Signals(signal_number).name)


def leave(code: int) -> None:
    """End at once, engines included; threads that wait for S3 are not waited for."""
    for process in multiprocessing.active_children():
        process.kill()
    sys.stdout.flush()
    os._exit(code)


def run() -> None:
    """Be the container's process: run the child, say why it stops, and end with its exit code."""
    # Installed by hand because the kernel keeps unhandled signals from a container's first process.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, terminate)
    try:
        exit_code = main()
    except WorkerError as error:
        log("stopped", level="error", reason=str(error), exit_code=error.exit_code)
        exit_code = error.exit_code
    except Terminated as error:
        exit_code = TemporaryError.exit_code
        log("stopped", level="warning", reason=f"{error}: the container must stop", exit_code=exit_code)
    leave(exit_code)
