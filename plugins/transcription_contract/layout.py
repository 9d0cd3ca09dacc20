"""The layout of the bucket. Only this module makes keys."""

from __future__ import annotations

import hashlib
import re

INPUT = "input/"
OUTPUT = "output/"
PROCESSED = "processed/"
FAILED = "failed/"
MANIFESTS = "child_job_input/"
PLAN_LOCK = MANIFESTS + "plan.lock"
RUNS = "runs/"
REPORT = "report.json"
ENTRIES = "entries.jsonl"
PLAN = "plan.json"
TOTALS = "totals.json"
SEARCH_INDEX = "search.sqlite"
TABLE = "tables/recordings/"
"""Prefix of the data set of all recordings, one folder a day."""
CORRECTIONS = "corrections/"
QUERY_RESULTS = "query_results/"
"""Prefix of what SQL queries found, which expires."""
MODELS = "models/"
ERASED = "erased/"
"""What stands in a report for the key of a recording that was erased. No object has such a key."""

MAX_KEY_BYTES = 1024
"""S3's limit on a key: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""

ERROR_SUFFIX = ".error.json"

EXTRA_FORMATS = ("json", "srt", "vtt")
"""Output formats in addition to the plain text."""

# Usual extensions of audio and video files. The name decides whether an object is a recording; the worker then
# decodes it by its content.
AUDIO_EXTENSIONS = frozenset(
    f".{name}"
    for names in (
        "3ga aac ac3 aif aifc aiff alaw amr ape au awb caf dss flac gsm m4a m4b m4r mka mp2 mp3 mpga oga ogg opus ra",
        "snd spx tta ulaw voc w64 wav wave weba wma wv",
        "3gp avi flv m4v mkv mov mp4 mpeg mpg ogv qt rm ts webm wmv",  # video: the worker transcribes the audio track
    )
    for name in names.split()
)

_RESERVED_EXTENSIONS = AUDIO_EXTENSIONS | {f".{name}" for name in EXTRA_FORMATS}


def extension(key: str) -> str:
    """The last extension of a key's file name in lower case, with its dot, or an empty string."""
    stem, dot, last = key[key.rfind("/") + 1 :].rpartition(".")
    return f".{last.lower()}" if dot and stem.strip(".") else ""


def is_audio(key: str) -> bool:
    """Whether the key's name is that of a recording. Folder markers (`…/`) are not."""
    return extension(key) in AUDIO_EXTENSIONS


def recording_name(source_key: str) -> str:
    """A recording's name: its key without `input/` or `processed/`, with the extension."""
    return source_key.partition("/")[2]


def stem_key(name: str) -> str | None:
    """Transcript key of a recording without its last extension, which recordings such as `a.mp3` and `a.wav` share.

    None if the shorter name could be that of another recording's transcript or of another format: `a.wav.mp3`
    without its extension is `a.wav`, and `a.json.wav` without it is `a.json`.
    """
    stem = name[: len(name) - len(extension(name))]
    return None if extension(stem) in _RESERVED_EXTENSIONS else OUTPUT + stem


def whole_name_key(name: str) -> str:
    """Transcript key of a recording with its extension. No other recording can have the same one."""
    return OUTPUT + name


def transcript_keys(name: str) -> tuple[str, ...]:
    """The possible keys of a recording's transcript, the shorter one first. The metadata name the recording."""
    stem = stem_key(name)
    return (whole_name_key(name),) if stem is None else (stem, whole_name_key(name))


def format_key(transcript_key: str, output_format: str) -> str:
    """Key of a transcript in one of `EXTRA_FORMATS`."""
    return f"{transcript_key}.{output_format}"


def processed_key(name: str) -> str:
    """Key of a recording's audio after its transcript is written."""
    return PROCESSED + name


def failed_key(name: str) -> str:
    """Key of a recording's audio if it can never be transcribed."""
    return FAILED + name


def error_key(name: str) -> str:
    """Key of the document with the reason why a recording could not be transcribed."""
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


def child_of_manifest(key: str) -> int:
    """Array index of the child that a manifest is for."""
    return int(key.rpartition("/")[2])


def run_folder_of_manifest(key: str) -> str:
    """The folder name of the run that a manifest belongs to."""
    return key[len(MANIFESTS) :].partition("/")[0]


def run_prefix(run_id: str) -> str:
    """Prefix of what a run leaves for its user."""
    return f"{RUNS}{run_folder(run_id)}/"


def plan_key(run_id: str) -> str:
    """Key of the run's newest plan."""
    return plan_key_of_folder(run_folder(run_id))


def plan_key_of_folder(folder: str) -> str:
    """Key of the newest plan of the run with this `run_folder`."""
    return f"{RUNS}{folder}/{PLAN}"


def totals_key(run_id: str) -> str:
    """Key of the totals of the whole run, over all its plans."""
    return run_prefix(run_id) + TOTALS


def attempt_prefix(run_id: str, plan_id: str) -> str:
    """Prefix of what accounts for one plan of a run; a run that is cleared plans again."""
    return f"{run_prefix(run_id)}{plan_id}/"


def report_key(run_id: str, plan_id: str) -> str:
    """Key of the report: the totals of one plan of a run."""
    return attempt_prefix(run_id, plan_id) + REPORT


def is_report(key: str) -> bool:
    """Whether the key is one that `report_key` makes."""
    return key.startswith(RUNS) and key.endswith(f"/{REPORT}")


def entries_key(run_id: str, plan_id: str) -> str:
    """Key of the report's entries, one JSON object per line and planned recording."""
    return attempt_prefix(run_id, plan_id) + ENTRIES


def search_index_key(run_id: str, plan_id: str) -> str:
    """Key of the search index over the recordings of one plan of a run."""
    return attempt_prefix(run_id, plan_id) + SEARCH_INDEX


def attempt_of(key: str) -> tuple[str, str]:
    """Folder of the run and id of the plan in a key under `attempt_prefix`."""
    folder, plan_id = key.removeprefix(RUNS).split("/")[:2]
    return folder, plan_id


def is_search_index(key: str) -> bool:
    """Whether the key is one that `search_index_key` makes."""
    return key.startswith(RUNS) and key.endswith(f"/{SEARCH_INDEX}")


def is_totals(key: str) -> bool:
    """Whether the key is one that `totals_key` makes."""
    return key.startswith(RUNS) and key.endswith(f"/{TOTALS}") and key.count("/") == 2


def table_key(run_id: str, plan_id: str, day: str) -> str:
    """Key of one plan's part of the data set of all recordings.

    Args:
        run_id: The run's.
        plan_id: The plan's.
        day: When it was accounted for, such as 2026-11-28.
    """
    return f"{TABLE}day={day}/{run_folder(run_id)}-{plan_id}.jsonl.gz"


def correction_key(name: str) -> str:
    """Key of a person's correction of a recording's transcript."""
    return f"{CORRECTIONS}{name}.json"


def corrected_name(key: str) -> str:
    """Name of the recording that a correction is of."""
    return key.removeprefix(CORRECTIONS).removesuffix(".json")


def model_folder(name: str) -> str:
    """Prefix of the models for all recordings whose first folder has this name."""
    return f"{MODELS}{name}/"
