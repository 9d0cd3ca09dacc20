"""Who may use the page: rights of Airflow on the DAG's runs, and a header that no other site can send."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import Depends, HTTPException, Request

DAG = "transcription"
HEADER = "X-Transcripts-Page"
"""A browser sends Airflow's cookie with a form of any site, but this header only from the page itself."""


def _from_the_page(request: Request) -> None:
    if HEADER not in request.headers:
        raise HTTPException(HTTPStatus.FORBIDDEN, f"The request lacks the header {HEADER}, which the page sends.")


MAY_READ = Depends(requires_access_dag("GET", DagAccessEntity.RUN, DAG))
MAY_READ_LOGS = Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS, DAG))
MAY_START = [Depends(requires_access_dag("POST", DagAccessEntity.RUN, DAG)), Depends(_from_the_page)]
MAY_CORRECT = [Depends(requires_access_dag("PUT", DagAccessEntity.RUN, DAG)), Depends(_from_the_page)]


def rights_of(user: GetUserDep) -> dict[str, Any]:
    """The user's name, and what the page may offer: `start` (runs, uploads, retries), `correct`, `logs`."""

    def may(method: Any, entity: DagAccessEntity) -> bool:
        return get_auth_manager().is_authorized_dag(
            method=method, access_entity=entity, details=DagDetails(id=DAG), user=user
        )

    return {
        "name": user.get_name(),
        "start": may("POST", DagAccessEntity.RUN),
        "correct": may("PUT", DagAccessEntity.RUN),
        "logs": may("GET", DagAccessEntity.TASK_LOGS),
    }
