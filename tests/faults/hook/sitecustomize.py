"""Makes an engine or the decoder fail at one recording. Each of the worker's processes loads it from PYTHONPATH.

FAULT_HOOK is a JSON object: the function to wrap (`engine` or `decoder`), the failure (a signal, or
`memory`), how often it happens, a folder with one file per failure so far, and the size of the recording in bytes.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAV_HEADER = 44


def fail(failure: str) -> None:
    """Make this process fail, or send a signal to the worker if `failure` ends with `to the worker`."""
    if failure == "memory":
        from transcriber import decoder

        original = decoder._some

        def allocate(*_: Any) -> bytearray:
            decoder._some = original  # only this recording fails
            return bytearray(8 << 30)  # more memory than the decoder's limit

        decoder._some = allocate  # type: ignore[assignment]
        return
    name, _, to_worker = failure.partition(" ")
    if to_worker:
        os.kill(int(Path(os.environ["PID_FILE"]).read_text()), getattr(signal, name))
        return
    os.kill(os.getpid(), getattr(signal, name))
    signal.pause()


def failing(function: Callable[..., Any], fault: dict[str, Any], is_target: Callable[..., bool]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        done = len(list(Path(fault["folder"]).iterdir()))
        if done < fault["times"] and is_target(*arguments):
            (Path(fault["folder"]) / f"{done}-{os.getpid()}").touch()
            fail(fault["failure"])
        return function(*arguments)

    return wrapped


def install(fault: dict[str, Any]) -> None:
    size = fault["size"]
    if fault["function"] == "engine":
        try:
            import engine_protocol
        except ImportError:  # no engine's process
            return
        samples = (size - WAV_HEADER) // 2
        engine_protocol._answer = failing(engine_protocol._answer, fault, lambda _, pieces: samples in map(len, pieces))
    else:
        from transcriber import decoder

        decoder._next_pieces = failing(
            decoder._next_pieces, fault, lambda token, source, *_: isinstance(source, bytes) and len(source) == size
        )


if "FAULT_HOOK" in os.environ:
    install(json.loads(os.environ["FAULT_HOOK"]))
