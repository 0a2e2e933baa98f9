"""Statistics of feature maps that describe texture."""

from __future__ import annotations

from typing import Any

from core import kernels
from core.device import Array
from core.functional.operands import need_float, tensor_of
from core.kernels.layout import as_layout_of, channels_first, channels_last
from core.tensor import Tensor, record


def gram_matrix(input: Any) -> Tensor:
    """F F^T / (C H W): the correlations of the channels, (N, C, H, W) to (N, C, C).

    Gatys et al. 2016, eq. 3, who divide later, in the loss; dividing here makes layers of all
    sizes comparable.
    """
    x = tensor_of("gram_matrix", input, ndim=4)
    need_float("gram_matrix", x)
    n, c, height, width = x.shape
    if not x.numel():
        raise ValueError(f"gram_matrix: input of shape {x.shape} has no values")
    a, scale = x.data, 1.0 / (c * height * width)
    rows = channels_last(a).reshape(n, -1, c)
    y = kernels.of(rows).matmul(rows.swapaxes(1, 2), rows)
    y *= scale

    def backward(gy: Array) -> tuple[Array | None, ...]:
        both = gy + gy.swapaxes(1, 2)
        both *= scale
        gx = kernels.of(rows, both).matmul(rows, both).reshape(n, height, width, c)
        return (as_layout_of(channels_first(gx), a),)

    return record(y, (x,), backward)
