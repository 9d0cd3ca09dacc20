"""What one recording's result does to the bucket, in the one order that loses nothing.

Transcribed: transcripts put, the plain text last; audio copied to its processed key; source deleted.
Rejected: the reason put; audio copied to its failed key; source deleted. Copy and deletion ask for the very
version that was planned, so stopping anywhere is safe, and a recording that was replaced stays where it is.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

from transcription_contract import __version__, layout, results
from transcription_contract.manifest import Recording
from transcription_contract.run_options import TranscriptionOptions

from .errors import Gone, Rejected, Replaced
from .formats import CONTENT_TYPES, render
from .log import now
from .models import File, Model
from .storage import Bucket, ObjectFacts
from .transcript import Transcript


@dataclass(frozen=True)
class Making:
    """How this container makes transcripts."""

    run: str  # the manifest's prefix
    runtime: str  # such as "deepspeech-tflite 0.9.3"
    model: Model
    options: TranscriptionOptions

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ whenever the same audio could give other words."""
        made_of = [
            results.WORDS_VERSION,
            self.model.model.sha256,
            self.model.scorer.sha256 if self.model.scorer else None,
            self.words_options(),
        ]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]

    def words_options(self) -> dict[str, Any]:
        """The options but for the formats, which change no word."""
        return {name: value for name, value in self.options.to_json().items() if name != "output_formats"}


class Delivery:
    """Puts results where they belong."""

    def __init__(self, bucket: Bucket, making: Making) -> None:
        self._bucket = bucket
        self._making = making
        self._fingerprint = making.fingerprint

    def has_transcript(self, recording: Recording) -> bool:
        """Whether every wanted output of this version of the recording is there, made with these settings."""
        keys = [
            recording.transcript_key,
            *(layout.format_key(recording.transcript_key, form) for form in self._making.options.output_formats),
        ]
        return all(self._is_made(key, recording) for key in keys)

    def _is_made(self, key: str, recording: Recording) -> bool:
        try:
            metadata = self._bucket.facts(key).metadata
        except Gone:
            return False
        return (metadata.get(results.SOURCE_ETAG), metadata.get(results.FINGERPRINT)) == (
            recording.source_etag,
            self._fingerprint,
        )

    def take_over(self, recording: Recording) -> None:
        """Note on a transcript of an earlier run that it is as good as this run's, so that it is accounted for."""
        facts = self._bucket.facts(recording.transcript_key)
        if facts.metadata.get(results.RUN) != self._making.run:
            kept = {
                name: value for name, value in facts.metadata.items() if name != results.REPLACES
            }  # that run did it
            facts = replace(facts, metadata=kept)
            self._bucket.copy(
                recording.transcript_key, facts, recording.transcript_key, {results.RUN: self._making.run}
            )

    def was_processed(self, recording: Recording) -> bool:
        """Whether the recording, gone from its source key, lies under its processed key."""
        try:
            return (
                self._bucket.facts(recording.processed_key).metadata.get(results.SOURCE_ETAG) == recording.source_etag
            )
        except Gone:
            return False

    def source(self, recording: Recording) -> ObjectFacts:
        """Raises Gone or Replaced if the planned version is no longer there."""
        facts = self._bucket.facts(recording.source_key)
        if (facts.etag, facts.size) != (recording.source_etag, recording.source_size):
            raise Replaced(recording.source_key)
        return facts

    def put_transcript(self, recording: Recording, transcript: Transcript) -> None:
        metadata = {
            results.SOURCE_ETAG: recording.source_etag,
            results.RUN: self._making.run,
            results.FINGERPRINT: self._fingerprint,
            results.AUDIO_SECONDS: f"{transcript.duration:.3f}",
            results.COMPUTE_SECONDS: f"{transcript.compute_seconds:.3f}",
            results.ENGINE: self._making.runtime,
            results.MODEL: _ascii(self._making.model.model),
        }
        origin = self._origin(recording)
        for form in self._making.options.output_formats:
            key = layout.format_key(recording.transcript_key, form)
            self._bucket.put(key, render(form, transcript, origin), CONTENT_TYPES[form], metadata)
        earlier = self._version(recording.transcript_key)
        if earlier:
            metadata[results.REPLACES] = earlier
        self._bucket.put(recording.transcript_key, render("txt", transcript, origin), CONTENT_TYPES["txt"], metadata)

    def _version(self, key: str) -> str | None:
        try:
            return self._bucket.facts(key).version
        except Gone:
            return None

    def put_reason(self, recording: Recording, rejection: Rejected) -> None:
        document = {
            "schema": results.ERROR_SCHEMA,
            "code": rejection.code,
            "reason": rejection.reason,
            "detail": rejection.detail,
            **self._origin(recording),
        }
        body = json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8")
        metadata = {results.SOURCE_ETAG: recording.source_etag, results.FINGERPRINT: self._fingerprint}
        self._bucket.put(recording.error_key, body, CONTENT_TYPES["json"], metadata)

    def move(self, recording: Recording, source: ObjectFacts, target: str) -> None:
        """Move the audio; raises Gone or Replaced when it is no longer the planned version."""
        added = {results.SOURCE_ETAG: recording.source_etag, results.UPLOADED: recording.uploaded.isoformat()}
        self._bucket.copy(recording.source_key, source, target, added)
        self._bucket.delete(recording.source_key, recording.source_etag)

    def _origin(self, recording: Recording) -> dict[str, Any]:
        making = self._making
        return {
            "source_key": recording.source_key,
            "source_etag": recording.source_etag,
            "uploaded": recording.uploaded.isoformat(),
            "run": making.run,
            "time": now(),
            "transcriber": __version__,
            "engine": making.runtime,
            "language": making.model.language,
            "model": _named(making.model.model),
            "scorer": _named(making.model.scorer) if making.model.scorer else None,
            "settings": {**making.words_options(), "fingerprint": self._fingerprint},
        }


def _named(file: File) -> dict[str, str]:
    return {"name": file.name, "sha256": file.sha256}


def _ascii(file: File) -> str:
    """S3's user metadata are ASCII."""
    return f"{file.name.encode('ascii', 'replace').decode()} {file.sha256[:12]}"
