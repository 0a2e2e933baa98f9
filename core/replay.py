"""Steps of a GPU that are recorded once and replayed: one launch instead of hundreds.

    step = core.graphed(lambda: train_step(x, target))
    for batch in loader:
        ...                      # write the batch into the arrays that the step reads
        loss = step()            # the same tensor every time, with new values

A CUDA graph holds kernels and addresses. What the host computes anew for each step, such as the
learning rate or the counter of dropout, is a few numbers in the card's memory: a kernel that needs
them asks for their place with `numbers`, and who computes them promises to with `on_replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from core.device import Array

R = TypeVar("R")
Source = Callable[[], Sequence[float]]

_WARM_UP = 2
_CAPACITY = 4096  # numbers of one recording
_RING = 8  # uploads that may be under way


class _Numbers:
    """The numbers of one recording, on the card, and who computes them."""

    def __init__(self, cupy: Any) -> None:
        self._device = cupy.zeros(_CAPACITY, np.float64)
        self._pinned = np.frombuffer(
            cupy.cuda.alloc_pinned_memory(8 * _CAPACITY * _RING), np.float64, _CAPACITY * _RING
        ).reshape(_RING, _CAPACITY)
        self._uploaded: list[Any] = [None] * _RING
        # Who computes each place: a source, or the place that has the same numbers.
        self._sources: list[tuple[slice, Source | slice]] = []
        self._shared: dict[object, slice] = {}
        self._waiting: list[slice] = []
        self._used = self._turn = 0
        self._first = np.zeros(_CAPACITY)
        self.kept: list[Any] = []

    def take(self, first: Sequence[float]) -> Array:
        count = len(first)
        place = slice(self._used, self._used + count)
        if place.stop > _CAPACITY:
            raise RuntimeError(f"graphed: a step may have {_CAPACITY} numbers, this one has more")
        self._used = place.stop
        self._first[place] = first
        self._waiting.append(place)
        return self._device[place]

    def promise(self, source: Source, key: object = None) -> None:
        if not self._waiting:
            raise RuntimeError(
                "graphed: a kernel of the reference would repeat the numbers of one step for ever"
            )
        first = self._shared.get(key) if key is not None else None
        for place in self._waiting:
            self._sources.append((place, source if first is None else first))
            first = place if first is None else first
        if key is not None and first is not None:
            self._shared.setdefault(key, first)
        self._waiting = []

    def complete(self) -> None:
        """Give the first replay the numbers of the recording.

        Raises RuntimeError when a kernel reads numbers that nobody computes.
        """
        if self._waiting:
            raise RuntimeError("graphed: a kernel reads numbers that nobody computes")
        self._device.set(self._first)

    def upload(self, stream: Any) -> None:
        """Ask everybody for new numbers and send them off."""
        if not self._used:
            return
        self._turn = (self._turn + 1) % _RING
        if self._uploaded[self._turn] is not None:
            self._uploaded[self._turn].synchronize()
        row = self._pinned[self._turn]
        for place, source in self._sources:
            values = row[source] if isinstance(source, slice) else source()
            row[place.start : place.start + len(values)] = values
        _copy(self._device, row[: self._used], stream)
        self._uploaded[self._turn] = stream.record()


def _copy(target: Array, row: np.ndarray, stream: Any) -> None:
    target.data.copy_from_host_async(row.ctypes.data, row.nbytes, stream)


_recording: _Numbers | None = None


def need_no_recording() -> None:
    """Raise RuntimeError inside a recording, which would keep an array of the host for ever."""
    if _recording is not None:
        raise RuntimeError("graphed: a step took an array of the host; move it to the GPU before")


def keep(*arrays: Array) -> None:
    """Let a recording hold arrays that it reads and that nobody else may hold for as long."""
    if _recording is not None:
        _recording.kept += arrays


def numbers(first: Sequence[float]) -> Array | None:
    """Where a kernel finds its float64 numbers when it is replayed; None outside a recording.

    `first` are those of the step that is being recorded.
    """
    return None if _recording is None else _recording.take(first)


def on_replay(source: Source, key: object = None) -> None:
    """Promise that `source` gives the numbers of all places asked for since the last promise.

    Promises of one `key` are one: all their places get the numbers of the first. It is called
    before each replay. Nothing happens outside a recording. Raises RuntimeError when no kernel
    asked: it would repeat the numbers that it was recorded with.
    """
    if _recording is not None:
        _recording.promise(source, key)


class Graphed(Generic[R]):
    """See `graphed`."""

    def __init__(self, step: Callable[[], R]) -> None:
        import cupy

        from core.kernels.cuda import memory

        self._cupy, self._step = cupy, step
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._allocate = memory.allocator(cupy, cupy.cuda.MemoryPool())
        self._calls = 0
        self._graph: Any = None

    def __call__(self) -> R:
        """One step; the result is the same object each time once the step is recorded."""
        outer = self._cupy.cuda.get_current_stream()
        if self._graph is None:
            outer.synchronize()
            with self._stream, self._cupy.cuda.using_allocator(self._allocate):
                self._calls += 1
                if self._calls <= _WARM_UP:
                    result = self._step()
                    self._stream.synchronize()
                    return result
                self._record()
                self._stream.synchronize()
        else:
            self._numbers.upload(outer)
        self._graph.launch(stream=outer)
        return self._result

    def _record(self) -> None:
        global _recording
        if _recording is not None:
            raise RuntimeError("graphed: a step that is recorded cannot record another")
        self._numbers = _recording = _Numbers(self._cupy)
        self._stream.synchronize()
        self._stream.begin_capture()
        try:
            self._result = self._step()
        finally:
            _recording = None
            graph = self._stream.end_capture()
        self._numbers.complete()
        self._graph = graph


def graphed(step: Callable[[], R], device: str = "cuda") -> Callable[[], R]:
    """`step` recorded as one CUDA graph; on the "cpu" it stays as it is.

    The first two calls run `step` as it is, the third records it and runs the recording, as all
    further ones do. A step may read and write arrays that exist already; it must not read values
    back (`item`, `numpy`) nor take arrays of the host, and must do the same every time. Its result
    is overwritten by the next call. A new `core.seed` is not seen by its dropout. Raises what the
    step raises, and RuntimeError for one that cannot be recorded.
    """
    return step if device == "cpu" else Graphed(step)
