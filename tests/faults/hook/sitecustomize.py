"""Lets an engine or the decoder fail at one recording: loaded by each of the worker's processes, from PYTHONPATH.

FAULT_HOOK tells the function to wrap (`engine` or `decoder`), the deed, how often, the folder that counts the
times, and the recording that it happens at, by its size in bytes.
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


def commit(deed: str) -> None:
    if deed == "memory":
        from transcriber import decoder

        whole = decoder._some

        def hungry(*_: Any) -> bytearray:
            decoder._some = whole  # the next recording is none of its business
            return bytearray(8 << 30)  # more than the decoder may have

        decoder._some = hungry  # type: ignore[assignment]
        return
    blow, _, to_the_child = deed.partition(" ")
    if to_the_child:
        os.kill(int(Path(os.environ["PID_FILE"]).read_text()), getattr(signal, blow))
        return
    os.kill(os.getpid(), getattr(signal, blow))
    signal.pause()


def failing(function: Callable[..., Any], fault: dict[str, Any], is_victim: Callable[..., bool]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        done = len(list(Path(fault["folder"]).iterdir()))
        if done < fault["times"] and is_victim(*arguments):
            (Path(fault["folder"]) / f"{done}-{os.getpid()}").touch()
            commit(fault["deed"])
        return function(*arguments)

    return wrapped


def install(fault: dict[str, Any]) -> None:
    from transcriber import decoder, pool

    size = fault["size"]
    if fault["function"] == "engine":
        victim_samples = (size - WAV_HEADER) // 2
        pool._transcribe = failing(pool._transcribe, fault, lambda samples: len(samples) == victim_samples)
    else:
        decoder._next_batch = failing(
            decoder._next_batch, fault, lambda token, source, *_: isinstance(source, bytes) and len(source) == size
        )


if "FAULT_HOOK" in os.environ:
    install(json.loads(os.environ["FAULT_HOOK"]))
