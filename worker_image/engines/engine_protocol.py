"""The engine's side of the protocol between worker and engines (docs/engines.md), for engines written in Python.

A program calls `serve` with a function that loads the model. It needs numpy and Python 3.9 or later; the worker puts
this module on the path of every engine.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.int16]
"""Mono samples of shape (n,) at the engine's rate. Full scale is ±32768."""


class Refused(Exception):
    """Model, scorer or options cannot be used. The message says which, and why."""


class Engine(Protocol):
    """A loaded engine."""

    facts: dict[str, Any]
    """What the engine is: its first answer, as docs/engines.md describes it."""

    def recognise(self, pieces: Sequence[Samples]) -> list[list[dict[str, Any]]]:
        """The segments of each piece, as docs/engines.md describes them."""


def serve(load: Callable[[dict[str, Any]], Engine]) -> None:
    """Load the engine, then answer the worker until it ends.

    Args:
        load: Makes the engine from the first message. It raises `Refused` if that cannot be.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker
    connection = Connection(int(sys.argv[1]))
    try:
        engine = load(json.loads(connection.recv_bytes()))
        _send(connection, engine.facts)
        while True:
            lengths = json.loads(connection.recv_bytes())["pieces"]
            samples = np.frombuffer(connection.recv_bytes(), "<i2")
            _send(connection, {"begun": True})
            _send(connection, _answer(engine, np.split(samples, np.cumsum(lengths)[:-1])))
    except EOFError:  # the worker has ended
        return
    except Refused as refusal:
        _send(connection, {"refused": str(refusal)})
    except Exception:
        _send(connection, {"error": traceback.format_exc()})


def _answer(engine: Engine, pieces: Sequence[Samples]) -> dict[str, Any]:
    started = time.process_time()
    try:
        recognitions = engine.recognise(pieces)
    except Exception:
        return {"error": traceback.format_exc()}
    return {"recognitions": recognitions, "compute_seconds": time.process_time() - started}


def _send(connection: Connection, message: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(message).encode())
