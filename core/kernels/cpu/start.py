"""What happens once, before the first kernel runs."""

from __future__ import annotations

import sys
from typing import Any

from numba.core import event
from threadpoolctl import ThreadpoolController


class _Notice(event.Listener):
    """Says once that kernels are being compiled; nothing when all come from the disk."""

    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:
        """Numba did not find a function in its cache and compiles it."""
        module = event.data["dispatcher"].py_func.__module__
        if not self.said and module.startswith("core.kernels."):
            self.said = True
            print("compiling kernels, once: later runs load them from the disk", file=sys.stderr)

    def on_end(self, event: Any) -> None:
        """Nothing to say."""


def start() -> None:
    """Hold every loaded BLAS at one thread, and announce the first compilation.

    BLAS threads wait for work by spinning, on the cores that the kernels' own threads need.
    """
    ThreadpoolController().limit(limits=1, user_api="blas")
    event.register("numba:compile", _Notice())
