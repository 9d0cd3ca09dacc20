"""Log events of what libraries and engines write to stderr.

They write piece by piece. If stdout and stderr are one pipe, such a piece would make a line of the log unreadable.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import BinaryIO

from .log import log

_END = b"\0the worker ends\0"


class StderrLog:
    """Takes the place of stderr for this process and its children, and logs each line as an event `stderr`."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._stderr = sys.stderr.fileno()
        os.dup2(writing, self._stderr)
        os.close(writing)
        self._thread = threading.Thread(target=_log_lines, args=(os.fdopen(reading, "rb"),), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Log what was written until now. No child that still writes may be left."""
        os.write(self._stderr, b"\n" + _END + b"\n")
        self._thread.join()


def _log_lines(stderr: BinaryIO) -> None:
    for line in stderr:
        text = line.decode(errors="replace").strip()
        if line.strip() == _END:
            return
        if text:
            log("stderr", line=text)
