"""What a job costs, and which recordings a run takes if all of them cost more than it may. Pure functions."""

from __future__ import annotations

import heapq
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from transcription import planning
from transcription.errors import TooExpensive
from transcription.grouping import Grouped
from transcription.model_rules import ModelFacts
from transcription.planning import CpuRates
from transcription.recording_table import RecordingTable
from transcription.wording import counted
from transcription_contract.model_files import ModelChoice
from transcription_contract.run_options import RunOptions

if TYPE_CHECKING:
    from transcription.configuration import Configuration

log = logging.getLogger(__name__)

_UNMEASURED = 0.30  # CPU time for a second of audio, if nobody measured it: as a full-size DeepSpeech model


class JobSize:
    """How many children a job has, and what they cost.

    Args:
        settings: The Airflow side's.
        run_options: The run's.
        rates: What the models cost that the recordings need; each has a child at least.
    """

    def __init__(self, settings: Configuration, run_options: RunOptions, rates: CpuRates) -> None:
        self._settings = settings
        self._minutes = run_options.audio_minutes_per_child
        self.rates = rates
        self.max_instances = run_options.max_instances or settings.max_instances_default
        self.max_usd = run_options.max_usd if run_options.max_usd is not None else settings.max_usd or math.inf

    def children(self, audio_seconds: float, files: int) -> int:
        """The number of children for so much audio."""
        wanted = planning.child_count(
            audio_seconds, files, max_instances=self.max_instances, audio_minutes_per_child=self._minutes
        )
        return max(wanted, len(self.rates))

    def usd(self, audio_seconds: float, cpu_seconds: float, files: int) -> float:
        """The estimated cost in US dollars of so much audio, which takes so much CPU time."""
        return planning.estimated_usd(cpu_seconds, self.children(audio_seconds, files), self._settings)

    def usd_of(self, grouped: Grouped) -> float:
        """The estimated cost of these recordings in US dollars."""
        return self.usd(grouped.audio_seconds, planning.cpu_seconds(grouped.tables, self.rates), grouped.files)


def cpu_rates(facts: Mapping[ModelChoice, ModelFacts], settings: Configuration) -> CpuRates:
    """The CPU time that each model takes for a second of audio: as the settings say, else as measured."""
    stated = settings.cpu_seconds_per_audio_second
    return {
        choice: stated or found.cpu_seconds(has_scorer=choice.has_scorer) or _UNMEASURED
        for choice, found in facts.items()
    }


def keep_within(grouped: Grouped, size: JobSize, *, cut: bool, again: bool) -> None:
    """Leave out recordings until the rest costs no more than the run may.

    Args:
        grouped: All recordings of the run.
        size: What the job costs, and what it may cost.
        cut: Whether the run takes what fits; otherwise it takes nothing.
        again: Whether the run transcribes again what is processed.

    Raises:
        TooExpensive: the run refuses to be cut, or nothing fits.
    """
    usd = size.usd_of(grouped)
    if usd <= size.max_usd:
        return
    all_files, all_seconds = grouped.files, grouped.audio_seconds
    figures = (
        f"{counted(all_files, 'recording')} with about {all_seconds / 3600:,.1f} hours of audio cost about "
        f"{usd:,.2f} US dollars, and max_usd is {size.max_usd:g}"
    )
    if not cut:
        raise TooExpensive(
            f"{figures}. Nothing is started. Raise max_usd, take a part with prefix, uploaded_from and uploaded_to, "
            "or set above_max_usd to cut, which takes the oldest uploads that fit."
        )
    if again:
        raise TooExpensive(f"{figures}. A run with again cannot be cut, because the next one would begin anew.")
    grouped.tables = what_fits(grouped.tables, size)
    if not grouped.tables:
        raise TooExpensive(f"{figures}. Not one of them fits: raise max_usd.")
    left = all_files - grouped.files
    grouped.left_alone += left
    log.warning("%s. The run takes %s; %s left for a later run.", figures, counted(grouped.files, "recording"), left)


def what_fits(tables: Mapping[ModelChoice, RecordingTable], size: JobSize) -> dict[ModelChoice, RecordingTable]:
    """The recordings that fit, the oldest uploads first. One that does not fit is passed over.

    Args:
        tables: All recordings by their model.
        size: What the job costs, and what it may cost.
    """
    rows: defaultdict[ModelChoice, list[int]] = defaultdict(list)
    seconds, work, files = 0.0, 0.0, 0
    for _, choice, row in heapq.merge(*(_by_age(choice, table) for choice, table in tables.items()), key=_uploaded):
        more = tables[choice].audio_seconds[row]
        more_work = work + more * size.rates[choice]
        if size.usd(seconds + more, more_work, files + 1) <= size.max_usd:
            seconds, work, files = seconds + more, more_work, files + 1
            rows[choice].append(row)
    return {choice: tables[choice].keep(sorted(rows[choice])) for choice in tables if rows[choice]}


def _by_age(choice: ModelChoice, table: RecordingTable) -> Iterator[tuple[float, ModelChoice, int]]:
    for row in sorted(range(len(table)), key=table.uploaded):
        yield table.uploaded(row), choice, row


def _uploaded(row: tuple[float, ModelChoice, int]) -> float:
    return row[0]
