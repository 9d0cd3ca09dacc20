"""The layout of the bucket: which key means what. Nothing else in the project makes a key."""

from __future__ import annotations

import hashlib
import posixpath
import re

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

EXTRA_FORMATS = ("json", "srt", "vtt")
"""Output formats beside the plain text."""

# Extensions of containers and codecs that people give to recordings. The name decides whether an
# object is a recording; the worker then looks at its content.
AUDIO_EXTENSIONS = frozenset(
    f".{name}"
    for names in (
        "3ga aac ac3 aif aifc aiff alaw amr ape au awb caf dss flac gsm m4a m4b m4r mka mp2 mp3 mpga oga ogg opus ra",
        "snd spx tta ulaw voc w64 wav wave weba wma wv",
        "3gp avi flv m4v mkv mov mp4 mpeg mpg ogv qt rm ts webm wmv",  # video: the worker transcribes its sound
    )
    for name in names.split()
)


def extension(key: str) -> str:
    """The last extension of a key's file name in lower case, with its dot, or an empty string."""
    return posixpath.splitext(posixpath.basename(key))[1].lower()


def is_audio(key: str) -> bool:
    """Whether the key's name is that of a recording. Folder markers (`…/`) are not."""
    return extension(key) in AUDIO_EXTENSIONS


def recording_name(source_key: str) -> str:
    """A recording's name: its key without `input/` or `processed/`, with the extension."""
    return source_key.partition("/")[2]


def stem_key(name: str) -> str:
    """Transcript key of a recording named without its last extension."""
    return OUTPUT + posixpath.splitext(name)[0]


def whole_name_key(name: str) -> str:
    """Transcript key of a recording named with its extension, where another recording has the shorter one."""
    return OUTPUT + name


def format_key(transcript_key: str, output_format: str) -> str:
    """Key of a transcript in one of `EXTRA_FORMATS`."""
    return f"{transcript_key}.{output_format}"


def processed_key(name: str) -> str:
    """Key of a recording's audio once its transcript is safe."""
    return PROCESSED + name


def failed_key(name: str) -> str:
    """Key of a recording's audio if it can never be transcribed."""
    return FAILED + name


def error_key(name: str) -> str:
    """Key of the document that says why a recording could not be transcribed."""
    return failed_key(name) + ERROR_SUFFIX


def run_folder(run_id: str) -> str:
    """A name for the run that is safe in a key and in a Batch job name, at most 72 characters.

    Run ids hold colons and plus signs, and users may choose any text. So the name ends with a part of
    the id's hash, which tells ids apart that differ only in what was replaced or cut.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", run_id)[:63].strip("-")
    return f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def manifest_prefix(run_id: str) -> str:
    """Prefix of the run's manifests."""
    return f"{MANIFESTS}{run_folder(run_id)}/"


def manifest_key(prefix: str, index: int) -> str:
    """Key of the manifest of the child with this array index, under the run's prefix."""
    return f"{prefix}{index}"


def run_folder_of_manifest(key: str) -> str:
    """The folder name of the run that a manifest belongs to."""
    return key[len(MANIFESTS) :].partition("/")[0]


def report_key(run_id: str) -> str:
    """Key of the run's report."""
    return f"{RUNS}{run_folder(run_id)}/report.json"


def model_folder(name: str) -> str:
    """Prefix of the models for all recordings whose first folder has this name."""
    return f"{MODELS}{name}/"
