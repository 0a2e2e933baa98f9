"""Losses as modules (book, 4.2); the formulas stand in `core.functional.loss`.

Weights are keyword-only or first, as in PyTorch; `reduction` is "mean", "sum" or "none".
"""

from __future__ import annotations

from typing import Any

from core import functional as F
from core.nn.module import Module
from core.tensor import Tensor


class _Loss(Module):
    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(
                f"{type(self).__name__}: reduction {reduction!r}, expected 'mean', 'sum' or 'none'"
            )
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
    """`F.cross_entropy`: softmax and cross entropy of logits and classes (book, 5.6.3).

    `weight` holds one number for each class and is a buffer.
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.cross_entropy(
            input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(_Loss):
    """`F.nll_loss`: the same from log-probabilities."""

    weight: Tensor | None

    def __init__(
        self, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`F.binary_cross_entropy_with_logits`; `weight` and `pos_weight` are buffers."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
    ) -> None:
        super().__init__(reduction=reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, self.reduction, self.pos_weight
        )


class MSELoss(_Loss):
    """`F.mse_loss`: the squared difference."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """`F.l1_loss`: the absolute difference."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.l1_loss(input, target, self.reduction)


class SmoothL1Loss(_Loss):
    """`F.smooth_l1_loss` (Girshick 2015, eq. 3)."""

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(_Loss):
    """`F.huber_loss` (Huber 1964)."""

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class MultiMarginLoss(_Loss):
    """`F.multi_margin_loss`: the multi-class hinge."""

    def __init__(self, *, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin = margin

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.multi_margin_loss(input, target, margin=self.margin, reduction=self.reduction)


class HingeLoss(_Loss):
    """`F.hinge_loss`: that of a linear SVM, for targets -1 and +1."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return F.hinge_loss(input, target, self.reduction)
