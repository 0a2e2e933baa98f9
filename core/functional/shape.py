"""Operations that move values and compute nothing: indexing, reshaping, joining, padding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from core import device as dev
from core import kernels
from core.device import Array
from core.functional.operands import array_of, axis_of, tensor_of
from core.kernels import layout
from core.kernels.layout import ufunc
from core.tensor import Tensor, record, requires_grad


def getitem(x: Any, index: Any) -> Tensor:
    """x[index] with NumPy's basic and advanced indexing; repeated indices add their gradients."""
    x = tensor_of("getitem", x)
    plain = _plain_index(index)
    try:
        y = x.data[plain]
    except IndexError as error:
        raise IndexError(f"getitem: shape {x.shape}: {error}") from None
    shape, dtype, basic = x.shape, x.dtype, _is_basic(plain)
    module = dev.array_module(x.data)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        gx = module.zeros(shape, dtype)
        if basic:
            gx[plain] = gy
        else:
            module.add.at(gx, plain, gy)
        return (gx,)

    return record(module.asarray(y), (x,), backward)


def _plain_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_plain_index(i) for i in index)
    if isinstance(index, Tensor):
        return index.data
    return np.asarray(index) if isinstance(index, list) else index


def _is_basic(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(p, int | slice | np.integer) or p is None or p is Ellipsis for p in parts)


def reshape(x: Any, shape: Sequence[int]) -> Tensor:
    """The values in C order in another shape; one length may be -1."""
    x = tensor_of("reshape", x)
    own = x.shape
    try:
        y = x.data.reshape(tuple(shape))
    except ValueError:
        raise ValueError(f"reshape: {own} has no shape {tuple(shape)}") from None

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (gy.reshape(own),)

    return record(y, (x,), backward)


def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes `start_dim` to `end_dim` joined, in C, H, W order."""
    x = tensor_of("flatten", x)
    if not x.ndim:
        return reshape(x, (1,))
    first, last = axis_of("flatten", start_dim, x.ndim), axis_of("flatten", end_dim, x.ndim)
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    joined = math.prod(x.shape[first : last + 1])
    return reshape(x, (*x.shape[:first], joined, *x.shape[last + 1 :]))


def permute(x: Any, dims: Sequence[int]) -> Tensor:
    """The axes in the order `dims`; a view."""
    x = tensor_of("permute", x)
    order = tuple(axis_of("permute", d, x.ndim) for d in dims)
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"permute: dims {tuple(dims)} do not name each of {x.ndim} axes once")
    back = tuple(order.index(i) for i in range(x.ndim))

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (gy.transpose(back),)

    return record(x.data.transpose(order), (x,), backward)


def transpose(x: Any, dim0: int, dim1: int) -> Tensor:
    """Axes `dim0` and `dim1` exchanged; a view."""
    x = tensor_of("transpose", x)
    order = list(range(x.ndim))
    a, b = axis_of("transpose", dim0, x.ndim), axis_of("transpose", dim1, x.ndim)
    order[a], order[b] = b, a
    return permute(x, order)


def squeeze(x: Any, dim: Any = None) -> Tensor:
    """Without axes of length one: all of them, or those of `dim` that have length one."""
    x = tensor_of("squeeze", x)
    dims = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = {axis_of("squeeze", d, x.ndim) for d in dims}
    return reshape(x, [n for i, n in enumerate(x.shape) if i not in axes or n != 1])


def unsqueeze(x: Any, dim: int) -> Tensor:
    """With a new axis of length one at `dim`."""
    x = tensor_of("unsqueeze", x)
    axis = axis_of("unsqueeze", dim, x.ndim + 1)
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


def expand(x: Any, sizes: Sequence[int]) -> Tensor:
    """Axes of length one repeated to `sizes` (new axes in front, -1 keeps a length); a view."""
    x = tensor_of("expand", x)
    added = len(sizes) - x.ndim
    own = (1,) * added + x.shape
    wanted = (
        tuple(n if s == -1 else s for s, n in zip(sizes, own, strict=True)) if added >= 0 else ()
    )
    if added < 0 or any(n not in (1, s) for s, n in zip(wanted, own, strict=True)):
        raise ValueError(f"expand: shape {x.shape} does not expand to {tuple(sizes)}")
    kept = x.shape

    def backward(gy: Array) -> tuple[Array | None, ...]:
        axes = tuple(i for i, (s, n) in enumerate(zip(wanted, own, strict=True)) if s != n)
        return (gy.sum(axis=axes, keepdims=True).reshape(kept),)

    return record(dev.array_module(x.data).broadcast_to(x.data, wanted), (x,), backward)


def cat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors joined along an axis that they have; their other lengths are equal."""
    parts = [tensor_of("cat", t, f"tensor {i}") for i, t in enumerate(tensors)]
    if not parts:
        raise ValueError("cat: expected at least one tensor")
    first = parts[0]
    axis = axis_of("cat", dim, first.ndim)
    rest = [(*p.shape[:axis], *p.shape[axis + 1 :]) for p in parts]
    if any(p.ndim != first.ndim for p in parts) or len(set(rest)) > 1:
        raise ValueError(f"cat: shapes {[p.shape for p in parts]} differ beside axis {axis}")
    ends = np.cumsum([p.shape[axis] for p in parts]).tolist()
    pieces = [_along(axis, end - p.shape[axis], end) for p, end in zip(parts, ends, strict=True)]
    shape = (*first.shape[:axis], ends[-1], *first.shape[axis + 1 :])
    dtype = dev.result_type(*(p.data for p in parts))
    y = layout.empty(shape, dtype, first.data)
    for part, piece in zip(parts, pieces, strict=True):
        layout.write(y[piece], part.data)
    dtypes, needs = [p.dtype for p in parts], requires_grad(*parts)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return tuple(
            gy[piece].astype(own, copy=False) if needed else None
            for piece, own, needed in zip(pieces, dtypes, needs, strict=True)
        )

    return record(y, parts, backward)


def _along(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    return (slice(None),) * axis + (slice(start, stop),)


def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    parts = [tensor_of("stack", t, f"tensor {i}") for i, t in enumerate(tensors)]
    if len({p.shape for p in parts}) != 1:
        raise ValueError(
            f"stack: shapes {[p.shape for p in parts]}, expected one or more equal ones"
        )
    return cat([unsqueeze(p, dim) for p in parts], axis_of("stack", dim, parts[0].ndim + 1))


def split(x: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along `dim`: of one size (the last may be smaller), or of the sizes listed."""
    x = tensor_of("split", x)
    axis = axis_of("split", dim, x.ndim)
    length, sizes = x.shape[axis], split_size_or_sections
    if isinstance(sizes, int):
        if sizes <= 0:
            raise ValueError(f"split: size {sizes}, expected a positive one")
        sizes = [min(sizes, length - i) for i in range(0, length, sizes)]
    if sum(sizes) != length:
        raise ValueError(f"split: sizes {list(sizes)} do not add up to {length}")
    ends = np.cumsum(sizes).tolist()
    return tuple(x[_along(axis, e - s, e)] for s, e in zip(sizes, ends, strict=True))


def chunk(x: Any, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` pieces of equal size along `dim` (the last may be smaller)."""
    x = tensor_of("chunk", x)
    length = x.shape[axis_of("chunk", dim, x.ndim)]
    if chunks < 1:
        raise ValueError(f"chunk: chunks is {chunks}, expected a positive number")
    return split(x, max(1, -(-length // chunks)), dim)


def flip(x: Any, dims: Sequence[int]) -> Tensor:
    """The order along each of `dims` reversed; a view."""
    x = tensor_of("flip", x)
    axes = tuple(axis_of("flip", d, x.ndim) for d in dims)
    backwards = tuple(slice(None, None, -1 if i in axes else 1) for i in range(x.ndim))

    def backward(gy: Array) -> tuple[Array | None, ...]:
        return (gy[backwards],)

    return record(x.data[backwards], (x,), backward)


def pad(x: Any, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """x padded; `pad` lists (before, after) from the last axis forward, as PyTorch's does.

    `mode` is "constant" (with `value`), "replicate" or "reflect"; "reflect" needs each
    padding smaller than its axis. Negative paddings are refused with ValueError.
    """
    x = tensor_of("pad", x)
    if mode not in ("constant", "replicate", "reflect"):
        raise ValueError(f"pad: mode {mode!r}, expected 'constant', 'replicate' or 'reflect'")
    amounts = _pad_amounts(x, pad, mode)
    shape = tuple(b + n + a for n, (b, a) in zip(x.shape, amounts, strict=True))
    inner = tuple(slice(b, b + n) for n, (b, _) in zip(x.shape, amounts, strict=True))
    if mode == "constant":
        y = layout.empty(shape, x.dtype, x.data)
        y[...] = value
        layout.write(y[inner], x.data)

        def backward(gy: Array) -> tuple[Array | None, ...]:
            return (gy[inner],)

        return record(y, (x,), backward, "pad")
    return _mirror_pad(x, amounts, mode)


def _pad_amounts(x: Tensor, pad: Sequence[int], mode: str) -> list[tuple[int, int]]:
    if len(pad) % 2 or len(pad) > 2 * x.ndim or any(p < 0 for p in pad):
        raise ValueError(
            f"pad: got {tuple(pad)} for shape {x.shape}, expected pairs of paddings >= 0, "
            "last axis first"
        )
    amounts = [(0, 0)] * x.ndim
    for i in range(len(pad) // 2):
        amounts[-1 - i] = (int(pad[2 * i]), int(pad[2 * i + 1]))
    if mode == "reflect" and any(
        max(a) >= n for a, n in zip(amounts, x.shape, strict=True) if max(a)
    ):
        raise ValueError(f"pad: reflect padding {tuple(pad)} is not smaller than shape {x.shape}")
    return amounts


def _mirror_pad(x: Tensor, amounts: list[tuple[int, int]], mode: str) -> Tensor:
    """Padding that repeats values: copies of what is inside, whose gradients are added there."""
    shape = tuple(b + n + a for n, (b, a) in zip(x.shape, amounts, strict=True))
    inner = tuple(slice(b, b + n) for n, (b, _) in zip(x.shape, amounts, strict=True))
    copies = [
        tuple((slice(None),) * axis + (part,) + inner[axis + 1 :] for part in parts)
        for axis, (before, after) in enumerate(amounts)
        for parts in _mirrored(x.shape[axis], before, after, mode)
    ]
    y = layout.empty(shape, x.dtype, x.data)
    layout.write(y[inner], x.data)
    for place, source in copies:
        layout.write(y[place], y[source])

    def backward(gy: Array) -> tuple[Array | None, ...]:
        g = layout.copy(gy)
        for place, source in reversed(copies):
            inside = g[source]
            inside += g[place]
        return (layout.copy(g[inner]),)

    return record(y, (x,), backward, "pad")


def _mirrored(n: int, before: int, after: int, mode: str) -> list[tuple[slice, slice]]:
    """Places of a padded axis with the places that they repeat, those behind the axis first."""
    first, last = before, before + n - 1
    if mode == "reflect":
        pairs = [(last + 1, last - 1, after), (0, 2 * first, before)]
        return [(slice(p, p + k), _backwards(s, k)) for p, s, k in pairs if k]
    behind = [(place, last) for place in range(last + after, last, -1)]
    ahead = [(place, first) for place in range(before - 1, -1, -1)]
    return [(slice(p, p + 1), slice(s, s + 1)) for p, s in (*behind, *ahead)]


def _backwards(start: int, count: int) -> slice:
    stop = start - count
    return slice(start, stop if stop >= 0 else None, -1)


def embedding(input: Any, weight: Any, padding_idx: int | None = None) -> Tensor:
    """Rows of `weight` (V, D) chosen by the integers `input` (any shape): shape + (D,).

    The row `padding_idx` gets no gradient. Raises IndexError for an index outside 0..V-1.
    """
    weight = tensor_of("embedding", weight, "weight", 2)
    index = array_of("embedding", input)
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: input has dtype {index.dtype}, expected integers")
    shape, module = weight.shape, dev.array_module(weight.data, index)
    if module is np and index.size and not 0 <= index.min() <= index.max() < shape[0]:
        raise IndexError(f"embedding: index {index.min()}..{index.max()} outside 0..{shape[0] - 1}")

    def backward(gy: Array) -> tuple[Array | None, ...]:
        rows = gy.reshape(-1, shape[1])
        gw = kernels.of(gy).add_rows(rows, index.reshape(-1), shape[0])
        if padding_idx is not None:
            gw[padding_idx] = 0
        return (gw,)

    return record(weight.data[index], (weight,), backward)


def one_hot(input: Any, num_classes: int, dtype: Any = None) -> Tensor:
    """1 at each integer of `input` along a new last axis, 0 elsewhere (int64 by default).

    Raises ValueError for an integer outside 0..num_classes - 1.
    """
    index = tensor_of("one_hot", input).data
    if index.dtype.kind not in "iu":
        raise TypeError(f"one_hot: input has dtype {index.dtype}, expected integers")
    module = dev.array_module(index)
    if module is np and index.size and not 0 <= index.min() <= index.max() < num_classes:
        raise ValueError(
            f"one_hot: input {index.min()}..{index.max()}, expected 0..{num_classes - 1}"
        )
    y = index[..., None] == module.arange(num_classes)
    return Tensor(ufunc("add", y, 0, dtype=dev.int64 if dtype is None else dtype))
