"""Recurrent layers over whole sequences (book, 8.3.2); see `core.functional.recurrent`."""

from __future__ import annotations

import math
from typing import Any

from core import device as dev
from core import functional as F
from core.functional.operands import tensor_of
from core.nn import init
from core.nn.linear import new_parameter
from core.nn.module import Module
from core.tensor import Tensor


class _Recurrent(Module):
    """What RNN, LSTM and GRU share: settings, and parameters under PyTorch's names.

    Layer i has `weight_ih_l{i}` (gates * hidden_size, inputs), `weight_hh_l{i}` (gates *
    hidden_size, hidden_size), `bias_ih_l{i}` and `bias_hh_l{i}`; the same with `_reverse` at the
    end when `bidirectional`. All start uniform in +-1 / sqrt(hidden_size).
    """

    gates: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError(
                f"{name}: input_size {input_size}, hidden_size {hidden_size} and num_layers "
                f"{num_layers}, expected positive numbers"
            )
        if not 0 <= dropout <= 1 or (dropout and num_layers == 1):
            raise ValueError(
                f"{name}: dropout {dropout} with {num_layers} layer(s), expected a probability, "
                "and 0 for a single layer: it acts between layers"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else hidden_size * self.directions
            for suffix in ("", "_reverse")[: self.directions]:
                self._add_layer(f"l{layer}{suffix}", inputs)
        self.reset_parameters()

    @property
    def directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 1 + self.bidirectional

    def _add_layer(self, name: str, inputs: int) -> None:
        rows = self.gates * self.hidden_size
        setattr(self, f"weight_ih_{name}", new_parameter(rows, inputs))
        setattr(self, f"weight_hh_{name}", new_parameter(rows, self.hidden_size))
        if self.bias:
            setattr(self, f"bias_ih_{name}", new_parameter(rows))
            setattr(self, f"bias_hh_{name}", new_parameter(rows))

    def reset_parameters(self) -> None:
        """Draw all weights and biases anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _settings(self, lengths: Any) -> tuple[Any, ...]:
        """What follows the input and the first states in `F.lstm` and its like."""
        return (
            list(self._own_parameters().values()),
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            self.batch_first,
            lengths,
        )

    def _zeros(self, input: Any) -> Tensor:
        """First states for this input."""
        x = tensor_of(type(self).__name__, input, ndim=3)
        shape = (self.num_layers * self.directions, x.shape[not self.batch_first], self.hidden_size)
        return Tensor(dev.array_module(x.data).zeros(shape, x.dtype))

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers != 1:
            parts.append(f"num_layers={self.num_layers}")
        if not self.bias:
            parts.append("bias=False")
        if self.batch_first:
            parts.append("batch_first=True")
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        if self.bidirectional:
            parts.append("bidirectional=True")
        return ", ".join(parts)


class RNN(_Recurrent):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh) at each step, or "relu" (Elman 1990).

    input (T, N, input_size), or (N, T, input_size) with `batch_first`; the result is (outputs,
    last states): (T, N, directions * hidden_size) and (num_layers * directions, N, hidden_size).
    `hx`, of the latter shape, are the first states (zeros unless given); `lengths` (N,) says how
    long each sequence is: outputs behind it are zero and the last states are those at its end.
    `dropout` acts between layers.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
        )
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity {nonlinearity!r}, expected 'tanh' or 'relu'")
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Tensor, Tensor]:
        first = self._zeros(input) if hx is None else hx
        run = F.rnn_tanh if self.nonlinearity == "tanh" else F.rnn_relu
        return run(input, first, *self._settings(lengths))


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    As `RNN`, with the result (outputs, (last h, last c)) and `hx` = (h0, c0). Gates lie in the
    weights in the order input, forget, cell, output.
    """

    gates = 4

    def forward(
        self, input: Any, hx: Any = None, *, lengths: Any = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if hx is None:
            zeros = self._zeros(input)
            hx = (zeros, zeros)
        y, h, c = F.lstm(input, hx, *self._settings(lengths))
        return y, (h, c)


class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014), with arguments and results as `RNN`.

    Gates lie in the weights in the order reset, update, new.
    """

    gates = 3

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Tensor, Tensor]:
        first = self._zeros(input) if hx is None else hx
        return F.gru(input, first, *self._settings(lengths))
