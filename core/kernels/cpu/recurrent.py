"""Recurrent layers: a kernel walks through all steps for a part of the batch.

Sequences of a batch know nothing of each other, so threads share out the batch and never wait for
one another. At each step the states are multiplied with weights that were packed once, in
register tiles, and the gates follow while the products are in the cache (`gates`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numba import njit, types

from core.device import Array
from core.kernels import reference
from core.kernels.cpu.flat import RESULT, VALUES
from core.kernels.cpu.gates import (
    COLUMNS,
    KERNEL,
    PANEL,
    ROWS,
    add,
    add_product,
    gru_gates,
    gru_slopes,
    lstm_gates,
    lstm_slopes,
    rnn_gates,
    rnn_slopes,
)
from core.kernels.cpu.pack import pack_matrix
from core.kernels.cpu.tile import clear, copy
from core.kernels.cpu.vector import CHECKSUM, LANES
from core.kernels.reference.recurrent import Gradients, Saved
from core.kernels.threads import run, scratch

RNN_TANH, RNN_RELU, LSTM, GRU = range(4)
_GATES = {RNN_TANH: 1, RNN_RELU: 1, LSTM: 4, GRU: 3}

# Sequences that one call takes: more read the packed weights less often, but share less well.
_SEQUENCES = 32
# Multiplications in a call, at least: handing over fewer takes longer than it saves.
_WORK = 1 << 20

_INT = types.int64
_BOOLS = types.Array(types.boolean, 1, "C", readonly=True)


def rnn(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
    relu: bool,
) -> tuple[Array, Saved]:
    """As the reference."""
    if not _covered(projected, w_hh, *states):
        return reference.rnn(projected, w_hh, b_hh, states, active, reverse, relu)
    (h,) = _sequences(projected, states, reverse)
    kind = RNN_RELU if relu else RNN_TANH
    out = _walk(kind, projected, w_hh, b_hh, h, _nothing(), active, reverse)
    return out, (h,)


def lstm(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
) -> tuple[Array, Saved]:
    """As the reference."""
    if not _covered(projected, w_hh, *states):
        return reference.lstm(projected, w_hh, b_hh, states, active, reverse)
    h, c = _sequences(projected, states, reverse)
    return _walk(LSTM, projected, w_hh, b_hh, h, c, active, reverse), (h, c, projected)


def gru(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
) -> tuple[Array, Saved]:
    """As the reference."""
    if not _covered(projected, w_hh, *states):
        return reference.gru(projected, w_hh, b_hh, states, active, reverse)
    (h,) = _sequences(projected, states, reverse)
    news = np.empty((projected.shape[0], *h.shape[1:]), np.float32)
    return _walk(GRU, projected, w_hh, b_hh, h, news, active, reverse), (h, projected, news)


def rnn_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool, relu: bool
) -> Gradients:
    """As the reference."""
    if not _covered(gy, w_hh):
        return reference.rnn_backward(gy, saved, w_hh, active, reverse, relu)
    (h,) = saved
    kind = RNN_RELU if relu else RNN_TANH
    return _walk_back(kind, gy, h, _nothing(), _nothing(), w_hh, active, reverse)


def lstm_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool
) -> Gradients:
    """As the reference."""
    if not _covered(gy, w_hh):
        return reference.lstm_backward(gy, saved, w_hh, active, reverse)
    h, c, gates = saved
    return _walk_back(LSTM, gy, h, c, gates, w_hh, active, reverse)


def gru_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool
) -> Gradients:
    """As the reference."""
    if not _covered(gy, w_hh):
        return reference.gru_backward(gy, saved, w_hh, active, reverse)
    h, gates, news = saved
    return _walk_back(GRU, gy, h, news, gates, w_hh, active, reverse)


def _walk(
    kind: int,
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    h: Array,
    extra: Array,
    active: Array | None,
    reverse: bool,
) -> Array:
    """Fill h and `extra` (the cells of an LSTM, the news of a GRU) step by step; the result."""
    steps, n, width = projected.shape
    size = h.shape[2]
    bias = np.zeros(width, np.float32) if b_hh is None else np.ascontiguousarray(b_hh)
    packed, kept = pack_matrix(w_hh, PANEL, transposed=True), _kept(active)
    sequences = [h, extra] if kind == LSTM else [h]
    out = np.empty((steps + len(sequences), n, size), np.float32)
    kernel = _forward(kind, ROWS, COLUMNS, LANES, CHECKSUM)
    arrays = [a.reshape(-1) for a in (projected, h, extra, out)]

    def part(first: int, last: int) -> None:
        hidden = scratch("gates", (last - first) * width)
        near = scratch("rows", (last - first) * (size + LANES))
        kernel(*arrays, packed, bias, kept, hidden, near, steps, n, size, reverse, first, last)

    _run(part, steps, n, width * size)
    for i, sequence in enumerate(sequences):
        out[steps + i] = sequence[0 if reverse else steps]
    return out


def _walk_back(
    kind: int,
    gy: Array,
    h: Array,
    extra: Array,
    gates: Array,
    w_hh: Array,
    active: Array | None,
    reverse: bool,
) -> Gradients:
    steps, (n, size) = h.shape[0] - 1, h.shape[1:]
    width, count = _GATES[kind] * size, 2 if kind == LSTM else 1
    gy = np.ascontiguousarray(gy)
    packed, kept = pack_matrix(w_hh, PANEL, transposed=False), _kept(active)
    ga = np.empty((steps, n, width), np.float32)
    gb = np.empty_like(ga) if kind == GRU else ga
    # The gradients of the states, which are brought from the last step to the first.
    states = gy[steps:].copy()
    kernel = _backward(kind, ROWS, COLUMNS, LANES, CHECKSUM)
    arrays = [a.reshape(-1) for a in (gy, h, extra, gates, ga, gb, states)]

    def part(first: int, last: int) -> None:
        row = scratch("gates", size)[:size]
        near = scratch("rows", (last - first) * (width + LANES))
        kernel(*arrays, packed, kept, row, near, steps, n, size, reverse, first, last)

    _run(part, steps, n, width * size)
    return ga, gb, tuple(states[i] for i in range(count))


def _run(part: Callable[[int, int], None], steps: int, n: int, work: int) -> None:
    """part(first, last) for parts of the batch, `work` being one sequence's at one step."""
    count = max(1, min(-(-n // _SEQUENCES), steps * n * work // _WORK))
    run(lambda i: part(n * i // count, n * (i + 1) // count), count)


def _covered(*arrays: Array) -> bool:
    return all(a.dtype == np.float32 and a.size for a in arrays) and arrays[0].flags.c_contiguous


def _sequences(projected: Array, states: Sequence[Array], reverse: bool) -> list[np.ndarray]:
    """For each state its values between the steps, (T + 1, N, H); the first one is there."""
    steps = projected.shape[0]
    sequences = [np.empty((steps + 1, *state.shape), np.float32) for state in states]
    for sequence, state in zip(sequences, states, strict=True):
        sequence[steps if reverse else 0] = state
    return sequences


def _nothing() -> np.ndarray:
    return np.empty(0, np.float32)


def _kept(active: Array | None) -> np.ndarray:
    """Flat (T, N), or nothing where all sequences are of full length."""
    return np.empty(0, bool) if active is None else np.ascontiguousarray(active).reshape(-1)


# ---------------------------------------------------------------------------- kernels


@cache
def _forward(kind: int, rows: int, columns: int, lanes: int, checksum: int) -> Callable[..., None]:
    """The kernel of the forward pass of sequences n0..n1; `near` and `hidden` are scratch."""
    gates = _GATES[kind]
    lstm, gru, relu = kind == LSTM, kind == GRU, kind == RNN_RELU

    @njit(
        types.void(
            *[RESULT] * 5,
            VALUES,
            _BOOLS,
            *[RESULT] * 2,
            *[_INT] * 3,
            types.boolean,
            *[_INT] * 2,
        ),
        cache=True,
        **KERNEL,
    )
    def kernel(  # type: ignore[no-untyped-def]
        projected,
        h,
        extra,
        out,
        packed,
        bias,
        active,
        hidden,
        near,
        steps,
        batch,
        size,
        reverse,
        n0,
        n1,
    ):
        rows, columns, lanes, checksum  # noqa: B018  # in the closure, and so in the cache's key
        width, count = gates * size, n1 - n0
        for step in range(steps):
            t, before, now = step, step, step + 1
            if reverse:
                t, before, now = steps - 1 - step, steps - step, steps - 1 - step
            place, state = (t * batch + n0) * width, (before * batch + n0) * size
            for r in range(count):
                if gru:
                    copy(hidden, r * width, bias, 0, width)
                else:
                    add(projected[place + r * width : place + (r + 1) * width], bias)
            if gru:
                add_product(hidden, 0, width, h, state, count, size, width, packed, near)
            else:
                add_product(projected, place, width, h, state, count, size, width, packed, near)
            for n in range(n0, n1):
                k, y0 = (before * batch + n) * size, (t * batch + n) * size
                i, row0 = (now * batch + n) * size, (t * batch + n) * width
                if len(active) and not active[t * batch + n]:
                    copy(h, i, h, k, size)
                    if lstm:
                        copy(extra, i, extra, k, size)
                    clear(out, y0, size)
                    continue
                row, after = projected[row0 : row0 + width], h[i : i + size]
                if lstm:
                    lstm_gates(row, extra[k : k + size], extra[i : i + size], after)
                elif gru:
                    own = hidden[(n - n0) * width : (n - n0 + 1) * width]
                    gru_gates(row, own, extra[y0 : y0 + size], h[k : k + size], after)
                else:
                    rnn_gates(row, after, relu)
                copy(out, y0, h, i, size)

    return kernel


@cache
def _backward(kind: int, rows: int, columns: int, lanes: int, checksum: int) -> Callable[..., None]:
    """The kernel of the backward pass of sequences n0..n1; `near` and `row` are scratch."""
    gates = _GATES[kind]
    lstm, gru, relu = kind == LSTM, kind == GRU, kind == RNN_RELU

    @njit(
        types.void(
            VALUES,
            *[RESULT] * 7,
            _BOOLS,
            *[RESULT] * 2,
            *[_INT] * 3,
            types.boolean,
            *[_INT] * 2,
        ),
        cache=True,
        **KERNEL,
    )
    def kernel(  # type: ignore[no-untyped-def]
        gy,
        h,
        extra,
        saved,
        ga,
        gb,
        states,
        packed,
        active,
        row,
        near,
        steps,
        batch,
        size,
        reverse,
        n0,
        n1,
    ):
        rows, columns, lanes, checksum  # noqa: B018  # in the closure, and so in the cache's key
        width, count = gates * size, n1 - n0
        for step in range(steps):
            t, before, now = steps - 1 - step, steps - 1 - step, steps - step
            if reverse:
                t, before, now = step, step + 1, step
            for n in range(n0, n1):
                y0, row0 = (t * batch + n) * size, (t * batch + n) * width
                i, k = (now * batch + n) * size, (before * batch + n) * size
                if len(active) and not active[t * batch + n]:
                    clear(ga, row0, width)
                    if gru:
                        clear(gb, row0, width)
                    continue
                slopes, gh = ga[row0 : row0 + width], states[n * size : (n + 1) * size]
                add(gh, gy[y0 : y0 + size])
                if lstm:
                    c0 = (batch + n) * size
                    lstm_slopes(
                        slopes,
                        gh,
                        states[c0 : c0 + size],
                        saved[row0 : row0 + width],
                        extra[k : k + size],
                        extra[i : i + size],
                        row,
                    )
                elif gru:
                    gru_slopes(
                        slopes,
                        gb[row0 : row0 + width],
                        gh,
                        saved[row0 : row0 + width],
                        extra[y0 : y0 + size],
                        h[k : k + size],
                    )
                else:
                    rnn_slopes(slopes, gh, h[i : i + size], relu)
            place = (t * batch + n0) * width
            add_product(states, n0 * size, size, gb, place, count, width, size, packed, near)

    return kernel
