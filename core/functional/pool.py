"""Pooling and its inverse (book, 7.3 and 8.4.2), PyTorch's names and meanings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core import device as dev
from core import kernels
from core.device import Array
from core.functional.operands import array_of, need_float, pair, tensor_of
from core.kernels.reference.pool import Pooling
from core.kernels.reference.resample import average_taps
from core.tensor import Tensor, record, requires_grad


def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window: (N, C, H, W) to (N, C, H', W').

    H' = (H + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1, rounded down, or up
    with `ceil_mode`; `stride` is `kernel_size` unless given. Padding counts as minus infinity
    and NaN is the largest of all. With `return_indices` the pair (result, int64 places in the
    flattened H * W input), for `max_unpool2d`. Raises ValueError when the kernel does not fit.
    """
    name = "max_pool2d"
    x = _images(name, input)
    pooling = _pooling(name, x, kernel_size, stride, padding, dilation, ceil_mode)
    size, k = x.shape[2:], kernels.of(x.data)
    if not return_indices and not requires_grad(x)[0]:
        return Tensor(k.max_pool(x.data, pooling))
    y, positions = k.max_pool_positions(x.data, pooling)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).max_pool_backward(gy, positions, size, pooling),)

    result = record(y, (x,), backward)
    if not return_indices:
        return result
    return result, Tensor(k.max_pool_indices(positions, size, pooling))


def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window: (N, C, H, W) to (N, C, H', W'), sizes as in `max_pool2d`.

    Padding counts as zeros, or not at all without `count_include_pad`; `divisor_override`
    replaces the number of values. Raises ValueError when the kernel does not fit.
    """
    name = "avg_pool2d"
    x = _images(name, input)
    pooling = _pooling(name, x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise ValueError(f"{name}: divisor_override is 0, expected another number or None")
    size, k = x.shape[2:], kernels.of(x.data)
    divisor = k.avg_pool_divisor(x.data, size, pooling, count_include_pad)
    if divisor_override is not None:
        divisor[...] = divisor_override

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).avg_pool_backward(gy, size, pooling, divisor),)

    return record(k.avg_pool(x.data, pooling, divisor), (x,), backward)


def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """The means of `output_size` bins that cover the input: (N, C, H, W) to (N, C, *output_size).

    `output_size` is one number or two; None keeps a length. 1 is the global average. Bin i of
    m holds floor(i H / m) to ceil((i + 1) H / m), so that bins may overlap (He et al. 2014).
    """
    name = "adaptive_avg_pool2d"
    x = _images(name, input)
    wanted = tuple(output_size) if isinstance(output_size, list | tuple) else (output_size,) * 2
    if len(wanted) != 2 or any(m is not None and m < 1 for m in wanted):
        raise ValueError(
            f"{name}: output_size {output_size}, expected one or two positive numbers or None"
        )
    if min(x.shape[2:]) < 1:
        raise ValueError(f"{name}: input of shape {x.shape} has no pixels")
    sizes = zip(x.shape[2:], wanted, strict=True)
    taps = tuple(average_taps(n, n if m is None else int(m)) for n, m in sizes)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).resample_backward(gy, taps),)

    return record(kernels.of(x.data).resample(x.data, taps), (x,), backward)


def max_unpool2d(
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Values put back where `max_pool2d` found them, zeros elsewhere (SegNet's decoder).

    input and indices (N, C, H, W) give (N, C, H', W'); H' = (H - 1) stride - 2 padding +
    kernel_size, or `output_size`, which may differ from it by less than the stride. Raises
    ValueError for shapes that do not fit and indices outside H' W'.
    """
    name = "max_unpool2d"
    x, index = _images(name, input), array_of(name, indices)
    if index.shape != x.shape or index.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: indices have shape {index.shape} and dtype {index.dtype}, "
            f"expected integers of shape {x.shape}"
        )
    kernel = pair(kernel_size)
    strides = kernel if stride is None else pair(stride)
    size = _unpooled_size(name, x.shape[2:], kernel, strides, pair(padding), output_size)
    planes = size[0] * size[1]
    if (
        dev.device_of(index) == "cpu"
        and index.size
        and not 0 <= index.min() <= index.max() < planes
    ):
        raise ValueError(
            f"{name}: indices {index.min()}..{index.max()}, expected 0..{planes - 1} "
            f"for the output size {size}"
        )

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).max_unpool_backward(gy, index),)

    return record(kernels.of(x.data).max_unpool(x.data, index, size), (x,), backward)


def _unpooled_size(
    name: str,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_size: Sequence[int] | None,
) -> tuple[int, ...]:
    default = tuple(
        (n - 1) * s - 2 * p + k for n, k, s, p in zip(size, kernel, stride, padding, strict=True)
    )
    if output_size is None:
        return default
    wanted = tuple(int(n) for n in output_size[-2:])
    near = [abs(w - d) < s for w, d, s in zip(wanted, default, stride, strict=False)]
    if len(output_size) not in (2, 4) or not all(near):
        raise ValueError(
            f"{name}: output_size {tuple(output_size)}, expected {default} give or take less "
            f"than the stride {stride}"
        )
    return wanted


def _images(name: str, input: Any) -> Tensor:
    x = tensor_of(name, input, ndim=4)
    need_float(name, x)
    return x


def _pooling(
    name: str,
    x: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> Pooling:
    kernel, paddings, dilations = pair(kernel_size), pair(padding), pair(dilation)
    strides = kernel if stride is None else pair(stride)
    if min(kernel) < 1 or min(strides) < 1 or min(paddings) < 0 or min(dilations) < 1:
        raise ValueError(
            f"{name}: kernel_size {kernel}, stride {strides}, padding {paddings}, dilation "
            f"{dilations}: expected padding >= 0 and the others >= 1"
        )
    pooling = Pooling(kernel, strides, paddings, dilations, ceil_mode)
    if any(2 * p > k for p, k in zip(paddings, kernel, strict=True)):
        raise ValueError(f"{name}: padding {paddings} is more than half of kernel_size {kernel}")
    if min(pooling.output_size(x.shape[2:])) < 1:
        raise ValueError(
            f"{name}: kernel_size {kernel} does not fit into input {x.shape} with padding "
            f"{paddings} and dilation {dilations}"
        )
    return pooling
