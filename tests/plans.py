"""Plans for the tests of the tasks that follow `plan`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from transcription import planning
from transcription.plan_summary import PlanSummary
from transcription.planning import StoredObject
from transcription_contract.manifest import Recording


def register_job(batch: Any, *command: str) -> None:
    """Register the job definition `sleeper`, whose container runs the command.

    Args:
        batch: A boto3 client of Batch.
    """
    sizes = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}]
    container = {"name": "worker", "image": "worker", "command": list(command), "resourceRequirements": sizes}
    batch.register_job_definition(
        jobDefinitionName="sleeper",
        type="container",
        ecsProperties={"taskProperties": [{"containers": [container]}]},
    )


def planned(objects: Iterable[StoredObject]) -> list[Recording]:
    """Convert objects to the recordings of a plan."""
    return [item for item in planning.recordings(objects, frozenset()) if isinstance(item, Recording)]


def plan_summary(manifest_prefix: str, **changes: Any) -> dict[str, Any]:
    """The return value of the task `plan`, for one recording."""
    values: dict[str, Any] = {
        "plan_id": "0123456789abcdef",
        "made_from": "fedcba9876543210",
        "prefix": "",
        "planned": datetime.now(UTC),
        "files": 1,
        "children": 1,
        "left_alone": 0,
        "unusable_models": (),
        "largest_files": (),
        "estimated_audio_hours": 0.0,
        "estimated_minutes": 1.0,
        "estimated_usd": 0.0,
        "dry_run": False,
    }
    return PlanSummary(**{**values, "manifest_prefix": manifest_prefix, **changes}).to_json()
