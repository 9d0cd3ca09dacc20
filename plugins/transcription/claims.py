"""The recordings in the plans of other runs. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from transcription_contract import layout

DURATION = timedelta(minutes=10)
"""How long manifests reserve recordings before their job exists."""


@dataclass(frozen=True)
class Claims:
    """Recordings that no other run may plan.

    They are claimed by their names and not by their keys: a new upload `input/x` and the processed `processed/x` have
    the same transcript.
    """

    runs: Mapping[str, str]
    """Folder (see `layout.run_folder`) of the run that has a recording, by the recording's name."""
    stems: Set[str]
    """Transcript keys without extension that these recordings may take."""
    ends: Mapping[str, datetime]
    """When the claims of a run end that has no live job, by the run's folder."""

    def reason(self, run: str) -> str:
        """Why a recording of this run is left alone, and until when.

        Args:
            run: One of the values of `runs`.
        """
        if run in self.ends:
            return f"the run {run} has planned it; without a job it keeps it until {self.ends[run]:%H:%M:%S} UTC"
        return f"the run {run} has it in its plan, and keeps it until its Batch job ends"


NO_CLAIMS = Claims({}, frozenset(), {})


def claims_of(planned: Iterable[tuple[str, str]], ends: Mapping[str, datetime]) -> Claims:
    """The claims of other runs.

    Args:
        planned: Names of recordings, each with the folder of the run that planned it.
        ends: When the claims of the runs without a live job end.
    """
    runs = dict(planned)
    stems = {stem for stem in map(layout.stem_key, runs) if stem is not None}
    return Claims(runs, stems, ends)
