"""Losses, with every reduction."""

from tests.core.bench import apart, case, fixed, integers, normal, positive

REDUCTIONS = ("mean", "sum", "none")

CLASSES = (
    [
        case(
            "cross_entropy",
            lambda F, x, t, r=r: F.cross_entropy(x, t, reduction=r),
            normal(5, 4),
            integers(4, 5),
            label=r,
        )
        for r in REDUCTIONS
    ]
    + [
        case(
            "cross_entropy",
            lambda F, x, t, w, r=r: F.cross_entropy(
                x, t, w, ignore_index=1, label_smoothing=0.2, reduction=r
            ),
            normal(2, 4, 3, 5),
            integers(4, 2, 3, 5),
            positive(4, grad=False),
            label=f"pixels {r}",
        )
        for r in REDUCTIONS
    ]
    + [
        case(
            "cross_entropy",
            lambda F, x, t: F.cross_entropy(x, t),
            normal(3, 4),
            fixed([-100, 2, -100]),
            label="ignored",
        ),
        case("nll_loss", lambda F, x, t: F.nll_loss(x, t), normal(5, 4), integers(4, 5)),
        case(
            "nll_loss",
            lambda F, x, t, w: F.nll_loss(x, t, w, reduction="none"),
            normal(2, 3, 4, 5),
            integers(3, 2, 4, 5),
            positive(3, grad=False),
            label="pixels",
        ),
        case(
            "multi_margin_loss",
            lambda F, x, t: F.multi_margin_loss(x, t),
            apart(5, 4),
            integers(4, 5),
        ),
        case(
            "multi_margin_loss",
            lambda F, x, t: F.multi_margin_loss(x, t, margin=0.33, reduction="none"),
            apart(5, 4),
            integers(4, 5),
            label="none",
        ),
    ]
)

BINARY = [
    case(
        "binary_cross_entropy_with_logits",
        lambda F, x, t, r=r: F.binary_cross_entropy_with_logits(x, t, reduction=r),
        normal(3, 4),
        positive(3, 4, low=0, high=1, grad=False),
        label=r,
    )
    for r in REDUCTIONS
] + [
    case(
        "binary_cross_entropy_with_logits",
        lambda F, x, t, w, p: F.binary_cross_entropy_with_logits(x, t, w, pos_weight=p),
        normal(3, 4),
        positive(3, 4, low=0, high=1, grad=False),
        positive(4, grad=False),
        positive(4, grad=False),
        label="weights",
    ),
    case(
        "hinge_loss", lambda F, x, t: F.hinge_loss(x, t), normal(6), fixed([1.0, -1, 1, 1, -1, -1])
    ),
]

DIFFERENCES = [
    case(
        name,
        lambda F, x, t, name=name, r=r: getattr(F, name)(x, t, reduction=r),
        apart(2, 3, 4, 2),
        positive(2, 3, 4, 2, low=-0.01, high=0.01),
        label=r,
    )
    for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
    for r in REDUCTIONS
] + [
    case(
        "smooth_l1_loss",
        lambda F, x, t: F.smooth_l1_loss(x, t, beta=0.4),
        apart(30),
        normal(30),
        label="beta",
    ),
    case(
        "huber_loss",
        lambda F, x, t: F.huber_loss(x, t, delta=0.4),
        apart(30),
        normal(30),
        label="delta",
    ),
]

CASES = [*CLASSES, *BINARY, *DIFFERENCES]
