"""Pictures and feature maps in another size."""

from __future__ import annotations

from typing import Any

from core import kernels
from core.device import Array
from core.functional.operands import need_float, tensor_of
from core.kernels.reference.resample import Taps, linear_taps, nearest_taps
from core.tensor import Tensor, record


def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """(N, C, H, W) resized to `size`, or by `scale_factor` (sizes rounded down).

    `mode` is "nearest" or "bilinear". Pixels are areas, so that output i reads the input at
    (i + 0.5) / scale - 0.5; with `align_corners` (bilinear only) they are points and the
    corners of both pictures coincide. A given `scale_factor` is the scale, unless
    `recompute_scale_factor` asks for that of the rounded sizes. Nothing is smoothed when
    sizes shrink. Raises ValueError for other modes and sizes.
    """
    name = "interpolate"
    x = tensor_of(name, input, ndim=4)
    need_float(name, x)
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"{name}: mode {mode!r}, expected 'nearest' or 'bilinear'")
    if mode == "nearest" and align_corners is not None:
        raise ValueError(f"{name}: align_corners goes with mode 'bilinear', not with 'nearest'")
    sizes, scales = _sizes(x, size, scale_factor, recompute_scale_factor)
    taps = tuple(
        _taps(n, m, scale, mode, bool(align_corners))
        for n, m, scale in zip(x.shape[2:], sizes, scales, strict=True)
    )

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (kernels.of(gy).resample_backward(gy, taps),)

    return record(kernels.of(x.data).resample(x.data, taps), (x,), backward)


def _taps(n: int, m: int, scale: float | None, mode: str, align_corners: bool) -> Taps:
    step = n / m if scale is None else 1.0 / scale
    if mode == "nearest":
        return nearest_taps(n, m, step)
    if align_corners:
        step = (n - 1) / (m - 1) if m > 1 else 0.0
    return linear_taps(n, m, step, align_corners)


def _sizes(
    x: Tensor, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
    """The new height and width, and the scale of each where the caller fixed it."""
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate: give either size or scale_factor")
    if size is not None and recompute:
        raise ValueError("interpolate: recompute_scale_factor goes with scale_factor")
    given = size if size is not None else scale_factor
    values = tuple(given) if isinstance(given, list | tuple) else (given, given)
    if len(values) != 2:
        raise ValueError(f"interpolate: got {given}, expected one number or two")
    scales: tuple[float | None, ...] = (None, None)
    if size is not None:
        sizes = tuple(int(v) for v in values)
    else:
        sizes = tuple(int(n * s) for n, s in zip(x.shape[2:], values, strict=True))
        scales = scales if recompute else tuple(float(s) for s in values)
    if min(sizes) < 1 or min(x.shape[2:]) < 1:
        raise ValueError(f"interpolate: input {x.shape} cannot become {sizes} pixels in size")
    return sizes, scales
