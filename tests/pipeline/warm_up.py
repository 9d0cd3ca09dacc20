"""Importing this module imports what Airflow's commands import, and makes their internal API by its first request.

It must leave no thread, because a fork has only the thread that forks.
"""

from __future__ import annotations

import asyncio
from importlib import import_module

import httpx
from airflow.sdk.execution_time.supervisor import in_process_api_server

for _module in ("airflow.__main__", "airflow.cli.commands.dag_command"):
    import_module(_module)


async def _request() -> None:
    async with httpx.AsyncClient(transport=in_process_api_server().atransport) as client:
        await client.get("http://in-process/health")


asyncio.run(_request())
