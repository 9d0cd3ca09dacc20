"""The page for whoever is not signed in, or lacks the right. It loads nothing, because they may not."""

from __future__ import annotations

import base64
import hashlib
from http import HTTPStatus

_STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif;
  background: light-dark(#fff, #111318); color: light-dark(#1a1d24, #e8eaf0); }
main { max-width: 26rem; padding: 2rem; text-align: center; }
h1 { font-size: 1.25rem; margin: 0 0 .5rem; }
p { margin: 0 0 1.5rem; color: light-dark(#565d6d, #a4abbb); }
a { display: inline-block; padding: .5rem 1rem; border-radius: .5rem; background: #1668dc; color: #fff;
  text-decoration: none; }
a:focus-visible { outline: 3px solid light-dark(#1668dc, #7fb2ff); outline-offset: 2px; }
"""

_TEXTS = {
    HTTPStatus.UNAUTHORIZED: (
        "You are not signed in",
        "Sign in to Airflow to see transcripts.",
        '<a href="../api/v2/auth/login?next=../../../transcripts/">Sign in</a>',
    ),
    HTTPStatus.FORBIDDEN: (
        "You may not see transcripts",
        "Your Airflow user lacks the right to read the runs of the DAG “transcription”. "
        "Ask an administrator of Airflow for it.",
        "",
    ),
}

_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; frame-ancestors 'self'"


def page(status: HTTPStatus) -> str:
    """The HTML for a status 401 or 403."""
    title, text, link = _TEXTS[status]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1><p>{text}</p>{link}</main></body></html>"
    )
