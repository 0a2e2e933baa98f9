"""Recurrent layers, each a single node over a whole sequence (book, 8.3.2; Graves 2012).

Weights have PyTorch's names, shapes and order of gates: weight_ih (G H, I), weight_hh
(G H, H), bias_ih and bias_hh (G H,), with G = 1 for an RNN, 4 for an LSTM (input, forget,
cell, output) and 3 for a GRU (reset, update, new).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from core import device as dev
from core import kernels
from core.amp import narrowed
from core.device import Array
from core.functional.activation import dropout as drop
from core.functional.operands import array_of, need_float, tensor_of
from core.functional.shape import cat, stack, transpose
from core.tensor import Tensor, record, requires_grad

Layer = Callable[..., tuple[Tensor, ...]]


class _Cell(NamedTuple):
    """What makes one kind of layer: its kernels, and how many gates its weights hold."""

    name: str
    gates: int
    forward: Callable[..., Any]
    backward: Callable[..., Any]


def rnn_layer(
    x: Any,
    h0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    lengths: Any = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """One layer of h' = tanh(w_ih x + b_ih + w_hh h + b_hh), or "relu": (y, last h).

    x (T, N, I) and h0 (N, H) give y (T, N, H). After its length (`lengths`, N integers) a
    sequence's state stays and its output is zero. `reverse` runs from the last step to the
    first. Raises ValueError for shapes that do not fit.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: nonlinearity {nonlinearity!r}, expected 'tanh' or 'relu'")
    k, relu = kernels.of(array_of("rnn", x)), nonlinearity == "relu"
    cell = _Cell("rnn", 1, partial(k.rnn, relu=relu), partial(k.rnn_backward, relu=relu))
    y, h = _layer(cell, x, (h0,), (w_ih, w_hh, b_ih, b_hh), lengths, reverse)
    return y, h


def lstm_layer(
    x: Any,
    h0: Any,
    c0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    lengths: Any = None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer of long short-term memory: (y, last h, last c); c0 (N, H), see `rnn_layer`.

    Hochreiter and Schmidhuber 1997; Gers et al. 2000.
    """
    k = kernels.of(array_of("lstm", x))
    cell = _Cell("lstm", 4, k.lstm, k.lstm_backward)
    y, h, c = _layer(cell, x, (h0, c0), (w_ih, w_hh, b_ih, b_hh), lengths, reverse)
    return y, h, c


def gru_layer(
    x: Any,
    h0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    lengths: Any = None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """One layer of gated recurrent units: (y, last h), see `rnn_layer`.

    Cho et al. 2014, with the reset gate applied to w_hn h + b_hn, as PyTorch and cuDNN do.
    """
    k = kernels.of(array_of("gru", x))
    cell = _Cell("gru", 3, k.gru, k.gru_backward)
    y, h = _layer(cell, x, (h0,), (w_ih, w_hh, b_ih, b_hh), lengths, reverse)
    return y, h


def _layer(
    cell: _Cell,
    input: Any,
    first: Sequence[Any],
    weights: Sequence[Any],
    lengths: Any,
    reverse: bool,
) -> tuple[Tensor, ...]:
    """One node whose result is the outputs followed by the last states; both are cut from it."""
    x, states, (w_ih, w_hh, b_ih, b_hh) = _operands(cell, input, first, weights)
    (steps, n, features), width = x.shape, w_ih.shape[0]
    active = _active(cell.name, lengths, x.data)
    rows = x.data.reshape(steps * n, features)
    projected = kernels.of(rows, w_ih.data).affine(
        rows, w_ih.data, None if b_ih is None else b_ih.data
    )
    out, saved = cell.forward(
        projected.reshape(steps, n, width),
        w_hh.data,
        None if b_hh is None else b_hh.data,
        [s.data for s in states],
        active,
        reverse,
    )
    operands = (x, *states, w_ih, w_hh, b_ih, b_hh)
    needs = requires_grad(*operands)
    needs_x, needs_w, needs_hh, needs_b, needs_bh = needs[0], *needs[-4:]
    v_ih, v_hh = w_ih.data if needs_x else None, w_hh.data
    kept = rows if needs_w else None
    walk, count = cell.backward, len(states)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        k = kernels.of(gy)
        ga, gb, gs = walk(gy, saved, v_hh, active, reverse)
        ga, gb = ga.reshape(steps * n, width), gb.reshape(steps * n, width)
        before = k.states_before(saved, reverse).reshape(steps * n, v_hh.shape[1])
        return (
            k.matmul(ga, v_ih).reshape(steps, n, features) if needs_x else None,
            *(g if needed else None for g, needed in zip(gs, needs[1:], strict=False)),
            k.matmul(ga.T, kept) if needs_w else None,
            k.matmul(gb.T, before) if needs_hh else None,
            k.bias_gradient(ga) if needs_b else None,
            k.bias_gradient(gb) if needs_bh else None,
        )

    result = record(out, operands, backward, cell.name)
    return (result[:steps], *(result[steps + i] for i in range(count)))


def _operands(
    cell: _Cell, input: Any, first: Sequence[Any], weights: Sequence[Any]
) -> tuple[Tensor, list[Tensor], tuple[Tensor, Tensor, Tensor | None, Tensor | None]]:
    """All operands as tensors; ValueError when their shapes do not fit together."""
    name = cell.name
    (x,) = narrowed(tensor_of(name, input, "input", 3))
    need_float(name, x)
    (w_hh,) = narrowed(tensor_of(name, weights[1], "weight_hh", 2))
    hidden = w_hh.shape[1]
    rows = cell.gates * hidden

    def checked(value: Any, what: str, shape: tuple[int, ...]) -> Tensor:
        (tensor,) = narrowed(tensor_of(name, value, what))
        if tensor.shape != shape:
            raise ValueError(f"{name}: {what} has shape {tensor.shape}, expected {shape}")
        if tensor.dtype != x.dtype:
            raise TypeError(
                f"{name}: input has dtype {x.dtype}, {what} {tensor.dtype}; expected equal ones"
            )
        return tensor

    states = [
        checked(s, what, (x.shape[1], hidden)) for s, what in zip(first, ("h0", "c0"), strict=False)
    ]
    w_ih = checked(weights[0], "weight_ih", (rows, x.shape[2]))
    w_hh = checked(w_hh, "weight_hh", (rows, hidden))
    b_ih, b_hh = (
        None if b is None else checked(b, what, (rows,))
        for b, what in zip(weights[2:], ("bias_ih", "bias_hh"), strict=True)
    )
    return x, states, (w_ih, w_hh, b_ih, b_hh)


def _active(name: str, lengths: Any, x: Array) -> Array | None:
    """(T, N, 1) bools: which steps lie within their sequence; None when all do."""
    if lengths is None:
        return None
    counts, (steps, n) = array_of(name, lengths), x.shape[:2]
    if counts.shape != (n,) or counts.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: lengths have shape {counts.shape} and dtype {counts.dtype}, expected "
            f"{n} integers"
        )
    if dev.device_of(counts) == "cpu" and n and not 0 <= counts.min() <= counts.max() <= steps:
        raise ValueError(
            f"{name}: lengths {counts.min()}..{counts.max()}, expected 0..{steps}, the number "
            "of steps"
        )
    module = dev.array_module(x)
    return (module.arange(steps)[:, None] < module.asarray(counts))[:, :, None]


def rnn_tanh(
    input: Any,
    hx: Any,
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    lengths: Any = None,
) -> tuple[Tensor, Tensor]:
    """Layers of `rnn_layer` on top of each other: (outputs, last states); see `lstm`.

    hx is h0 alone, and there is one last state.
    """
    settings = has_biases, num_layers, dropout, train, bidirectional, batch_first, lengths
    y, h = _stack("rnn", rnn_layer, input, (hx,), params, *settings)
    return y, h


def rnn_relu(
    input: Any,
    hx: Any,
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    lengths: Any = None,
) -> tuple[Tensor, Tensor]:
    """As `rnn_tanh`, with relu for tanh."""
    settings = has_biases, num_layers, dropout, train, bidirectional, batch_first, lengths
    layer = partial(rnn_layer, nonlinearity="relu")
    y, h = _stack("rnn", layer, input, (hx,), params, *settings)
    return y, h


def lstm(
    input: Any,
    hx: Sequence[Any],
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    lengths: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Layers of `lstm_layer` on top of each other: (outputs, last h, last c).

    input (T, N, I), or (N, T, I) with `batch_first`; hx = (h0, c0), each (layers *
    directions, N, H), like the last states; `params` lists weight_ih, weight_hh and with
    `has_biases` bias_ih, bias_hh for each direction of each layer. The outputs of both
    directions are side by side; `dropout` acts between layers when `train` is set.
    """
    settings = has_biases, num_layers, dropout, train, bidirectional, batch_first, lengths
    y, h, c = _stack("lstm", lstm_layer, input, hx, params, *settings)
    return y, h, c


def gru(
    input: Any,
    hx: Any,
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    lengths: Any = None,
) -> tuple[Tensor, Tensor]:
    """Layers of `gru_layer` on top of each other: (outputs, last states); see `lstm`.

    hx is h0 alone, and there is one last state.
    """
    settings = has_biases, num_layers, dropout, train, bidirectional, batch_first, lengths
    y, h = _stack("gru", gru_layer, input, (hx,), params, *settings)
    return y, h


def _stack(
    name: str,
    layer: Layer,
    input: Any,
    hx: Sequence[Any],
    params: Sequence[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
    lengths: Any,
) -> tuple[Tensor, ...]:
    """Layers on top of each other, see `lstm`: the outputs, then each kind of last states."""
    y = tensor_of(name, input, ndim=3)
    if batch_first:
        y = transpose(y, 0, 1)
    directions, each = 1 + bidirectional, 4 if has_biases else 2
    runs = num_layers * directions
    states = _first_states(name, hx, runs)
    if len(params) != runs * each:
        raise ValueError(
            f"{name}: {len(params)} params, expected {runs * each}: {each} for each of "
            f"{num_layers} layer(s) and {directions} direction(s)"
        )
    last: list[tuple[Tensor, ...]] = []
    for depth in range(num_layers):
        if depth and dropout:
            y = drop(y, dropout, train)
        outputs = []
        for reverse in range(directions):
            run = depth * directions + reverse
            own = params[run * each : (run + 1) * each]
            given = [s[run] for s in states]
            output, *after = layer(y, *given, *own, lengths=lengths, reverse=bool(reverse))
            outputs.append(output)
            last.append(tuple(after))
        y = cat(outputs, 2) if len(outputs) > 1 else outputs[0]
    if batch_first:
        y = transpose(y, 0, 1)
    return (y, *(stack(states) for states in zip(*last, strict=True)))


def _first_states(name: str, hx: Sequence[Any], runs: int) -> list[Tensor]:
    states = [tensor_of(name, s, what, 3) for s, what in zip(hx, ("h0", "c0"), strict=False)]
    for state in states:
        if state.shape[0] != runs:
            raise ValueError(
                f"{name}: a first state has shape {state.shape}, expected {runs} of them: "
                "layers times directions"
            )
    return states
