"""The summary of a plan for the tasks after `plan`. Its size does not depend on the number of recordings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from transcription.errors import PlanMissing
from transcription.wording import counted


@dataclass(frozen=True)
class LargeFile:
    """One of the largest recordings of a plan."""

    source_key: str
    size: int
    """In bytes."""
    audio_minutes: float
    """Estimated."""


@dataclass(frozen=True, kw_only=True)
class PlanSummary:
    """One plan of a run. A run that is cleared plans again, with another id."""

    plan_id: str
    made_from: str
    """16 hexadecimal digits, another for other params, models, worker or interval."""
    planned: datetime
    """When `plan` wrote the manifests."""
    manifest_prefix: str
    prefix: str
    """Folder under `input/` that the run takes; empty for all."""
    files: int
    """Planned recordings."""
    children: int
    """Manifests, and children of the Batch job."""
    left_alone: int
    """Objects under the run's prefix that are not planned."""
    unusable_models: tuple[str, ...]
    """Why models are not used, the first few reasons."""
    largest_files: tuple[LargeFile, ...]
    """The ten largest recordings, the largest first."""
    estimated_audio_hours: float
    estimated_minutes: float
    """How long the job takes if all its children run at once."""
    estimated_usd: float
    dry_run: bool
    """Whether the run ends with its plan."""

    def to_json(self) -> dict[str, Any]:
        """The summary as the XCom of `plan`."""
        # Lists and not tuples, which Airflow wraps in its own form.
        return {
            **asdict(self),
            "planned": self.planned.isoformat(),
            "unusable_models": list(self.unusable_models),
            "largest_files": [asdict(file) for file in self.largest_files],
        }

    def to_bytes(self) -> bytes:
        """The summary as it stands in the bucket."""
        return json.dumps(self.to_json(), indent=1).encode()

    @classmethod
    def read(cls, body: bytes | None) -> PlanSummary | None:
        """Read what `to_bytes` made; None if there is nothing, or a plan of another version of this program."""
        return cls._of(json.loads(body)) if body else None

    @classmethod
    def of_xcom(cls, value: object, task: str) -> PlanSummary:
        """Read what `plan` returned.

        Args:
            value: The XCom; None if `plan` has not run.
            task: The task that needs it, for the message.

        Raises:
            PlanMissing: it is not a plan.
        """
        plan = cls._of(value)
        if plan is None:
            raise PlanMissing(
                f"The run has no plan, which {task!r} needs. Run the whole DAG (`airflow dags test transcription`), or "
                f"name a run whose `plan` has run: `airflow tasks test transcription {task} RUN_ID` "
                "(`airflow dags list-runs transcription` lists them)."
            )
        return plan

    @classmethod
    def _of(cls, value: object) -> PlanSummary | None:
        if not isinstance(value, Mapping) or set(value) != set(cls.__dataclass_fields__):
            return None
        read = {
            "planned": datetime.fromisoformat(value["planned"]),
            "unusable_models": tuple(value["unusable_models"]),
            "largest_files": tuple(LargeFile(**file) for file in value["largest_files"]),
        }
        return cls(**{**value, **read})

    def __str__(self) -> str:
        """The plan in words, for the log of `plan`."""
        left_alone = f"; {counted(self.left_alone, 'object')} left alone" if self.left_alone else ""
        largest = "".join(
            f"\n  {file.size / 1e6:10,.1f} MB, about {file.audio_minutes:,.0f} min: {file.source_key!r}"
            for file in self.largest_files
        )
        return (
            f"{counted(self.files, 'recording')} with about {self.estimated_audio_hours:,.2f} hours of audio "
            f"for {counted(self.children, 'child')}{left_alone}. "
            f"The job takes about {self.estimated_minutes:,.0f} min if all children run at once, "
            f"and about {self.estimated_usd:,.2f} US dollars of compute. The largest:{largest}"
        )
