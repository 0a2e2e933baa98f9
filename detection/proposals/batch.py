"""Proposals of many pictures: over processes, and kept on disk."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.data.cache import ArrayCache
from core.training.progress import track
from detection.proposals import search

Picture = NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SearchOptions:
    """The arguments of :func:`detection.proposals.selective_search`."""

    mode: str = "fast"
    max_proposals: int = 1000
    seed: int = 0
    longest_side: int = 320
    min_size: float = 8.0


def proposal_cache(folder: str | Path, dataset: str, options: SearchOptions) -> ArrayCache:
    """Open the cache of the proposals of a data set; other options are another cache."""
    if options.mode not in search.MODES:
        raise ValueError(f"proposals: expected mode 'fast' or 'quality', got {options.mode!r}")
    settings = {
        "what": "proposals",
        "version": search.VERSION,
        "dataset": dataset,
        "options": asdict(options),
        "strategies": asdict(search.MODES[options.mode]),
    }
    return ArrayCache(folder, settings)


def proposals_for(
    pictures: Sequence[Picture],
    options: SearchOptions | None = None,
    *,
    workers: int = 2,
    cache: ArrayCache | None = None,
    keys: Sequence[str] | None = None,
) -> list[Floats]:
    """Return the proposals (n, 4) of every picture, in order.

    A picture is an array (H, W, 3) uint8 or a function that reads one, called only when its
    proposals are not in ``cache`` under its key. ``workers`` processes are spawned (1: none), so
    that the caller's main module must be importable without side effects. Progress is shown. An
    interrupt ends the workers; what was done is in the cache. Raises ValueError when there is a
    cache without one key for each picture, and whatever the search raises.
    """
    options = options or SearchOptions()
    if cache is not None and (keys is None or len(keys) != len(pictures)):
        raise ValueError("proposals_for: a cache needs one key for each picture")
    results: list[Floats | None] = [None] * len(pictures)
    if cache is not None and keys is not None:
        results = [_checked(cache.get(key)) for key in keys]
    missing = [index for index, boxes in enumerate(results) if boxes is None]
    found = _search_all(pictures, missing, options, min(workers, len(missing)))
    if missing:
        found = track(found, "proposals", total=len(missing))
    for index, boxes in found:
        results[index] = boxes
        if cache is not None and keys is not None:
            cache.put(keys[index], boxes)
    return [boxes for boxes in results if boxes is not None]


def _checked(stored: NDArray | None) -> Floats | None:
    usable = stored is not None and stored.ndim == 2 and stored.shape[1] == 4
    return stored.astype(np.float32) if stored is not None and usable else None


def _search(picture: NDArray[np.uint8], options: SearchOptions) -> Floats:
    return search.selective_search(picture, **asdict(options))


def _load(picture: Picture) -> NDArray[np.uint8]:
    return picture() if callable(picture) else picture


def _search_all(
    pictures: Sequence[Picture], indices: list[int], options: SearchOptions, workers: int
) -> Iterator[tuple[int, Floats]]:
    if workers <= 1:
        for index in indices:
            yield index, _search(_load(pictures[index]), options)
        return
    waiting: deque[tuple[int, Future[Floats]]] = deque()
    with _pool(workers) as pool:
        for index in indices:
            waiting.append((index, pool.submit(_search, _load(pictures[index]), options)))
            # A few pictures ahead keep the workers busy; all at once would fill the memory.
            if len(waiting) > 4 * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_follow_the_parent)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _follow_the_parent() -> None:
    # Ctrl-C goes to the whole group; the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A worker holds both ends of its queue, so it would wait for a killed parent for ever.
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
