"""What the worker writes beside a transcript, and how it ends: metadata, error document, exit codes."""

from __future__ import annotations

from enum import IntEnum

WORDS_VERSION = 1
"""Part of the fingerprint of a transcript. Raise it when the same audio could give other words: the next run then
transcribes again what it finds. A release that changes nothing in the words leaves it as it is."""

# S3 user metadata of what the worker writes: of a transcript in each format, or of an audio file that it moved.
SOURCE_ETAG = "source-etag"
"""ETag of the version of the recording that was transcribed or moved."""
UPLOADED = "uploaded"
"""When the user uploaded that version, ISO 8601; of a moved audio file."""
RUN = "run"
"""Manifest prefix of the run that made the transcript."""
FINGERPRINT = "settings"
"""16 hexadecimal digits that differ whenever the same audio could give other words."""
AUDIO_SECONDS = "audio-seconds"
COMPUTE_SECONDS = "compute-seconds"
"""CPU time of the engines."""
ENGINE = "engine"
MODEL = "model"
REPLACES = "replaces"
"""Version id of the transcript that was there before."""

ERROR_SCHEMA = 1
"""Version of the error document in `failed/`."""


class ExitCode(IntEnum):
    """How the worker's container ends; the job definition retries by it."""

    DONE = 0
    """Every recording of the manifest has its result."""
    TEMPORARY = 75
    """A new attempt can help: S3 trouble, a full disk, a container that had to stop (EX_TEMPFAIL)."""
    PERMANENT = 78
    """A new attempt cannot help: a wrong setting, manifest, model or permission (EX_CONFIG)."""
    KILLED = 137
    """SIGKILL: most likely the memory ran out."""
