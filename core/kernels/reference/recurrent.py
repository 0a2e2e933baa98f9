"""Recurrent layers over whole sequences; the loop runs over time only.

Sequences are (T, N, ...). The input's part of the gates arrives ready made for all steps as
`projected` (T, N, gates * H), which is overwritten. `active` (T, N, 1), bool, is False where
a sequence is over: its state stays and its output is zero.

A forward function returns (out, saved). `out` (T + states, N, H) is the output of each step,
followed by the final states. A backward function returns the gradients of the input's part
of the gates, of the state's part, and of the first states.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.device import Array, array_module

Saved = tuple[Array, ...]
Gradients = tuple[Array, Array, tuple[Array, ...]]


def rnn(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
    relu: bool,
) -> tuple[Array, Saved]:
    """h' = tanh(projected + w_hh h + b_hh), or relu (Elman 1990)."""
    module, (h,) = array_module(projected), _sequences(projected, states, reverse)
    if b_hh is not None:
        projected += b_hh
    for t, before, now in _steps(projected, reverse):
        total = h[before] @ w_hh.T
        total += projected[t]
        h[now] = module.maximum(total, 0) if relu else module.tanh(total)
        _hold(active, t, before, now, h)
    return _result(active, reverse, h), (h,)


def rnn_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool, relu: bool
) -> Gradients:
    """Back through time from the gradient of `rnn`'s out."""
    module, (h,) = array_module(gy), saved
    steps = h.shape[0] - 1
    ga, gh = module.empty((steps, *h.shape[1:]), gy.dtype), gy[steps]
    for t, _, now in reversed(_steps(ga, reverse)):
        gh = gh + _seen(active, t, gy[t])
        slope = h[now] > 0 if relu else 1 - h[now] * h[now]
        ga[t] = _seen(active, t, gh * slope)
        gh = _chosen(active, t, ga[t] @ w_hh, gh)
    return ga, ga, (gh,)


def lstm(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
) -> tuple[Array, Saved]:
    """c' = f c + i g, h' = o tanh(c'), with gates in the order i, f, g, o.

    Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.
    """
    module, (h, c) = array_module(projected), _sequences(projected, states, reverse)
    size = h.shape[2]
    if b_hh is not None:
        projected += b_hh
    for t, before, now in _steps(projected, reverse):
        gates = projected[t]
        gates += h[before] @ w_hh.T
        i, f, g, o = _parts(gates, 4)
        _sigmoid_(gates[:, : 2 * size])
        module.tanh(g, out=g)
        _sigmoid_(o)
        c[now] = f * c[before] + i * g
        h[now] = o * module.tanh(c[now])
        _hold(active, t, before, now, h, c)
    return _result(active, reverse, h, c), (h, c, projected)


def lstm_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool
) -> Gradients:
    """Back through time from the gradient of `lstm`'s out."""
    module, (_, c, gates) = array_module(gy), saved
    ga, steps = module.empty(gates.shape, gy.dtype), gates.shape[0]
    gh, gc = gy[steps], gy[steps + 1]
    for t, before, now in reversed(_steps(gates, reverse)):
        gh = gh + _seen(active, t, gy[t])
        i, f, g, o = _parts(gates[t], 4)
        gi, gf, gg, go = _parts(ga[t], 4)
        squashed = module.tanh(c[now])
        through = gc + gh * o * (1 - squashed * squashed)
        gi[...] = through * g * i * (1 - i)
        gf[...] = through * c[before] * f * (1 - f)
        gg[...] = through * i * (1 - g * g)
        go[...] = gh * squashed * o * (1 - o)
        ga[t] = _seen(active, t, ga[t])
        gh = _chosen(active, t, ga[t] @ w_hh, gh)
        gc = _chosen(active, t, through * f, gc)
    return ga, ga, (gh, gc)


def gru(
    projected: Array,
    w_hh: Array,
    b_hh: Array | None,
    states: Sequence[Array],
    active: Array | None,
    reverse: bool,
) -> tuple[Array, Saved]:
    """h' = (1 - z) n + z h, with gates in the order r, z, n (Cho et al. 2014).

    n = tanh(projected_n + r * (w_hn h + b_hn)): the reset comes after the product.
    """
    module, (h,) = array_module(projected), _sequences(projected, states, reverse)
    size = h.shape[2]
    news = module.empty((projected.shape[0], *h.shape[1:]), h.dtype)
    for t, before, now in _steps(projected, reverse):
        hidden, gates = h[before] @ w_hh.T, projected[t]
        if b_hh is not None:
            hidden += b_hh
        news[t] = hidden[:, 2 * size :]
        r, z, n = _parts(gates, 3)
        gates[:, : 2 * size] += hidden[:, : 2 * size]
        _sigmoid_(gates[:, : 2 * size])
        n += r * news[t]
        module.tanh(n, out=n)
        h[now] = n + z * (h[before] - n)
        _hold(active, t, before, now, h)
    return _result(active, reverse, h), (h, projected, news)


def gru_backward(
    gy: Array, saved: Saved, w_hh: Array, active: Array | None, reverse: bool
) -> Gradients:
    """Back through time from the gradient of `gru`'s out."""
    module, (h, gates, news) = array_module(gy), saved
    steps, size = gates.shape[0], h.shape[2]
    ga, gb = module.empty(gates.shape, gy.dtype), module.empty(gates.shape, gy.dtype)
    gh = gy[steps]
    for t, before, _ in reversed(_steps(gates, reverse)):
        gh = gh + _seen(active, t, gy[t])
        r, z, n = _parts(gates[t], 3)
        gr, gz, gn = _parts(ga[t], 3)
        gn[...] = gh * (1 - z) * (1 - n * n)
        gr[...] = gn * news[t] * r * (1 - r)
        gz[...] = gh * (h[before] - n) * z * (1 - z)
        ga[t] = _seen(active, t, ga[t])
        gb[t] = ga[t]
        gb[t, :, 2 * size :] *= r
        gh = _chosen(active, t, gb[t] @ w_hh + gh * z, gh)
    return ga, gb, (gh,)


def states_before(saved: Saved, reverse: bool) -> Array:
    """(T, N, H): the hidden state that each step started from."""
    return saved[0][1:] if reverse else saved[0][:-1]


def _sequences(projected: Array, states: Sequence[Array], reverse: bool) -> list[Array]:
    """For each state its values between the steps, (T + 1, N, H); the first one is there."""
    module, steps = array_module(projected), projected.shape[0]
    sequences = []
    for state in states:
        sequence = module.empty((steps + 1, *state.shape), projected.dtype)
        sequence[steps if reverse else 0] = state
        sequences.append(sequence)
    return sequences


def _steps(projected: Array, reverse: bool) -> list[tuple[int, int, int]]:
    """For each step its place, and where the states before and after it are kept."""
    steps = range(projected.shape[0])
    return [(t, t + 1, t) for t in reversed(steps)] if reverse else [(t, t, t + 1) for t in steps]


def _parts(gates: Array, count: int) -> list[Array]:
    """Views of `count` equal parts of the last axis."""
    size = gates.shape[-1] // count
    return [gates[..., i * size : (i + 1) * size] for i in range(count)]


def _result(active: Array | None, reverse: bool, *sequences: Array) -> Array:
    module, first = array_module(sequences[0]), sequences[0]
    steps = first.shape[0] - 1
    out = module.empty((steps + len(sequences), *first.shape[1:]), first.dtype)
    y = first[:steps] if reverse else first[1:]
    out[:steps] = y if active is None else module.where(active, y, y.dtype.type(0))
    for i, sequence in enumerate(sequences):
        out[steps + i] = sequence[0 if reverse else steps]
    return out


def _hold(active: Array | None, t: int, before: int, now: int, *sequences: Array) -> None:
    """Keep the states of sequences that are over at step t."""
    for sequence in sequences:
        sequence[now] = _chosen(active, t, sequence[now], sequence[before])


def _chosen(active: Array | None, t: int, new: Array, old: Array) -> Array:
    return new if active is None else array_module(new).where(active[t], new, old)


def _seen(active: Array | None, t: int, gradient: Array) -> Array:
    return _chosen(active, t, gradient, gradient.dtype.type(0))


def _sigmoid_(x: Array) -> None:
    """The sigmoid in place, by way of tanh so that no exponential overflows."""
    x *= 0.5
    array_module(x).tanh(x, out=x)
    x *= 0.5
    x += 0.5
