"""Convolution: by cuDNN where it is installed, else by im2col and one product on tensor cores.

Arrays are channels-last in memory; weights (K, C / groups, *kernel) lie as (K, *kernel, C), which
`Module.to("cuda")` takes care of. `OPENBOOK_CUDA_CONV` is "cudnn" or "gemm" to force one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from functools import cache

import numpy as np

from core.device import Array, array_module
from core.kernels.cuda import cudnn
from core.kernels.cuda.elementwise import relu_
from core.kernels.cuda.launch import Source, aligned, struct
from core.kernels.cuda.norm import add_bias
from core.kernels.cuda.product import batched_into, matmul_into
from core.kernels.layout import channels_first, channels_last, to_channels_last
from core.kernels.reference.conv import Window

_SOURCE = Source("conv.cu")
# Bytes of one im2col matrix: what stays in the cache of a large GPU until it is multiplied, and,
# for products whose inner axis it is, as much as keeps all multiprocessors busy.
_NEAR, _LARGE = 24 << 20, 1 << 28
_BACKENDS = ("cudnn", "gemm")


def convolve(
    x: Array, weight: Array, bias: Array | None, window: Window, relu: bool = False
) -> Array:
    """See the reference."""
    size = window.output_size(x.shape[2:], weight.shape[2:])
    rows, packed = to_channels_last(x), _packed(weight)
    y = array_module(x).empty((x.shape[0], *size, weight.shape[0]), x.dtype)
    if y.size and _by_cudnn(rows, window):
        cudnn.convolve(rows, packed, y, window)
    elif y.size:
        _convolve(rows, packed, y, window)
    y = channels_first(y)
    if bias is not None:
        add_bias(y, bias, relu)
    elif relu:
        relu_(y)
    return y


def convolve_input_gradient(
    gy: Array, weight: Array, size: tuple[int, ...], window: Window
) -> Array:
    """See the reference."""
    rows, packed = to_channels_last(gy), _packed(weight)
    channels = weight.shape[1] * window.groups
    gx = array_module(gy).empty((gy.shape[0], *size, channels), gy.dtype)
    if gx.size and _by_cudnn(rows, window):
        cudnn.convolve_input_gradient(rows, packed, gx, window)
    elif gx.size:
        _input_gradient(rows, packed, gx, window)
    return channels_first(gx)


def convolve_weight_gradient(x: Array, gy: Array, kernel: tuple[int, ...], window: Window) -> Array:
    """See the reference; in the memory order (K, *kernel, C / groups)."""
    rows, slopes = to_channels_last(x), to_channels_last(gy)
    shape = (gy.shape[1], *kernel, x.shape[1] // window.groups)
    gw = array_module(x).empty(shape, x.dtype)
    if gw.size and rows.size and slopes.size and _by_cudnn(rows, window):
        cudnn.convolve_weight_gradient(rows, slopes, gw, window)
    elif gw.size:
        _weight_gradient(rows, slopes, gw, window)
    return channels_first(gw)


def _by_cudnn(x: Array, window: Window) -> bool:
    """Whether cuDNN computes this."""
    wanted = _forced()
    if wanted == "gemm" or not cudnn.available(array_module(x)):
        if wanted == "cudnn":
            raise RuntimeError("OPENBOOK_CUDA_CONV is 'cudnn', which is not installed")
        return False
    return len(window.stride) == 2 and str(x.dtype) in cudnn.DTYPES


@cache
def _forced() -> str | None:
    name = os.environ.get("OPENBOOK_CUDA_CONV") or None
    if name is not None and name not in _BACKENDS:
        raise ValueError(f"OPENBOOK_CUDA_CONV is {name!r}, expected one of {', '.join(_BACKENDS)}")
    return name


def _packed(weight: Array) -> Array:
    """(K, *kernel, C / groups), contiguous; no copy of a weight that is stored so."""
    return array_module(weight).ascontiguousarray(channels_last(weight))


# ---------------------------------------------------------------------------- by our own kernels


def _convolve(x: Array, weight: Array, y: Array, window: Window) -> None:
    """y (N, *O, K) of x (N, *S, C) and weight (K, *kernel, C / groups)."""
    groups, filters = window.groups, weight.shape[0]
    matrix, rows = weight.reshape(groups, filters // groups, -1), y.reshape(-1, filters)
    for part, columns in _columns(x, weight, y, window, _NEAR):
        if groups == 1:
            matmul_into(columns[0], matrix[0].T, rows[part])
        else:
            _grouped_rows(columns, matrix.swapaxes(1, 2), rows[part])


def _grouped_rows(columns: Array, matrix: Array, rows: Array) -> None:
    """rows (M, groups * k) of columns (groups, M, i) and matrix (groups, i, k)."""
    module, (groups, _, width) = array_module(rows), matrix.shape
    parts = module.empty((groups, rows.shape[0], width), rows.dtype)
    batched_into(columns, matrix, parts)
    rows.reshape(-1, groups, width)[...] = parts.swapaxes(0, 1)


def _input_gradient(gy: Array, weight: Array, gx: Array, window: Window) -> None:
    """gx (N, *S, C) of gy (N, *O, K)."""
    around = _transposed(weight, window)
    if around is not None:
        _convolve(gy, _turned(weight), gx, around)
        return
    module, groups, filters = array_module(gy), window.groups, weight.shape[0]
    matrix = weight.reshape(groups, filters // groups, -1)
    each = math.prod(gy.shape[1:-1]) * matrix.shape[2] * groups * gy.dtype.itemsize
    for samples in _parts(len(gx), each, _LARGE):
        rows, part = gy[samples].reshape(-1, filters), gx[samples]
        columns = module.empty((groups, rows.shape[0], matrix.shape[2]), gy.dtype)
        if groups == 1:
            matmul_into(rows, matrix[0], columns[0])
        else:
            split = rows.reshape(-1, groups, filters // groups).swapaxes(0, 1)
            batched_into(module.ascontiguousarray(split), matrix, columns)
        geometry = _geometry(part, weight, gy[samples].shape, window, 1)
        _SOURCE.each("col2im", gx, part.size, columns, part, geometry, rows.shape[0])


def _transposed(weight: Array, window: Window) -> Window | None:
    """The window of the convolution that is this one's transpose; None where there is none."""
    if window.groups != 1 or set(window.stride) != {1}:
        return None
    reach = (d * (k - 1) for k, d in zip(weight.shape[1:-1], window.dilation, strict=True))
    padding = tuple(r - p for r, p in zip(reach, window.padding, strict=True))
    return None if min(padding) < 0 else window._replace(padding=padding)


def _turned(weight: Array) -> Array:
    """(C, *kernel, K) of (K, *kernel, C), each kernel turned by half a circle."""
    axes = range(1, weight.ndim - 1)
    flipped = weight[(slice(None), *(slice(None, None, -1) for _ in axes))]
    turned = flipped.transpose(weight.ndim - 1, *axes, 0)
    return array_module(weight).ascontiguousarray(turned)


def _weight_gradient(x: Array, gy: Array, gw: Array, window: Window) -> None:
    """gw (K, *kernel, C / groups) of x (N, *S, C) and gy (N, *O, K)."""
    module, groups, filters = array_module(x), window.groups, gw.shape[0]
    total, rows = gw.reshape(groups, filters // groups, -1), gy.reshape(-1, filters)
    started = False
    for part, columns in _columns(x, gw, gy, window, _LARGE):
        if groups == 1:
            matmul_into(rows[part].T, columns[0], total[0], add=started)
        else:
            split = rows[part].reshape(-1, groups, filters // groups).transpose(1, 2, 0)
            found = module.empty(total.shape, total.dtype)
            batched_into(module.ascontiguousarray(split), columns, found)
            module.add(total, found, out=total) if started else module.copyto(total, found)
        started = True
    if not started:
        gw[...] = 0


def _is_plain(weight: Array, window: Window) -> bool:
    """Whether the im2col matrix is the input itself."""
    one = math.prod(weight.shape[1:-1]) == 1 and window.groups == 1
    return one and set(window.stride) == {1} and not any(window.padding)


def _columns(
    x: Array, weight: Array, y: Array, window: Window, size: int
) -> Iterator[tuple[slice, Array]]:
    """Parts of the output positions, each with (groups, rows, kernel positions * C / groups).

    A row is what one position sees. The parts, of about `size` bytes, share their memory.
    """
    count = math.prod(y.shape[:-1])
    if not count:
        return
    if _is_plain(weight, window):
        yield slice(0, count), x.reshape(1, -1, x.shape[-1])
        return
    groups, width = window.groups, math.prod(weight.shape[1:])
    lanes = 16 // x.dtype.itemsize
    packs = weight.shape[-1] % lanes == 0 and aligned(x)
    if not packs:
        lanes = 1
    kernel = "im2col_packs" if packs else "im2col_values"
    across = -(-width // lanes // 64)
    geometry = _geometry(x, weight, y.shape, window, lanes)
    parts = _parts(count, width * groups * x.dtype.itemsize, size)
    memory = array_module(x).empty(groups * width * min(count, parts[0].stop), x.dtype)
    for part in parts:
        rows = min(part.stop, count) - part.start
        columns = memory[: groups * rows * width].reshape(groups, rows, width)
        grid = (across, min(rows, 65535, max(1, 132 * 64 // across)), groups)
        _SOURCE.launch(kernel, x, grid, 64, x, columns, geometry, part.start, rows)
        yield part, columns


def _parts(count: int, each: int, size: int) -> list[slice]:
    """Slices of `count` things of `each` bytes, about `size` bytes long."""
    step = max(1, size // max(1, each))
    return [slice(start, start + step) for start in range(0, count, step)]


def _geometry(
    x: Array, weight: Array, out: tuple[int, ...], window: Window, lanes: int
) -> np.ndarray:
    """The struct of that name for x (N, *S, C) and an output of shape (N, *O, K)."""
    missing = (1,) * (3 - len(window.stride))
    axes = (x.shape[1:-1], out[1:-1], weight.shape[1:-1], window.stride)
    values = [x.shape[0]]
    for along in axes:
        values += [*missing, *along]
    values += [*(0 for _ in missing), *window.padding, *missing, *window.dilation]
    return struct([*values, weight.shape[-1] // lanes, window.groups], np.int32)
