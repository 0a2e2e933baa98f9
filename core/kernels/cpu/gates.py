"""What a recurrent layer does at one step: a product for some sequences, and rows of gates.

Loops over a row are short and touch few arrays, so that they become vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from core.kernels.cpu.exponential import sigmoid, tanh
from core.kernels.cpu.tile import add_store, clear, copy, fma, load, zeros
from core.kernels.cpu.vector import CHECKED, FASTMATH, LANES, REGISTERS

# A tile of a product: rows of the batch, and vectors of columns.
ROWS, COLUMNS = REGISTERS // 4, 2
PANEL = COLUMNS * LANES

# How kernels are compiled: a test of every divisor would keep loops from vectors. These functions
# are kept on disk as a part of the kernels that call them.
KERNEL: dict[str, Any] = {
    "nogil": True,
    "fastmath": FASTMATH,
    "error_model": "numpy",
    "boundscheck": CHECKED,
}


@njit(**KERNEL)
def add_product(y, y0, y_step, a, a0, rows, inner, columns, packed, near):  # type: ignore[no-untyped-def]
    """y[r] += a[r] @ packed for rows that are `y_step` and `inner` apart.

    packed is (panels, inner, panel). The rows of a are copied to `near`, a little further apart:
    at a distance of a power of two all of them fall into the same few lines of the cache.
    """
    step = inner + LANES
    for r in range(rows):
        copy(near, r * step, a, a0 + r * inner, inner)
    for b in range(-(-columns // PANEL)):
        width, place = columns - b * PANEL, y0 + b * PANEL
        if rows < ROWS:
            for r in range(rows):
                row, w = zeros(1, COLUMNS), b * inner * PANEL
                for i in range(r * step, r * step + inner):
                    row = fma(row, near, i, step, load(packed, w, COLUMNS))
                    w += PANEL
                add_store(y, place + r * y_step, y_step, row, COLUMNS, width, 0)
            continue
        for start in range(0, rows, ROWS):
            r = min(start, rows - ROWS)
            sums, w = zeros(ROWS, COLUMNS), b * inner * PANEL
            for i in range(r * step, r * step + inner):
                sums = fma(sums, near, i, step, load(packed, w, COLUMNS))
                w += PANEL
            add_store(y, place + r * y_step, y_step, sums, COLUMNS, width, start - r)


@njit(**KERNEL)
def add(y, x):  # type: ignore[no-untyped-def]
    for i in range(len(y)):
        y[i] += x[i]


@njit(**KERNEL)
def _sigmoid(y):  # type: ignore[no-untyped-def]
    for i in range(len(y)):
        y[i] = sigmoid(y[i])


@njit(**KERNEL)
def _tanh(y, x):  # type: ignore[no-untyped-def]
    for i in range(len(y)):
        y[i] = tanh(x[i])


@njit(**KERNEL)
def rnn_gates(row, h, relu):  # type: ignore[no-untyped-def]
    if relu:
        for j in range(len(h)):
            h[j] = np.float32(0) if row[j] < 0 else row[j]
    else:
        _tanh(h, row)


@njit(**KERNEL)
def lstm_gates(row, before, c, h):  # type: ignore[no-untyped-def]
    """Gates i, f, g, o from their sums; c = f before + i g, h = o tanh(c)."""
    n = len(h)
    i, f, g, o = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
    _sigmoid(row[: 2 * n])
    _tanh(g, g)
    _sigmoid(o)
    for j in range(n):
        c[j] = f[j] * before[j] + i[j] * g[j]
    _tanh(h, c)
    for j in range(n):
        h[j] *= o[j]


@njit(**KERNEL)
def gru_gates(row, hidden, news, before, h):  # type: ignore[no-untyped-def]
    """Gates r, z, n from their sums; h = n + z (before - n)."""
    n = len(h)
    r, z, new = row[:n], row[n : 2 * n], row[2 * n :]
    add(row[: 2 * n], hidden[: 2 * n])
    _sigmoid(row[: 2 * n])
    copy(news, 0, hidden, 2 * n, n)
    for j in range(n):
        new[j] += r[j] * news[j]
    _tanh(new, new)
    for j in range(n):
        h[j] = new[j] + z[j] * (before[j] - new[j])


@njit(**KERNEL)
def rnn_slopes(ga, gh, h, relu):  # type: ignore[no-untyped-def]
    one = np.float32(1)
    for j in range(len(h)):
        slope = (one if h[j] > 0 else np.float32(0)) if relu else one - h[j] * h[j]
        ga[j] = gh[j] * slope
        gh[j] = 0


@njit(**KERNEL)
def lstm_slopes(ga, gh, gc, row, before, c, squashed):  # type: ignore[no-untyped-def]
    n, one = len(gh), np.float32(1)
    i, f, g, o = row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n :]
    gi, gf, gg, go = ga[:n], ga[n : 2 * n], ga[2 * n : 3 * n], ga[3 * n :]
    _tanh(squashed, c)
    for j in range(n):
        go[j] = gh[j] * squashed[j] * o[j] * (one - o[j])
    for j in range(n):
        gc[j] += gh[j] * o[j] * (one - squashed[j] * squashed[j])
    for j in range(n):
        gi[j] = gc[j] * g[j] * i[j] * (one - i[j])
    for j in range(n):
        gg[j] = gc[j] * i[j] * (one - g[j] * g[j])
    for j in range(n):
        gf[j] = gc[j] * before[j] * f[j] * (one - f[j])
    for j in range(n):
        gc[j] *= f[j]
    clear(gh, 0, n)


@njit(**KERNEL)
def gru_slopes(ga, gb, gh, row, news, before):  # type: ignore[no-untyped-def]
    n, one = len(gh), np.float32(1)
    r, z, new = row[:n], row[n : 2 * n], row[2 * n :]
    gr, gz, gn = ga[:n], ga[n : 2 * n], ga[2 * n :]
    for j in range(n):
        gn[j] = gh[j] * (one - z[j]) * (one - new[j] * new[j])
    for j in range(n):
        gr[j] = gn[j] * news[j] * r[j] * (one - r[j])
    for j in range(n):
        gz[j] = gh[j] * (before[j] - new[j]) * z[j] * (one - z[j])
    for j in range(n):
        gh[j] *= z[j]
    copy(gb, 0, ga, 0, 2 * n)
    last = gb[2 * n :]
    for j in range(n):
        last[j] = gn[j] * r[j]
