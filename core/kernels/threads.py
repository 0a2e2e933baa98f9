"""One small pool of threads for kernels that release Python's lock.

Work comes as a number of chunks that depends on the shapes alone, and a chunk computes the
same bits whichever thread takes it: results do not depend on the number of threads.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# Values that are worth pages of their own.
_PAGES = 1 << 16


class _State:
    """What belongs to this process: the wanted number of threads, and the pool once it is used."""

    def __init__(self) -> None:
        self.threads: int | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the pool: after a fork its threads exist in the parent only."""
        self.pool: ThreadPoolExecutor | None = None
        self.lock = threading.Lock()
        self.local = threading.local()


_state = _State()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_state.reset)


def get_num_threads() -> int:
    """Threads that kernels use: what was set, $OPENBOOK_NUM_THREADS, or one for each core.

    Raises ValueError when the variable is not a positive number.
    """
    if _state.threads is None:
        _state.threads = _from_environment() or _cores()
    return _state.threads


def set_num_threads(threads: int) -> None:
    """Use so many threads from the next kernel on; ValueError when that is no positive number."""
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"set_num_threads: got {threads!r}, expected an int >= 1")
    with _state.lock:
        if _state.pool is not None:
            _state.pool.shutdown(wait=False)
        _state.pool, _state.threads = None, threads


def run(task: Callable[[int], object], chunks: int) -> None:
    """Call task(0), ..., task(chunks - 1), in any order, and return when all are done.

    One chunk, one thread, and tasks that themselves run tasks stay on the calling thread.
    """
    helpers = min(get_num_threads(), chunks) - 1
    if helpers < 1 or getattr(_state.local, "busy", False):
        for chunk in range(chunks):
            task(chunk)
        return
    counter = itertools.count()

    def drain() -> None:
        _state.local.busy = True
        try:
            while (chunk := next(counter)) < chunks:
                task(chunk)
        finally:
            _state.local.busy = False

    futures = [_pool().submit(drain) for _ in range(helpers)]
    try:
        drain()
    finally:
        for future in futures:
            future.result()


def scratch(purpose: str, size: int) -> np.ndarray:
    """A float32 array of at least `size` values, this thread's own for that purpose.

    It is valid until the thread asks for the same purpose again. New memory would cost more
    than the work on it: the system clears every page of it first.
    """
    buffers: dict[str, np.ndarray] = _state.local.__dict__.setdefault("buffers", {})
    if purpose not in buffers or buffers[purpose].size < size:
        buffers[purpose] = _apart(size)
    return buffers[purpose]


def _apart(size: int) -> np.ndarray:
    """So many float32 values in pages of their own.

    What lives long must not lie in the heap between arrays that come and go: it would split the
    space that the next step's large ones need.
    """
    if size < _PAGES or not hasattr(mmap, "MAP_PRIVATE"):
        return np.empty(size, np.float32)
    pages = mmap.mmap(-1, 4 * size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, np.float32)


def _pool() -> ThreadPoolExecutor:
    with _state.lock:
        if _state.pool is None:
            _state.pool = ThreadPoolExecutor(get_num_threads(), "kernels")
        return _state.pool


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # the cores that this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _from_environment() -> int | None:
    text = os.environ.get("OPENBOOK_NUM_THREADS")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"OPENBOOK_NUM_THREADS is {text!r}, expected a whole number >= 1")
    return int(text)
