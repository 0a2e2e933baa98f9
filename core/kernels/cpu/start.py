"""What happens once, before the first kernel runs."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from numba.core import event
from numba.core.registry import cpu_target
from threadpoolctl import ThreadpoolController

# mallopt's names for limits in glibc's malloc.h, and the limits: what is freed at the heap's end
# stays; the largest arrays have pages of their own, and no holes of the heap have to fit them.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _APART = 1 << 30, 1 << 25


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
    """Hold every loaded BLAS at one thread, keep freed memory, load Numba, announce compiling.

    BLAS threads wait for work by spinning, on the cores that the kernels' own threads need. Numba
    would load the larger part of itself (40 MB) in the middle of the first kernel.
    """
    _keep_memory()
    ThreadpoolController().limit(limits=1, user_api="blas")
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()
    event.register("numba:compile", _Notice())


def _keep_memory() -> None:
    """Let freed arrays be used again, with glibc; elsewhere nothing happens.

    It would give them back to the system, which clears every page that a next step asks for:
    a tenth of a step's time.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _APART)
