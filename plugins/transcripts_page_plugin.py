"""The Transcripts page in Airflow's UI: an entry of the navigation, and a tab on each run.

Every process of Airflow loads this file, so the page's code is imported by the first request only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

_Message = MutableMapping[str, Any]


async def page(
    scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
) -> None:
    """The page as an ASGI application."""
    from transcripts_page.server import app

    await app(scope, receive, send)


_ICONS = {"icon": "transcripts/icon.svg", "icon_dark_mode": "transcripts/icon-dark.svg"}
_APPS = [{"app": page, "url_prefix": "/transcripts", "name": "Transcripts"}]
# Addresses are relative, because Airflow may be served under a path.
_VIEWS = [
    {
        "name": "Transcripts",
        "href": "transcripts/",
        "destination": "nav",
        "nav_top_level": True,
        "url_route": "transcripts",
        **_ICONS,
    },
    {
        "name": "Transcripts",
        "href": "transcripts/?dag={DAG_ID}&run={RUN_ID}",
        "destination": "dag_run",
        "url_route": "transcripts_of_run",
        **_ICONS,
    },
]


class TranscriptsPagePlugin(AirflowPlugin):
    """Registers the page."""

    name = "transcripts_page"
    fastapi_apps = _APPS
    external_views = _VIEWS
