"""RNN, LSTM and GRU beside PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import core
from core import nn
from core.tensor import Tensor
from tests.core.nn.peer import agree, close, outputs_of, values

STEPS, N, INPUTS, HIDDEN = 5, 3, 2, 4
SETTINGS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 2},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu"}),
    ("LSTM", {}),
    ("GRU", {}),
]


def both(kind: str, **settings: Any) -> tuple[Any, Any]:
    """The same layer, ours and PyTorch's, in float64."""
    torch = pytest.importorskip("torch")
    with core.default_dtype("float64"):
        ours = getattr(nn, kind)(INPUTS, HIDDEN, **settings)
    return ours, getattr(torch.nn, kind)(INPUTS, HIDDEN, **settings).double()


def sequence(settings: dict[str, Any]) -> np.ndarray:
    x = values(STEPS, N, INPUTS)
    return x.swapaxes(0, 1).copy() if settings.get("batch_first") else x


@pytest.mark.peer
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("kind", "special"), KINDS)
def test_layers_agree_with_pytorch(
    kind: str, special: dict[str, Any], settings: dict[str, Any]
) -> None:
    agree(*both(kind, **special, **settings), sequence(settings))


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_first_states_agree_with_pytorch(kind: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = both(kind, num_layers=2, bidirectional=True)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    h0, c0 = values(4, N, HIDDEN), values(4, N, HIDDEN, seed=1)
    x = sequence({})
    own = (h0, c0) if kind == "LSTM" else h0
    peer = tuple(map(torch.tensor, (h0, c0))) if kind == "LSTM" else torch.tensor(h0)
    pairs = zip(outputs_of(ours(x, own)), outputs_of(theirs(torch.tensor(x), peer)), strict=True)
    for y, t in pairs:
        close(y, t.detach())


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_lengths_agree_with_pytorchs_packed_sequences(kind: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = both(kind, num_layers=2, bidirectional=True, batch_first=True)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    x, lengths = sequence({"batch_first": True}), np.array([2, 5, 3])
    utils = torch.nn.utils.rnn
    packed = utils.pack_padded_sequence(
        torch.tensor(x), torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    y, last = theirs(packed)
    expected = [utils.pad_packed_sequence(y, batch_first=True)[0], *outputs_of(last)]
    for own, t in zip(outputs_of(ours(x, lengths=lengths)), expected, strict=True):
        close(own, t.detach())


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_dropout_acts_between_layers_in_training(kind: str) -> None:
    layer = getattr(nn, kind)(INPUTS, HIDDEN, 2, dropout=0.5)
    x = Tensor(values(STEPS, N, INPUTS).astype(np.float32))
    first, second = (layer(x)[0].numpy() for _ in range(2))
    assert not np.array_equal(first, second)
    layer.eval()
    first, second = (layer(x)[0].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_first_values_and_printed_form() -> None:
    layer = nn.LSTM(3, 16, 2, batch_first=True, dropout=0.2)
    assert repr(layer) == "LSTM(3, 16, num_layers=2, batch_first=True, dropout=0.2)"
    assert repr(nn.GRU(3, 4, bias=False, bidirectional=True)) == (
        "GRU(3, 4, bias=False, bidirectional=True)"
    )
    largest = max(abs(p.numpy()).max() for p in layer.parameters())
    assert 0.24 < largest <= 0.25


MISTAKES: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.LSTM(3, 4, dropout=0.5), "it acts between layers"),
    (lambda: nn.LSTM(3, 4, 2, dropout=1.5), "expected a probability"),
    (lambda: nn.GRU(3, 0), "hidden_size 0"),
    (lambda: nn.RNN(3, 4, nonlinearity="elu"), "nonlinearity 'elu'"),
    (lambda: nn.RNN(3, 4)(np.ones((2, 3), np.float32)), r"shape \(2, 3\), expected 3 axes"),
    (lambda: nn.RNN(3, 4)(np.ones((2, 1, 2), np.float32)), "weight_ih has shape"),
]


@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_mistakes_are_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
