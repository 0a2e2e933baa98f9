"""Ctrl-C as a flag that a training loop reads between steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Interrupt:
    """Whether the user asked to stop: `requested` turns True at the first Ctrl-C."""

    def __init__(self) -> None:
        self.requested = False

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # Not print(): a handler may run in the middle of one, which Python refuses to re-enter.
        with suppress(OSError):
            os.write(2, b"\nstopping after this step; Ctrl-C again stops at once\n")


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn SIGINT and SIGTERM inside the block into a flag.

    The first signal sets `requested`, the second raises KeyboardInterrupt. The earlier handlers
    come back at the end. Python delivers signals to the main thread alone: in any other thread
    nothing is installed and `requested` stays False.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    earlier = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            earlier[number] = signal.signal(number, interrupt._handle)
        yield interrupt
    finally:
        for number, handler in earlier.items():
            # None: a handler that was not set from Python, and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
