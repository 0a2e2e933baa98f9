"""Recurrent layers over sequences of STEPS vectors of INPUT values, in batches of N."""

from dataclasses import replace
from typing import Any

from tests.core.bench import Given, case, fixed, normal

STEPS, N, INPUT, H = 5, 3, 4, 2
GATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 4, "gru": 3}


def weights(gates: int, features: int, biases: bool = True) -> list[Given]:
    """One direction of one layer."""
    matrices = [normal(gates * H, features), normal(gates * H, H)]
    return matrices + [normal(gates * H), normal(gates * H)] * biases


def stacked(name: str, **settings: Any) -> Any:
    """A call with PyTorch's list of parameters; the states come first."""
    arguments = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": True}
    arguments |= {"bidirectional": False, "batch_first": False} | settings
    states = 2 if name == "lstm" else 1

    def run(F: Any, x: Any, *rest: Any) -> Any:
        hx = rest[:2] if states == 2 else rest[0]
        return getattr(F, name)(x, hx, list(rest[states:]), *arguments.values())

    return run


def first_states(name: str, layers: int) -> list[Given]:
    return [normal(layers, N, H) for _ in range(2 if name == "lstm" else 1)]


PLAIN = [
    case(
        name, stacked(name), normal(STEPS, N, INPUT), *first_states(name, 1), *weights(gates, INPUT)
    )
    for name, gates in GATES.items()
]

DEEP = [
    case(
        name,
        stacked(name, has_biases=False, num_layers=2, bidirectional=True, batch_first=True),
        normal(N, STEPS, INPUT),
        *first_states(name, 4),
        *weights(gates, INPUT, False),
        *weights(gates, INPUT, False),
        *weights(gates, 2 * H, False),
        *weights(gates, 2 * H, False),
        label="deep",
    )
    for name, gates in GATES.items()
]

LENGTHS = [
    case(
        name,
        lambda F, x, n, *rest, name=name: stacked(name)(_WithLengths(F, name, n), x, *rest),
        normal(STEPS, N, INPUT),
        fixed([5, 1, 3]),
        *first_states(name, 1),
        *weights(gates, INPUT),
        label="lengths",
        peer=None,
    )
    for name, gates in GATES.items()
]


class _WithLengths:
    """The functions with the argument that PyTorch passes by packing the sequences."""

    def __init__(self, F: Any, name: str, lengths: Any) -> None:
        setattr(self, name, lambda *args: getattr(F, name)(*args, lengths=lengths))


LAYERS = [
    case(
        name,
        lambda F, x, *rest, name=name: getattr(F, name)(x, *rest, reverse=True),
        normal(STEPS, N, INPUT),
        *[normal(N, H)] * states,
        *weights(gates, INPUT),
        label="reverse",
        peer=None,
    )
    for name, gates, states in (("rnn_layer", 1, 1), ("lstm_layer", 4, 2), ("gru_layer", 3, 1))
] + [
    case(
        "rnn_layer",
        lambda F, x, h, w, u: F.rnn_layer(x, h, w, u, lengths=[1, 4], nonlinearity="relu"),
        normal(4, 2, 1),
        normal(2, 1),
        normal(1, 1),
        normal(1, 1),
        label="lengths",
        peer=None,
    ),
]

# Sequences have no channels whose place in memory could be kept.
CASES = [replace(c, keeps_layout=False) for c in (*PLAIN, *DEEP, *LENGTHS, *LAYERS)]
