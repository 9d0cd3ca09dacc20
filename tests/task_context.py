"""The parts of Airflow's task context that the DAG's tasks use."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from transcription.params import PARAMS


class Store(dict[str, Any]):
    """Airflow's task state store, as a mapping in memory."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


def task_context(run_id: str, *, backfill: tuple[datetime, datetime] | None = None, **params: Any) -> dict[str, Any]:
    """The context of a task.

    Args:
        run_id: The run's id.
        backfill: The interval of a backfill run.
        params: The run's params that differ from the defaults.
    """
    start, end = backfill or (None, None)
    kind = "backfill" if backfill else "manual"
    return {
        "run_id": run_id,
        "dag_run": SimpleNamespace(run_type=kind, data_interval_start=start, data_interval_end=end),
        "params": {**{key: param.value for key, param in PARAMS.items()}, **params},
        "outlet_events": defaultdict(SimpleNamespace),
        "task_state_store": Store(),
        "ti": None,
        "task_instance": None,
    }
