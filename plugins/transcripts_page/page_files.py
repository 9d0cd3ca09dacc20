"""The files of the page in the browser. They are read once, and only these names are served."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageFile(NamedTuple):
    """A file as a response."""

    body: bytes
    content_type: str
    etag: str


@cache
def page_files() -> dict[str, PageFile]:
    """All files by their names."""
    return {
        file.name: PageFile(body, _TYPES[file.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        for file in _FOLDER.iterdir()
        if file.suffix in _TYPES
        for body in (file.read_bytes(),)
    }
