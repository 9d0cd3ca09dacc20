"""From the objects of the bucket to the manifests of the Batch children. Pure functions."""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from transcription.errors import SettingError
from transcription.recording_table import RecordingTable
from transcription_contract import layout
from transcription_contract.manifest import Recording
from transcription_contract.model_files import ModelChoice

if TYPE_CHECKING:
    from transcription.configuration import Configuration

# Bytes that a second of audio usually takes, by extension; all others count as 16 kHz 16-bit mono.
# Only for balance and estimate: planning decodes no file.
_BYTES_PER_SECOND = {
    **dict.fromkeys([".mp3", ".m4a", ".m4b", ".aac", ".ogg", ".oga", ".opus", ".webm", ".weba", ".wma"], 12_000),
    **dict.fromkeys([".mp2", ".mpga", ".ac3", ".mka"], 16_000),
    **dict.fromkeys([".flac", ".ape", ".wv", ".tta"], 20_000),
    **dict.fromkeys([".amr", ".awb", ".gsm", ".3ga", ".spx", ".dss"], 1_600),
    **dict.fromkeys([".mp4", ".m4v", ".mov", ".mkv", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".qt"], 250_000),
}
_WAV_BYTES_PER_SECOND = 32_000
_OVERHEAD_SECONDS = 2.0  # requests and start of decoding, as seconds of audio


class StoredObject(NamedTuple):
    """An object of the bucket that may be transcribed."""

    key: str
    etag: str
    """Without quotes."""
    size: int
    """In bytes."""
    uploaded: datetime
    """The time of the user's upload, also for an object that was moved to `processed/`."""
    archived: bool = False
    """Whether S3 refuses to read it until it is restored."""

    @property
    def name(self) -> str:
        """The key without `input/` or `processed/`."""
        return layout.recording_name(self.key)


class Unplanned(NamedTuple):
    """An object that the run does not plan, and the reason."""

    key: str
    reason: str


def recordings(objects: Iterable[StoredObject | Unplanned], claimed_stems: Set[str]) -> Iterator[Recording | Unplanned]:
    """Make the objects recordings that know whether they may take the transcript key without the extension.

    Of the recordings that share that key (`a.mp3`, `a.wav`) only the first may take it, and only if no other run has
    one of them. The worker decides in the end, because a transcript of an earlier night may have the key.

    Args:
        objects: In the order of their names' UTF-8 bytes.
        claimed_stems: Transcript keys without extension that recordings of other runs may take.
    """
    stems: list[str] = []  # of the recordings so far, those with which further names can begin
    for item in objects:
        if isinstance(item, Unplanned):
            yield item
            continue
        name = item.name
        over = len(layout.error_key(name).encode()) - layout.MAX_KEY_BYTES  # the longest of its keys
        if over > 0:
            yield Unplanned(item.key, f"its name is too long for the keys made from it; shorten it by {over} bytes")
            continue
        whole = layout.whole_name_key(name)
        while stems and not whole.startswith(f"{stems[-1]}."):
            stems.pop()
        stem = layout.stem_key(name)
        free = stem is not None and stem not in stems and stem not in claimed_stems
        if stem is not None and stem not in stems:
            stems.append(stem)
        yield Recording(item.key, item.etag, item.size, item.uploaded, keeps_extension=not free)


def child_count(audio_seconds: float, files: int, *, max_instances: int, audio_minutes_per_child: float) -> int:
    """The number of children: enough work for each, at most `max_instances`, and at most one per file.

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


class Share(NamedTuple):
    """The recordings of one child, which has one model. The longest is first."""

    choice: ModelChoice
    table: RecordingTable
    rows: Sequence[int]
    """Rows of the table."""

    def recordings(self) -> Iterator[Recording]:
        """The child's recordings, in the order of its manifest."""
        return map(self.table.__getitem__, self.rows)


CpuRates = Mapping[ModelChoice, float]
"""CPU time for a second of audio, by the model."""


def cpu_seconds(tables: Mapping[ModelChoice, RecordingTable], rates: CpuRates) -> float:
    """Estimated CPU time of all recordings."""
    return sum(rates[choice] * sum(table.audio_seconds) for choice, table in tables.items())


def shares(
    tables: Mapping[ModelChoice, RecordingTable], children: int, rates: CpuRates, *, max_instances: int
) -> list[Share]:
    """Share the recordings out over the children.

    Args:
        tables: The recordings by their model, at least one for each.
        children: How many children are wanted. Each model has one at least, so there may be more.
        rates: What the models cost.
        max_instances: The user's limit.

    Raises:
        SettingError: there are more models than `max_instances`.
    """
    if len(tables) > max_instances:
        raise SettingError(
            f"The recordings need {len(tables)} models, a child has one, and max_instances is {max_instances}: "
            f"raise it to {len(tables)} or more, or take one folder at a time with the param prefix."
        )
    counts = _children_of_each(tables, children, rates)
    return [
        Share(choice, table, rows)
        for choice, table in tables.items()
        for rows in split(table.audio_seconds, counts[choice])
    ]


def _children_of_each(
    tables: Mapping[ModelChoice, RecordingTable], children: int, rates: CpuRates
) -> dict[ModelChoice, int]:
    """Give each model a child, and each further child to the model with the most work per child."""
    work = {
        choice: rates[choice] * (sum(table.audio_seconds) + len(table) * _OVERHEAD_SECONDS)
        for choice, table in tables.items()
    }
    counts = dict.fromkeys(tables, 1)
    most = [(-seconds, number, choice) for number, (choice, seconds) in enumerate(work.items())]
    heapq.heapify(most)
    for _ in range(children - len(tables)):
        while most and counts[most[0][2]] == len(tables[most[0][2]]):
            heapq.heappop(most)
        _, number, choice = most[0]
        counts[choice] += 1
        heapq.heapreplace(most, (-work[choice] / counts[choice], number, choice))
    return counts


def split(audio_seconds: Sequence[float], children: int) -> list[array[int]]:
    """Share recordings out so that the children end at about the same time.

    Longest first onto the least loaded child (Graham's LPT rule: at most 4/3 of the best makespan,
    doi:10.1137/0117039). Every child gets at least one recording if there are as many as children.

    Args:
        audio_seconds: Estimated duration of each recording.
        children: How many shares to make.

    Returns:
        The positions of each child's recordings, the longest first.
    """
    shares = [array("Q") for _ in range(children)]
    load = [(0.0, child) for child in range(children)]
    for position in sorted(range(len(audio_seconds)), key=audio_seconds.__getitem__, reverse=True):
        least, child = load[0]
        shares[child].append(position)
        heapq.heapreplace(load, (least + audio_seconds[position] + _OVERHEAD_SECONDS, child))
    return shares


def audio_seconds(key: str, size: int) -> float:
    """Estimated duration in seconds of a recording: its size divided by the usual bit rate of its extension."""
    return size / _BYTES_PER_SECOND.get(layout.extension(key), _WAV_BYTES_PER_SECOND)


def estimated_usd(cpu_seconds: float, children: int, prices: Configuration) -> float:
    """Estimated cost of the run's containers in US dollars. AWS bills at least a minute per child.

    Args:
        cpu_seconds: CPU time of the engines.
        children: Number of containers.
        prices: The deployment's settings.
    """
    container_seconds = cpu_seconds / prices.vcpus_per_child
    billed = max(container_seconds + children * prices.child_start_seconds, children * 60)
    return container_usd(billed, prices)


def estimated_seconds(shares: Iterable[Share], rates: CpuRates, prices: Configuration) -> float:
    """How long the job takes if all its children run at once: as long as the child with the most work."""
    most = max(rates[share.choice] * sum(map(share.table.audio_seconds.__getitem__, share.rows)) for share in shares)
    return most / prices.vcpus_per_child + prices.child_start_seconds


def container_usd(seconds: float, prices: Configuration) -> float:
    """Price of that many seconds of a child's container in US dollars."""
    hourly = prices.vcpus_per_child * prices.usd_per_vcpu_hour + prices.memory_gb_per_child * prices.usd_per_gb_hour
    return seconds / 3600 * hourly
