"""Sums, means, extremes."""

from tests.core.bench import apart, case, normal

X4 = (2, 3, 5, 4)

CASES = [
    case("sum", lambda F, x: F.sum(x), normal(*X4)),
    case("sum", lambda F, x: F.sum(x, 1), normal(*X4), label="axis"),
    case(
        "sum",
        lambda F, x: F.sum(x, (0, -1), keepdim=True),
        normal(*X4),
        label="axes",
        keeps_layout=False,
    ),
    case("sum", lambda F, x: F.sum(x), normal(), label="scalar"),
    case("mean", lambda F, x: F.mean(x), normal(*X4)),
    case("mean", lambda F, x: F.mean(x, (2, 3)), normal(*X4), label="axes"),
    case("mean", lambda F, x: F.mean(x, 1, keepdim=True), normal(4, 1), label="keepdim"),
    case("var", lambda F, x: F.var(x), normal(*X4)),
    case(
        "var",
        lambda F, x: F.var(x, (0, 2), correction=0, keepdim=True),
        normal(*X4),
        label="axes",
        keeps_layout=False,
    ),
    case("std", lambda F, x: F.std(x, 1), normal(*X4)),
    case("std", lambda F, x: F.std(x, -1, correction=0), normal(2, 7), label="biased"),
    case("amax", lambda F, x: F.amax(x), apart(*X4)),
    case(
        "amax",
        lambda F, x: F.amax(x, (1, 3), keepdim=True),
        apart(*X4),
        label="axes",
        keeps_layout=False,
    ),
    case("amin", lambda F, x: F.amin(x, 2), apart(*X4)),
    case("max", lambda F, x: F.max(x), apart(*X4)),
    case("max", lambda F, x: F.max(x, 1), apart(*X4), label="axis"),
    case("max", lambda F, x: F.max(x, -1, keepdim=True), apart(3, 5), label="keepdim"),
    case("min", lambda F, x: F.min(x), apart(*X4)),
    case("min", lambda F, x: F.min(x, 0), apart(*X4), label="axis"),
    case("argmax", lambda F, x: F.argmax(x), apart(*X4), gradient=False, keeps_dtype=False),
    case(
        "argmax",
        lambda F, x: F.argmax(x, 1, keepdim=True),
        apart(3, 5),
        label="keepdim",
        gradient=False,
        keeps_dtype=False,
    ),
    case("argmin", lambda F, x: F.argmin(x, -1), apart(*X4), gradient=False, keeps_dtype=False),
    case("logsumexp", lambda F, x: F.logsumexp(x, 1), normal(*X4)),
    case("logsumexp", lambda F, x: F.logsumexp(x, -1, keepdim=True), normal(3, 5), label="keepdim"),
]
