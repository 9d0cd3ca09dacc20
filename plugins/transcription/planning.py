"""From a listing of the bucket to the manifests of the Batch children. Pure functions.

A million recordings must fit in a small MWAA worker, so a recording is one slotted object, and the
lists are passed through once.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from transcription.errors import SettingError
from transcription.settings import Settings
from transcription_contract import layout
from transcription_contract.manifest import Recording
from transcription_contract.model_files import ModelChoice

DIGEST_LENGTH = 16

CAPTION_SUFFIXES = tuple(f".{name}" for name in layout.EXTRA_FORMATS)

# Bytes that a second of audio usually takes, by extension; all others count as 16 kHz 16-bit mono.
# Only for balance and estimate: nobody decodes a file to plan it.
_BYTES_PER_SECOND = {
    **dict.fromkeys([".mp3", ".m4a", ".m4b", ".aac", ".ogg", ".oga", ".opus", ".webm", ".weba", ".wma"], 12_000),
    **dict.fromkeys([".mp2", ".mpga", ".ac3", ".mka"], 16_000),
    **dict.fromkeys([".flac", ".ape", ".wv", ".tta"], 20_000),
    **dict.fromkeys([".amr", ".awb", ".gsm", ".3ga", ".spx", ".dss"], 1_600),
    **dict.fromkeys([".mp4", ".m4v", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".qt"], 250_000),
}
_WAV_BYTES_PER_SECOND = 32_000
_OVERHEAD_SECONDS = 2.0  # requests and start of decoding, as seconds of audio


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of the bucket that may be transcribed."""

    key: str
    etag: str
    size: int
    uploaded: datetime
    """When the user put it; for one in `processed/`, its upload time before it was moved."""

    @property
    def name(self) -> str:
        """The key without `input/` or `processed/`."""
        return layout.recording_name(self.key)


@dataclass(frozen=True, slots=True)
class Unplanned:
    """An object that the run leaves alone, and why."""

    key: str
    reason: str


def manifest_lines(recordings: Iterable[StoredObject]) -> tuple[list[Recording], list[Unplanned]]:
    """Give every recording its keys.

    A transcript's name is the recording's without its last extension. Where two would share one
    (`a.wav`, `a.mp3`, or the captions of `a` and a recording `a.json.wav`), the later in key order
    keeps its whole name. A name so long that one of its keys would pass S3's limit is not planned.
    """
    lines: list[Recording] = []
    left: list[Unplanned] = []
    taken: set[str] = set()  # keys of transcripts; the lines have the same strings, so a key more costs little
    for recording in sorted(recordings, key=lambda recording: (recording.name, recording.key)):
        name = recording.name
        keys = (layout.stem_key(name), layout.whole_name_key(name))
        transcript = next((key for key in keys if not _collides(key, taken)), None)
        if transcript is None:
            left.append(
                Unplanned(recording.key, "another recording of this run has a transcript of this name; rename it")
            )
            continue
        line = Recording(
            source_key=recording.key,
            source_etag=recording.etag,
            source_size=recording.size,
            uploaded=recording.uploaded,
            transcript_key=transcript,
        )
        longest = max(line.error_key, line.transcript_key + CAPTION_SUFFIXES[0], line.processed_key, key=_bytes)
        if _bytes(longest) > layout.MAX_KEY_BYTES:
            over = _bytes(longest) - layout.MAX_KEY_BYTES
            left.append(
                Unplanned(
                    recording.key,
                    f"its name is too long for the keys made from it; shorten it by {over} bytes",
                )
            )
            continue
        taken.add(transcript)
        lines.append(line)
    return lines, left


def _collides(transcript_key: str, taken: Set[str]) -> bool:
    """Whether the transcript or its captions would be those, or the captions, of one that is taken."""
    return transcript_key in taken or any(
        transcript_key + suffix in taken or transcript_key.removesuffix(suffix) in taken for suffix in CAPTION_SUFFIXES
    )


def _bytes(key: str) -> int:
    return len(key.encode())


def child_count(audio_seconds: float, files: int, *, max_instances: int, audio_minutes_per_child: float) -> int:
    """How many children to start: enough work for each, at most `max_instances`, never more than files.

    Args:
        audio_seconds: Audio of the whole run.
        files: Number of recordings, at least 1.
        max_instances: The user's limit, 1 to `deployment.MAX_CHILDREN`.
        audio_minutes_per_child: Audio that makes the start of a container worth its cost. AWS advises
            3 to 5 minutes of run time at least:
            https://docs.aws.amazon.com/batch/latest/userguide/best-practices.html
    """
    wanted = math.ceil(audio_seconds / (audio_minutes_per_child * 60))
    return max(1, min(wanted, max_instances, files))


def shares(
    groups: Mapping[ModelChoice, Sequence[Recording]], children: int, *, max_instances: int
) -> list[tuple[ModelChoice, list[Recording]]]:
    """What each child gets: one model, and recordings for it.

    Args:
        groups: The recordings by their model, of each at least one.
        children: How many children are wanted. Each model has one at least, so there may be more.
        max_instances: The user's limit.

    Raises:
        SettingError: there are more models than `max_instances`.
    """
    if len(groups) > max_instances:
        raise SettingError(
            f"The recordings need {len(groups)} models, a child has one, and max_instances is {max_instances}: "
            f"raise it to {len(groups)} or more, or take one folder at a time with the param prefix."
        )
    counts = _children_of_each({choice: sum(map(_work, lines)) for choice, lines in groups.items()}, groups, children)
    return [(choice, share) for choice, lines in groups.items() for share in split(lines, counts[choice])]


def _children_of_each(
    work: Mapping[ModelChoice, float], groups: Mapping[ModelChoice, Sequence[Recording]], children: int
) -> dict[ModelChoice, int]:
    """A child for each model, and each further one for the model whose children have the most to do."""
    counts = dict.fromkeys(groups, 1)
    most = [(-seconds, number, choice) for number, (choice, seconds) in enumerate(work.items())]
    heapq.heapify(most)
    for _ in range(children - len(groups)):
        while most and counts[most[0][2]] == len(groups[most[0][2]]):
            heapq.heappop(most)
        _, number, choice = most[0]
        counts[choice] += 1
        heapq.heapreplace(most, (-work[choice] / counts[choice], number, choice))
    return counts


def split(lines: Iterable[Recording], children: int) -> list[list[Recording]]:
    """Share the files out so that the children end at about the same time.

    Largest first onto the least loaded child (Graham's LPT rule: at most 4/3 of the best makespan,
    doi:10.1137/0117039). Every child gets at least one file if there are as many files as children.
    """
    shares: list[list[Recording]] = [[] for _ in range(children)]
    load = [(0.0, child) for child in range(children)]
    for line in sorted(lines, key=_work, reverse=True):
        least, child = load[0]
        shares[child].append(line)
        heapq.heapreplace(load, (least + _work(line), child))
    return shares


def _work(line: Recording) -> float:
    return audio_seconds(line) + _OVERHEAD_SECONDS


def audio_seconds(line: Recording) -> float:
    """Estimated duration of a recording in seconds: its size over its extension's usual bit rate."""
    return line.source_size / _BYTES_PER_SECOND.get(layout.extension(line.source_key), _WAV_BYTES_PER_SECOND)


def estimated_usd(audio_seconds: float, children: int, settings: Settings) -> float:
    """Cost of the run's containers in US dollars, before it starts; a minute a child is the least AWS bills."""
    container_seconds = audio_seconds * settings.cpu_seconds_per_audio_second / settings.vcpus_per_child
    billed = max(container_seconds + children * settings.child_start_seconds, children * 60)
    return container_usd(billed, settings)


def container_usd(seconds: float, settings: Settings) -> float:
    """Price of that many seconds of a child's container in US dollars."""
    hourly = (
        settings.vcpus_per_child * settings.usd_per_vcpu_hour + settings.memory_gb_per_child * settings.usd_per_gb_hour
    )
    return seconds / 3600 * hourly


def digest(manifests: Iterable[bytes]) -> str:
    """A short hash of a run's manifests, in order: two plans are the same if their digests are."""
    total = hashlib.sha256()
    for body in manifests:
        total.update(hashlib.sha256(body).digest())
    return total.hexdigest()[:DIGEST_LENGTH]
