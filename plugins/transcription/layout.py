"""The layout of the bucket: which key means what. Nothing else in the project computes a key."""

from __future__ import annotations

import hashlib
import posixpath
import re
from typing import Literal

INPUT = "input/"
OUTPUT = "output/"
PROCESSED = "processed/"
FAILED = "failed/"
MANIFESTS = "child_job_input/"
PLAN_LOCK = MANIFESTS + "plan.lock"
RUNS = "runs/"
MODELS = "models/"

MAX_KEY_BYTES = 1024
"""S3's limit on a key: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

ERROR_SUFFIX = ".error.json"
CAPTION_SUFFIXES = (".json", ".srt", ".vtt")

# Container and codec names that people give to recordings. The worker looks at the content;
# here the name decides whether an object is offered to it at all.
AUDIO_EXTENSIONS = frozenset(
    f".{name}"
    for names in (
        "3ga aac ac3 aif aifc aiff alaw amr ape au awb caf dss flac gsm m4a m4b m4r mka mp2 mp3 mpga oga ogg opus ra",
        "snd spx tta ulaw voc w64 wav wave weba wma wv",
        "3gp avi flv m4v mkv mov mp4 mpeg mpg ogv qt rm ts webm wmv",  # video: its sound is transcribed
    )
    for name in names.split()
)


MODEL_EXTENSIONS: dict[str, Literal["model", "scorer"]] = {
    ".tflite": "model",
    ".pbmm": "model",
    ".pb": "model",
    ".scorer": "scorer",
}


def extension(key: str) -> str:
    """The last extension of a key's file name in lower case, with its dot, or an empty string."""
    return posixpath.splitext(posixpath.basename(key))[1].lower()


def is_audio(key: str) -> bool:
    """Whether the key's name is that of a recording. Folder markers (`…/`) are not."""
    return extension(key) in AUDIO_EXTENSIONS


def run_folder(run_id: str) -> str:
    """A name for the run that is safe in a key and in a Batch job name, at most 72 characters.

    Run ids hold colons and plus signs, and users may choose any text: what had to be replaced or
    cut is told apart by a piece of the id's hash.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)[:63].strip("-")
    return f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def manifest_prefix(run_id: str) -> str:
    """Prefix of the run's manifests; a child's manifest is this and its array index."""
    return f"{MANIFESTS}{run_folder(run_id)}/"


def report_key(run_id: str) -> str:
    """Key of the run's report."""
    return f"{RUNS}{run_folder(run_id)}/report.json"
