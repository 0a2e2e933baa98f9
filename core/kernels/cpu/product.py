"""Matrix products over the kernels' threads: the BLAS itself is held at one (`start`)."""

from __future__ import annotations

import numpy as np

from core.device import Array
from core.kernels import reference
from core.kernels.threads import run

# Multiplications in one chunk: handing over a smaller one takes longer than it saves.
_CHUNK = 1 << 22
_MOST_CHUNKS = 8


def matmul(a: Array, b: Array) -> Array:
    """As the reference; a product of two matrices is cut along the longer side of the result.

    Where it is cut follows from the shapes, so the bits do not depend on the threads.
    """
    if a.ndim != 2 or b.ndim != 2:
        return reference.matmul(a, b)
    (rows, inner), columns = a.shape, b.shape[1]
    chunks = min(_MOST_CHUNKS, rows * inner * columns // _CHUNK, max(rows, columns))
    if chunks < 2:
        return reference.matmul(a, b)
    y = np.empty((rows, columns), np.float32)
    edges = np.linspace(0, max(rows, columns), chunks + 1).astype(int).tolist()

    def task(i: int) -> None:
        part = slice(edges[i], edges[i + 1])
        if rows >= columns:
            np.matmul(a[part], b, out=y[part])
        else:
            np.matmul(a, b[:, part], out=y[:, part])

    run(task, chunks)
    return y
