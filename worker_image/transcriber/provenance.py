"""The provenance of a transcript: run, engine, model and options, as metadata and as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from transcription_contract import __version__, results
from transcription_contract.manifest import Recording
from transcription_contract.run_options import TranscriptionOptions

from .engine_programs import EngineFacts
from .log import now
from .model_file import File
from .model_loading import Model
from .transcript import Transcript

MODEL_NAME_LETTERS = 400  # S3 allows 2,048 bytes of metadata per object


@dataclass(frozen=True)
class Provenance:
    """The provenance that all transcripts of this container share."""

    run: str
    """The manifest's prefix."""
    engine: EngineFacts
    model: Model
    options: TranscriptionOptions

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits. They differ whenever the same audio could give other words."""
        made_of = [
            results.WORDS_VERSION,
            self.engine.name,
            self.model.model.sha256,
            self.model.scorer.sha256 if self.model.scorer else None,
            self._words_options(),
        ]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]

    def _words_options(self) -> dict[str, Any]:
        """The options without those that do not change the words. The engine counts by its name."""
        return {
            name: value for name, value in self.options.to_json().items() if name not in ("output_formats", "engine")
        }

    def metadata(self, recording: Recording) -> dict[str, str]:
        """S3 metadata of every document about a recording: the recording's version and the run."""
        return {
            results.RECORDING: results.recording_id(recording.name),
            results.SOURCE_ETAG: recording.source_etag,
            results.UPLOADED: recording.uploaded.isoformat(),
            results.RUN: self.run,
            results.FINGERPRINT: self.fingerprint,
        }

    def transcript_metadata(self, recording: Recording, transcript: Transcript) -> dict[str, str]:
        """S3 metadata of a transcript in each format."""
        model = self.model.model
        name = model.name.encode("ascii", "replace").decode()[:MODEL_NAME_LETTERS]
        return {
            **self.metadata(recording),
            results.AUDIO_SECONDS: f"{transcript.duration:.3f}",
            results.COMPUTE_SECONDS: f"{transcript.compute_seconds:.3f}",
            results.ENGINE: self.engine.runtime,
            results.MODEL: f"{name} {model.sha256[:12]}",
        }

    def origin(self, recording: Recording) -> dict[str, Any]:
        """The part of a transcript's JSON about its source and provenance."""
        return {
            "source_key": recording.source_key,
            "source_etag": recording.source_etag,
            "uploaded": recording.uploaded.isoformat(),
            "run": self.run,
            "word_certainty": self.engine.certainty,
            **self.made_by(),
        }

    def made_by(self) -> dict[str, Any]:
        """Time, engine, model and options as JSON values."""
        return {
            "time": now(),
            "transcriber": __version__,
            "engine": self.engine.runtime,
            "language": self.model.language,
            "model": _named(self.model.model),
            "scorer": _named(self.model.scorer) if self.model.scorer else None,
            "settings": {**self._words_options(), "fingerprint": self.fingerprint},
        }


def _named(file: File) -> dict[str, str]:
    return {"name": file.name, "sha256": file.sha256}
