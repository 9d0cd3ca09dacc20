"""The signals that ask the worker to stop: SIGTERM from Batch, SIGINT from a terminal.

They are held back until the worker can handle them. The image's entry point holds SIGTERM back already before Python
starts. A signal that came meanwhile takes effect at `handle`.
"""

from __future__ import annotations

import signal

from .failures import Terminated

ENDING = (signal.SIGTERM, signal.SIGINT)


def hold() -> None:
    """Hold the signals back. They wait until `handle`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def handle() -> None:
    """Let the first signal raise Terminated in the main thread, now if it came already.

    A container's first process does not get signals that it has no handler for.
    """
    for ending in ENDING:
        signal.signal(ending, _terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def _terminate(signal_number: int, _frame: object) -> None:
    """Interrupt the main thread once; later signals must not interrupt how it ends."""
    for ending in ENDING:
        signal.signal(ending, signal.SIG_IGN)
    raise Terminated(signal.Signals(signal_number).name)
