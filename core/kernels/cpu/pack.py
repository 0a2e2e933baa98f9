"""Weights in the order in which the kernels read them: panel by panel, padded with zeros."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels.cpu.cut import Plan
from core.kernels.cpu.tile import clear, copy, transpose
from core.kernels.cpu.vector import CHECKED, CHECKSUM, LANES
from core.kernels.cpu.winograd import weight_kernel
from core.kernels.threads import run, scratch

_ARRAY = types.float32[::1]
_INTS = types.int64[::1]
# Values that are worth a second thread.
_CHUNK = 1 << 16


@cache
def _pack_kernel() -> Callable[..., None]:
    return _make(LANES, CHECKSUM)


def _make(lanes: int, checksum: int) -> Callable[..., None]:
    @njit(
        types.void(_ARRAY, _ARRAY, _INTS, *[types.int64] * 7, types.boolean),
        cache=True,
        nogil=True,
        boundscheck=CHECKED,
    )
    def kernel(w, packed, taps, c, k, inner, outer, panel, panel0, panel1, transposed):  # type: ignore[no-untyped-def]
        """packed[b, t, i, j] = w[taps[t], i, b * panel + j], or with the last two exchanged."""
        checksum  # noqa: B018  # in the closure, and so in the cache's key
        for b in range(panel0, panel1):
            width = min(panel, outer - b * panel)
            if width < panel:
                size = len(taps) * inner * panel
                clear(packed, b * size, size)
            for t in range(len(taps)):
                target = (b * len(taps) + t) * inner * panel
                if not transposed:
                    source = taps[t] * c * k + b * panel
                    for i in range(inner):
                        copy(packed, target + i * panel, w, source + i * k, width)
                    continue
                source = (taps[t] * c + b * panel) * k
                for j in range(0, width, lanes):
                    for i in range(0, inner, lanes):
                        if j + lanes <= width and i + lanes <= inner:
                            corner = source + j * k + i
                            transpose(packed, target + i * panel + j, panel, w, corner, k)
                            continue
                        for jj in range(j, min(width, j + lanes)):
                            for ii in range(i, min(inner, i + lanes)):
                                packed[target + ii * panel + jj] = w[source + jj * k + ii]

    return kernel


def pack(weight: Array, taps: tuple[int, ...], plan: Plan, transposed: bool) -> np.ndarray:
    """(panels, taps, channels, panel), flat, of a weight (K, C, kh, kw).

    `taps` are kernel positions counted row by row. Panels are of filters; with `transposed`,
    of input channels. The result is valid until this thread packs again.
    """
    k, c = weight.shape[:2]
    w = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1)
    if not w.flags.writeable:
        w = w.copy()
    inner, outer, panel = (k, c, plan.tile.panel) if transposed else (c, k, plan.tile.panel)
    if not transposed and outer == panel:
        return w
    size = plan.panels * len(taps) * inner * panel
    packed = scratch("packed weights", size)
    _pack_panels(w, packed, taps, (c, k, inner, outer, panel), plan.panels, transposed)
    return packed


def pack_matrix(weight: Array, panel: int, transposed: bool) -> np.ndarray:
    """(panels, inner, panel), flat, of a matrix (inner, outer); of (outer, inner) if `transposed`.

    The result is valid until this thread packs again.
    """
    c, k = weight.shape
    inner, outer = (k, c) if transposed else (c, k)
    panels = -(-outer // panel)
    w = np.require(weight, np.float32, ["C", "W"]).reshape(-1)
    packed = scratch("packed weights", panels * inner * panel)
    _pack_panels(w, packed, (0,), (c, k, inner, outer, panel), panels, transposed)
    return packed


def _pack_panels(
    w: np.ndarray,
    packed: np.ndarray,
    taps: tuple[int, ...],
    sizes: tuple[int, int, int, int, int],
    panels: int,
    transposed: bool,
) -> None:
    kernel, order = _pack_kernel(), np.array(taps, np.int64)
    chunks = max(1, min(panels, packed.size // _CHUNK))

    def task(i: int) -> None:
        edges = (panels * i // chunks, panels * (i + 1) // chunks)
        kernel(w, packed, order, *sizes, *edges, transposed)

    run(task, chunks)


def weight_points(packed: np.ndarray, plan: Plan, first: int, last: int) -> np.ndarray:
    """(panels, points, channels, panel), flat, of some panels of packed weights, for Winograd.

    The channels are those of all remainders modulo the stride. The result is valid until this
    thread asks again.
    """
    g = plan.winograd
    assert g is not None
    kernel, step, panels = weight_kernel(g.side), g.channels * plan.tile.panel, last - first
    size = panels * (g.side * g.stride) ** 2 * step
    points = scratch("weight points", size)
    part = packed[first * plan.geometry.kernel_height * plan.geometry.kernel_width * step :]
    chunks = max(1, min(panels, size // _CHUNK))

    def task(i: int) -> None:
        kernel(part, points, step, g.stride, panels * i // chunks, panels * (i + 1) // chunks)

    run(task, chunks)
    return points
