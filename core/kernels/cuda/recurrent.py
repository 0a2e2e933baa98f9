"""Recurrent layers: at each step a product and one kernel for all gates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.device import Array, array_module
from core.kernels.cuda.launch import Source
from core.kernels.cuda.product import matmul_into
from core.kernels.reference import recurrent as reference
from core.kernels.reference.recurrent import Gradients, Saved

_SOURCE = Source("recurrent.cu")


def rnn(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
    relu: bool,
) -> tuple[Array, Saved]:
    """See the reference."""
    if not projected.flags.c_contiguous or not _covers(projected, w_hh, b_hh, *states):
        return reference.rnn(projected, w_hh, b_hh, states, active, reverse, relu)
    (h,), out = _sequences(projected, states, reverse)
    rows, w, bias = (_rows(active), h, out), w_hh.T, _dense(b_hh)
    for t, before, now, *rest in _steps(projected, reverse):
        matmul_into(h[before], w, projected[t], add=True)
        _step("rnn_step", h, projected, bias, *rows, h.shape[2], t, before, now, *rest, relu)
    return out, (h,)


def lstm(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
) -> tuple[Array, Saved]:
    """See the reference."""
    if not projected.flags.c_contiguous or not _covers(projected, w_hh, b_hh, *states):
        return reference.lstm(projected, w_hh, b_hh, states, active, reverse)
    (h, c), out = _sequences(projected, states, reverse)
    rows, w, bias = (_rows(active), h, c, out), w_hh.T, _dense(b_hh)
    for t, before, now, *rest in _steps(projected, reverse):
        matmul_into(h[before], w, projected[t], add=True)
        _step("lstm_step", h, projected, bias, *rows, h.shape[2], t, before, now, *rest)
    return out, (h, c, projected)


def gru(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
) -> tuple[Array, Saved]:
    """See the reference."""
    if not projected.flags.c_contiguous or not _covers(projected, w_hh, b_hh, *states):
        return reference.gru(projected, w_hh, b_hh, states, active, reverse)
    module = array_module(projected)
    (h,), out = _sequences(projected, states, reverse)
    hidden = module.empty(projected.shape[1:], h.dtype)
    news = module.empty((len(projected), *h.shape[1:]), h.dtype)
    rows, w, bias = (_rows(active), h, news, out), w_hh.T, _dense(b_hh)
    for t, before, now, *rest in _steps(projected, reverse):
        matmul_into(h[before], w, hidden)
        _step("gru_step", h, projected, hidden, bias, *rows, h.shape[2], t, before, now, *rest)
    return out, (h, projected, news)


def rnn_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool, relu: bool
) -> Gradients:
    """See the reference."""
    if len(saved[0]) == 1 or not _covers(w_hh, gy, *saved):
        return reference.rnn_backward(gy, saved, w_hh, active, reverse, relu)
    module, gy, (h,) = array_module(gy), array_module(gy).ascontiguousarray(gy), saved
    steps, rows = len(h) - 1, _rows(active)
    ga, gh = module.empty((steps, *h.shape[1:]), h.dtype), module.empty(h.shape[1:], h.dtype)
    given = gy[steps]
    for t, _, now, *_ in reversed(_steps(ga, reverse)):
        _step("rnn_back", h, gy, h, rows, given, gh, ga, h.shape[2], t, now, relu)
        matmul_into(ga[t], w_hh, gh, add=rows is not None)
        given = gh
    return ga, ga, (gh,)


def lstm_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool
) -> Gradients:
    """See the reference."""
    if not _covers(w_hh, gy, *saved):
        return reference.lstm_backward(gy, saved, w_hh, active, reverse)
    module, gy, (_, c, gates) = array_module(gy), array_module(gy).ascontiguousarray(gy), saved
    steps, rows, ga = len(gates), _rows(active), module.empty(gates.shape, c.dtype)
    gh, gc = (module.empty(c.shape[1:], c.dtype) for _ in range(2))
    given = gy[steps], gy[steps + 1]
    for t, before, now, *_ in reversed(_steps(gates, reverse)):
        arrays = gy, c, gates, rows, *given, gh, gc, ga
        _step("lstm_back", c, *arrays, c.shape[2], t, before, now)
        matmul_into(ga[t], w_hh, gh, add=rows is not None)
        given = gh, gc
    return ga, ga, (gh, gc)


def gru_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool
) -> Gradients:
    """See the reference."""
    if not _covers(w_hh, gy, *saved):
        return reference.gru_backward(gy, saved, w_hh, active, reverse)
    module, gy, (h, gates, news) = array_module(gy), array_module(gy).ascontiguousarray(gy), saved
    steps, rows = len(gates), _rows(active)
    ga, gb = module.empty(gates.shape, h.dtype), module.empty(gates.shape, h.dtype)
    gh, given = module.empty(h.shape[1:], h.dtype), gy[steps]
    for t, before, *_ in reversed(_steps(gates, reverse)):
        arrays = gy, h, gates, news, rows, given, gh, ga, gb
        _step("gru_back", h, *arrays, h.shape[2], t, before)
        matmul_into(gb[t], w_hh, gh, add=True)
        given = gh
    return ga, gb, (gh,)


def _covers(first: Array, second: Array, *others: Array | None) -> bool:
    """Whether there is something to compute, in one dtype."""
    given = [second, *(a for a in others if a is not None)]
    return bool(first.size) and all(a.size and a.dtype == first.dtype for a in given)


def _sequences(
    projected: Array, states: Sequence[Array], reverse: bool
) -> tuple[list[Array], Array]:
    """For each state its values between the steps, the first one in place; and `out`."""
    module, steps = array_module(projected), len(projected)
    sequences = [module.empty((steps + 1, *s.shape), s.dtype) for s in states]
    for sequence, state in zip(sequences, states, strict=True):
        sequence[steps if reverse else 0] = state
    return sequences, module.empty((steps + len(states), *states[0].shape), states[0].dtype)


def _steps(projected: Array, reverse: bool) -> list[tuple[int, int, int, int, bool]]:
    """For each step its place, where the states before and after it are, and whether it is last."""
    steps, end = len(projected), 0 if reverse else len(projected) - 1
    walk = [(t, t + 1, t) if reverse else (t, t, t + 1) for t in range(steps)]
    walk = walk[::-1] if reverse else walk
    return [(t, before, now, steps, t == end) for t, before, now in walk]


def _dense(bias: Array | None) -> Array | None:
    return None if bias is None else array_module(bias).ascontiguousarray(bias)


def _rows(active: Array | None) -> Array | None:
    """The mask as bytes (T, N)."""
    if active is None:
        return None
    return array_module(active).ascontiguousarray(active).view(np.uint8)


def _step(kernel: str, like: Array, *args: Any) -> None:
    _SOURCE.each(kernel, like, math.prod(like.shape[1:]), *args)
