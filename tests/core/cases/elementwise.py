"""Arithmetic, comparisons, the matrix product and activation functions."""

import numpy as np

import core
from tests.core.bench import apart, case, fixed, integers, mask, normal, positive

X4 = (2, 3, 5, 4)


def _dropout(F, x, **options):  # type: ignore[no-untyped-def]
    """Seeded, so that every run draws the same mask."""
    core.seed(3)
    return F.dropout(x, **options)


ARITHMETIC = [
    case("add", lambda F, x, y: F.add(x, y), normal(*X4), normal(*X4)),
    case("add", lambda F, x, y: F.add(x, y), normal(*X4), normal(1, 3, 1, 1), label="channels"),
    case("add", lambda F, x, y: F.add(x, y), normal(3, 1), normal(2, 1, 4), label="both"),
    case("add", lambda F, x: F.add(x, 2.5), normal(*X4), label="number"),
    case("add", lambda F, x: F.add(x, x), normal(*X4), label="itself"),
    case("add", lambda F, x, y: F.add(x, y), normal(3, 4), normal(), label="scalar"),
    case("sub", lambda F, x, y: F.sub(x, y), normal(*X4), normal(*X4)),
    case("sub", lambda F, x: F.sub(1, x), normal(*X4), label="number"),
    case("sub", lambda F, x, y: F.sub(x, y), normal(4), normal(2, 3, 4), label="broadcast"),
    case("mul", lambda F, x, y: F.mul(x, y), normal(*X4), normal(*X4)),
    case("mul", lambda F, x, y: F.mul(x, y), normal(*X4), normal(3, 1, 1), label="channels"),
    case("mul", lambda F, x: F.mul(x, x), normal(*X4), label="itself"),
    case("mul", lambda F, x: F.mul(-0.5, x), normal(1), label="number"),
    case("div", lambda F, x, y: F.div(x, y), normal(*X4), positive(*X4)),
    case("div", lambda F, x, y: F.div(x, y), normal(2, 3), positive(3), label="broadcast"),
    case("div", lambda F, x: F.div(1.0, x), positive(*X4), label="number"),
    case("pow", lambda F, x: F.pow(x, 2), normal(*X4)),
    case("pow", lambda F, x: F.pow(x, 3), normal(2, 3), label="cube"),
    case("pow", lambda F, x: F.pow(x, -0.5), positive(2, 3), label="fraction"),
    case("pow", lambda F, x: F.pow(x, 0), normal(2, 3), label="zero"),
    case("pow", lambda F, x, y: F.pow(x, y), positive(2, 3), normal(3), label="tensor"),
    case("pow", lambda F, y: F.pow(2.5, y), normal(2, 3), label="base"),
    case("neg", lambda F, x: F.neg(x), normal(*X4)),
    case("abs", lambda F, x: F.abs(x), apart(*X4)),
    case("exp", lambda F, x: F.exp(x), normal(*X4)),
    case("log", lambda F, x: F.log(x), positive(*X4)),
    case("sqrt", lambda F, x: F.sqrt(x), positive(*X4)),
    case("clamp", lambda F, x: F.clamp(x, -0.8, 1.1), apart(*X4)),
    case("clamp", lambda F, x: F.clamp(x, min=-0.3), apart(*X4), label="min"),
    case("clamp", lambda F, x: F.clamp(x, max=0.3), apart(*X4), label="max"),
    case("maximum", lambda F, x, y: F.maximum(x, y), apart(2, 30), normal(2, 30)),
    case("maximum", lambda F, x, y: F.maximum(x, y), apart(2, 3), apart(3), label="broadcast"),
    case("minimum", lambda F, x, y: F.minimum(x, y), apart(*X4), normal(*X4)),
    case("where", lambda F, c, x, y: F.where(c, x, y), mask(*X4), normal(*X4), normal(*X4)),
    case(
        "where",
        lambda F, c, x, y: F.where(c, x, y),
        mask(2, 3, 1),
        normal(3, 4),
        normal(),
        label="broadcast",
    ),
    case("cast", lambda F, x: F.cast(x, np.float64), normal(*X4), keeps_dtype=False),
    case(
        "cast",
        lambda F, x: F.cast(x, np.float32),
        normal(2, 3),
        keeps_dtype=False,
        label="down",
        gradient=False,
    ),
]

COMPARISONS = [
    case(
        name,
        lambda F, x, y, name=name: getattr(F, name)(x, y),
        integers(4, 2, 3, 4, 5),
        integers(4, 3, 1, 1),
        gradient=False,
        keeps_dtype=False,
    )
    for name in ("eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or")
]
COMPARISONS.append(
    case(
        "logical_not",
        lambda F, x: F.logical_not(x),
        integers(2, 2, 3, 4, 5),
        gradient=False,
        keeps_dtype=False,
    )
)

MATMUL = [
    case("matmul", lambda F, x, y: F.matmul(x, y), normal(3, 4), normal(4, 5)),
    case(
        "matmul",
        lambda F, x, y: F.matmul(x, y),
        normal(2, 3, 4),
        normal(2, 4, 5),
        label="batch",
        keeps_layout=False,
    ),
    case(
        "matmul",
        lambda F, x, y: F.matmul(x, y),
        normal(2, 1, 3, 4),
        normal(5, 4, 2),
        label="broadcast",
        keeps_layout=False,
    ),
    case("matmul", lambda F, x, y: F.matmul(x, y), normal(4), normal(4), label="vectors"),
    case("matmul", lambda F, x, y: F.matmul(x, y), normal(4), normal(4, 3), label="row"),
    case("matmul", lambda F, x, y: F.matmul(x, y), normal(2, 3, 4), normal(4), label="column"),
    case("linear", lambda F, x, w, b: F.linear(x, w, b), normal(5, 4), normal(3, 4), normal(3)),
    case("linear", lambda F, x, w: F.linear(x, w), normal(1, 4), normal(1, 4), label="no bias"),
    case(
        "linear",
        lambda F, x, w, b: F.linear(x, w, b),
        normal(2, 5, 4),
        normal(3, 4),
        normal(3),
        label="sequence",
        keeps_layout=False,
    ),
    case(
        "linear",
        lambda F, x, w, b: F.linear(x, w, b),
        normal(4),
        normal(3, 4),
        normal(3),
        label="vector",
    ),
    case(
        "linear_relu",
        lambda F, x, w, b: F.linear_relu(x, w, b),
        normal(5, 4),
        normal(3, 4),
        normal(3),
    ),
]

ACTIVATION = [
    case("relu", lambda F, x: F.relu(x), apart(*X4)),
    case("leaky_relu", lambda F, x: F.leaky_relu(x), apart(*X4)),
    case("leaky_relu", lambda F, x: F.leaky_relu(x, 0.2), apart(*X4), label="slope"),
    case("leaky_relu", lambda F, x: F.leaky_relu(x, 1.5), apart(*X4), label="steep"),
    case("elu", lambda F, x: F.elu(x), apart(*X4)),
    case("elu", lambda F, x: F.elu(x, 0.7), apart(7), label="alpha"),
    case("sigmoid", lambda F, x: F.sigmoid(x), normal(*X4)),
    case(
        "sigmoid",
        lambda F, x: F.sigmoid(x),
        fixed([-80.0, -9.0, 9.0, 80.0], grad=True),
        label="far",
    ),
    case("tanh", lambda F, x: F.tanh(x), normal(*X4)),
    case("softplus", lambda F, x: F.softplus(x), normal(*X4)),
    case("softmax", lambda F, x: F.softmax(x, 1), normal(*X4)),
    case("softmax", lambda F, x: F.softmax(x, -1), normal(3, 5), label="last"),
    case("softmax", lambda F, x: F.softmax(x, 0), fixed([1e4, 1e4, -1e4], grad=True), label="far"),
    case("log_softmax", lambda F, x: F.log_softmax(x, 1), normal(*X4)),
    case("log_softmax", lambda F, x: F.log_softmax(x, -1), normal(3, 1), label="one class"),
    case("dropout", lambda F, x: _dropout(F, x, p=0.4), normal(*X4), peer=None),
    case("dropout", lambda F, x: _dropout(F, x, p=1.0), normal(3), label="all", peer=None),
    case("dropout", lambda F, x: F.dropout(x, p=0.4, training=False), normal(3), label="off"),
]

CASES = [*ARITHMETIC, *COMPARISONS, *MATMUL, *ACTIVATION]
