"""Recurrent layers against hand-computed cases and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core import functional as F
from core.tensor import Tensor
from tests.core.functional.peer import close, values

KINDS = {"RNN": (F.rnn_tanh, 1), "ReLU": (F.rnn_relu, 1), "LSTM": (F.lstm, 4), "GRU": (F.gru, 3)}
LAYERS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "rnn": (F.rnn_layer, 1, 1),
    "lstm": (F.lstm_layer, 4, 2),
    "gru": (F.gru_layer, 3, 1),
}
lstm, rnn = LAYERS["lstm"][0], LAYERS["rnn"][0]


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def operands(kind: str, steps: int = 5, n: int = 3, inputs: int = 4, hidden: int = 2) -> list[Any]:
    _, gates, states = LAYERS[kind]
    rows = gates * hidden
    first = [values(n, hidden, seed=i) for i in range(states)]
    return [
        values(steps, n, inputs),
        *first,
        values(rows, inputs),
        values(rows, hidden, seed=5),
        values(rows, seed=6),
        values(rows, seed=7),
    ]


def test_rnn_is_tanh_of_both_products() -> None:
    x, one = np.array([[[0.5]], [[-1.0]]]), np.ones((1, 1))
    y, h = F.rnn_layer(x, np.array([[0.25]]), 2 * one, 3 * one)
    first = np.tanh(2 * 0.5 + 3 * 0.25)
    second = np.tanh(-2 + 3 * first)
    close(y.numpy().ravel(), [first, second])
    close(h, [[second]])


def test_one_step_of_an_lstm() -> None:
    weights = np.array([[1.0], [2], [3], [4]])
    y, h, c = F.lstm_layer(
        np.array([[[0.5]]]), np.array([[0.1]]), np.array([[0.2]]), weights, -weights
    )
    i, f, g, o = (w * (0.5 - 0.1) for w in (1, 2, 3, 4))
    cell = sigmoid(f) * 0.2 + sigmoid(i) * np.tanh(g)
    close(c, [[cell]])
    close(h, [[sigmoid(o) * np.tanh(cell)]])
    close(y[0], h)


def test_a_gru_resets_after_the_product() -> None:
    w_ih, w_hh = np.array([[1.0], [2], [3]]), np.array([[-1.0], [0.5], [2]])
    b_hh = np.array([0.1, 0.2, 0.3])
    _, h = F.gru_layer(np.array([[[0.5]]]), np.array([[0.4]]), w_ih, w_hh, None, b_hh)
    r, z = sigmoid(0.5 - 0.4 + 0.1), sigmoid(1 + 0.2 + 0.2)
    n = np.tanh(1.5 + r * (0.8 + 0.3))
    close(h, [[(1 - z) * n + z * 0.4]])


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_changes_nothing(kind: str, reverse: bool) -> None:
    """Each sequence alone, cut to its length, gives what it gives in the padded batch."""
    layer, _, states = LAYERS[kind]
    x, *rest = operands(kind)
    lengths = np.array([5, 2, 0])
    tensors = [Tensor(a, requires_grad=True) for a in (x, *rest)]
    y, *last = layer(*tensors, lengths=lengths, reverse=reverse)
    total = (y * y).sum()
    for state in last:
        total = total + (state * state).sum()
    total.backward()
    assert tensors[0].grad is not None
    for n, length in enumerate(lengths):
        first = [s[n : n + 1] for s in rest[:states]]
        alone = Tensor(x[:length, n : n + 1], requires_grad=True)
        own, *ends = layer(alone, *first, *rest[states:], reverse=reverse)
        close(y.numpy()[:length, n : n + 1], own)
        assert not y.numpy()[length:, n].any()
        for state, end in zip(last, ends, strict=True):
            close(state.numpy()[n : n + 1], end)
        total = (own * own).sum()
        for end in ends:
            total = total + (end * end).sum()
        total.backward()
        assert alone.grad is not None
        close(tensors[0].grad.numpy()[:length, n : n + 1], alone.grad)
        assert not tensors[0].grad.numpy()[length:, n].any()


@pytest.mark.parametrize("kind", LAYERS)
def test_only_what_is_needed_is_computed(kind: str) -> None:
    layer, _, states = LAYERS[kind]
    tensors = [Tensor(a) for a in operands(kind)]
    bias = tensors[-1].requires_grad_()
    layer(*tensors)[0].sum().backward()
    assert bias.grad is not None
    assert all(t.grad is None for t in tensors[:-1])
    assert states == len(layer(*tensors)) - 1


def test_dropout_acts_between_layers_in_training_only() -> None:
    shapes = [(2, 3), (2, 2), (2, 2), (2, 2)]
    params = [values(*s, seed=i) for i, s in enumerate(shapes)]
    x, h0 = values(4, 1, 3), np.zeros((2, 1, 2))

    def run(dropout: float, train: bool) -> np.ndarray:
        return F.rnn_tanh(x, h0, params, False, 2, dropout, train, False, False)[0].numpy()

    close(run(0.5, False), run(0.0, True))
    assert (run(0.5, True) != run(0.0, True)).any()


def stacked(params: int = 4, layers: int = 1, h0: int = 1) -> Tensor:
    own = operands("rnn")[2:] * 2
    return F.rnn_tanh(
        values(5, 3, 4), np.zeros((h0, 3, 2)), own[:params], True, layers, 0, False, False, False
    )[0]


ERRORS: list[tuple[Callable[[list[Any]], Any], str]] = [
    (lambda a: lstm(a[0][0], *a[1:]), "lstm: input has shape .3, 4., expected 3 axes"),
    (lambda a: lstm(a[0], a[1][:2], *a[2:]), "h0 has shape .2, 2., expected .3, 2."),
    (lambda a: lstm(a[0], a[1], a[2][:2], *a[3:]), "c0 has shape"),
    (lambda a: lstm(a[0][..., :3], *a[1:]), "weight_ih has shape .8, 4., expected .8, 3."),
    (lambda a: lstm(*a[:4], a[4][:6], *a[5:]), "weight_ih has|weight_hh has shape .6, 2."),
    (lambda a: lstm(*a[:5], a[5][:3], a[6]), "bias_ih has shape .3,., expected .8,."),
    (lambda a: lstm(*a, lengths=np.array([6, 1, 1])), "lengths 1..6, expected 0..5"),
    (lambda a: lstm(*a, lengths=np.array([1, 1])), "lengths have shape .2,. and"),
    (lambda a: rnn(*a[:6], nonlinearity="sin"), "nonlinearity 'sin', expected"),
    (lambda a: stacked(params=3), "rnn: 3 params, expected 4"),
    (lambda a: stacked(h0=2), "first state has shape .2, 3, 2., expected 1 of them"),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors_say_what_was_expected(call: Callable[[list[Any]], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(operands("lstm"))
    assert "\n" not in str(caught.value)


def test_mixed_dtypes_are_refused() -> None:
    x, *rest = operands("gru")
    with pytest.raises(TypeError, match="gru: input has dtype float32, h0 float64"):
        F.gru_layer(x.astype(np.float32), *rest)


@pytest.mark.peer
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 1, 6]])
@pytest.mark.parametrize("bias", [False, True])
def test_recurrent_layers_as_in_pytorch(
    kind: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    lengths: list[int] | None,
    bias: bool,
) -> None:
    torch = pytest.importorskip("torch")
    module = _peer(kind, layers, bidirectional, batch_first, bias)
    params = [p.detach().numpy().copy() for p in module.parameters()]
    x = values(3, 6, 4) if batch_first else values(6, 3, 4)
    states = 2 if kind == "LSTM" else 1
    first = [values(layers * (1 + bidirectional), 3, 2, seed=i) for i in range(states)]

    peers = [torch.tensor(a, requires_grad=True) for a in (x, *first)]
    expected = _run_peer(module, peers, lengths, batch_first)
    gradients = [values(*e.shape, seed=9) for e in expected]
    torch.autograd.backward(expected, [torch.tensor(g) for g in gradients])

    tensors = [Tensor(a, requires_grad=True) for a in (x, *first, *params)]
    hx: Any = tensors[1 : 1 + states] if states == 2 else tensors[1]
    counts = None if lengths is None else np.array(lengths)
    results = KINDS[kind][0](
        tensors[0],
        hx,
        tensors[1 + states :],
        bias,
        layers,
        0.0,
        True,
        bidirectional,
        batch_first,
        lengths=counts,
    )
    total = Tensor(np.zeros(()))
    for result, wanted, gradient in zip(results, expected, gradients, strict=True):
        close(result, wanted.detach())
        total = total + (result * gradient).sum()
    total.backward()
    for tensor, peer in zip(tensors, [*peers, *module.parameters()], strict=True):
        assert tensor.grad is not None
        close(tensor.grad.numpy(), peer.grad)


def _peer(kind: str, layers: int, bidirectional: bool, batch_first: bool, bias: bool) -> Any:
    import torch

    torch.manual_seed(0)
    options: dict[str, Any] = {
        "num_layers": layers,
        "bidirectional": bidirectional,
        "batch_first": batch_first,
        "bias": bias,
    }
    if kind == "ReLU":
        return torch.nn.RNN(4, 2, nonlinearity="relu", **options).double()
    return getattr(torch.nn, kind)(4, 2, **options).double()


def _run_peer(
    module: Any, operands: list[Any], lengths: list[int] | None, batch_first: bool
) -> list[Any]:
    import torch

    x, *first = operands
    hx = tuple(first) if len(first) == 2 else first[0]
    if lengths is not None:
        x = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=batch_first, enforce_sorted=False
        )
    y, last = module(x, hx)
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=batch_first)
    return [y, *last] if isinstance(last, tuple) else [y, last]
