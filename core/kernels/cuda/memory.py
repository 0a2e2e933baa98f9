"""Memory of the GPU: CuPy's pool with a limit, and a message for the day when it is full."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@cache
def prepare(cupy: Any) -> None:
    """Let CuPy allocate from its pool, at most $OPENBOOK_GPU_MEMORY ("8G"), and say what failed.

    Raises ValueError for a limit that is no size.
    """
    cupy.cuda.set_allocator(allocator(cupy, cupy.get_default_memory_pool()))


def allocator(cupy: Any, pool: Any) -> Callable[[int], Any]:
    """What allocates from `pool` within the limit, and says what failed."""
    limit = os.environ.get("OPENBOOK_GPU_MEMORY")
    if limit:
        pool.set_limit(size=size_of(limit))
    return guarded(cupy, pool.malloc)


def size_of(text: str) -> int:
    """Bytes of "800M" or "8G" (or GB, GiB). Raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or not float(match[1]):
        raise ValueError(f"OPENBOOK_GPU_MEMORY is {text!r}, expected a size such as 800M or 8G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def guarded(cupy: Any, allocate: Callable[[int], Any]) -> Callable[[int], Any]:
    """`allocate` whose failure says for what there was no room, and what to try."""

    def allocated(size: int) -> Any:
        try:
            return allocate(size)
        except cupy.cuda.memory.OutOfMemoryError:
            free, total = cupy.cuda.runtime.memGetInfo()
            raise RuntimeError(
                f"{_operation()}: the GPU has no room for {_mb(size)} more ({_mb(total - free)} of "
                f"{_mb(total)} are in use); try a smaller batch, --precision bfloat16, or "
                "core.checkpoint"
            ) from None

    return allocated


def _operation() -> str:
    """The operation of the core that is running, for a message."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("core.functional"):
            return frame.f_code.co_qualname.partition(".")[0]
        frame = frame.f_back  # type: ignore[assignment]
    return "core"


def _mb(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MiB"
