"""The recordings of a run by their model."""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from transcription import planning
from transcription.errors import ModelUnusable
from transcription.model_rules import ModelRule
from transcription.plan_summary import LargeFile
from transcription.planning import Unplanned
from transcription.recording_table import RecordingTable
from transcription_contract.manifest import Recording
from transcription_contract.model_files import ModelChoice

log = logging.getLogger(__name__)

_LOGGED = 100  # objects left alone that the log names
_LARGEST = 10  # recordings that a plan names


@dataclass
class Grouped:
    """The run's recordings by their model, and what is left alone."""

    tables: dict[ModelChoice, RecordingTable] = field(default_factory=lambda: defaultdict(RecordingTable))
    left_alone: int = 0
    first_left_alone: Unplanned | None = None
    unusable_models: set[str] = field(default_factory=set)
    """Why models are not used."""
    oldest_waiting: datetime | None = None
    """Upload time of the oldest recording that waits in `input/` and no other run has."""

    @property
    def files(self) -> int:
        """How many recordings there are."""
        return sum(map(len, self.tables.values()))

    def largest_files(self) -> list[LargeFile]:
        """The largest recordings, the largest first."""
        sizes = ((size, table, row) for table in self.tables.values() for row, size in enumerate(table.sizes))
        largest = heapq.nlargest(_LARGEST, sizes, key=lambda found: found[0])
        return [
            LargeFile(table[row].source_key, size, round(table.audio_seconds[row] / 60, 1))
            for size, table, row in largest
        ]

    @property
    def audio_seconds(self) -> float:
        """Estimated audio of all recordings."""
        return sum(sum(table.audio_seconds) for table in self.tables.values())


def group_by_model(items: Iterable[Recording | Unplanned], rule: ModelRule) -> Grouped:
    """Give each recording its model; log what is left alone.

    Raises:
        ModelUnusable: the model that the run or the deployment names cannot be used.
    """
    grouped = Grouped()
    for item in items:
        if isinstance(item, Unplanned):
            unplanned = item
        else:
            if not item.in_place and (grouped.oldest_waiting is None or item.uploaded < grouped.oldest_waiting):
                grouped.oldest_waiting = item.uploaded
            choice = rule.choice_of(item.name)
            if not isinstance(choice, ModelUnusable):
                grouped.tables[choice].append(item, planning.audio_seconds(item.source_key, item.source_size))
                continue
            grouped.unusable_models.add(str(choice))
            unplanned = Unplanned(item.source_key, str(choice).rstrip("."))
        grouped.left_alone += 1
        grouped.first_left_alone = grouped.first_left_alone or unplanned
        if grouped.left_alone <= _LOGGED:
            log.warning("Left alone: %r: %s.", unplanned.key, unplanned.reason)
    return grouped
