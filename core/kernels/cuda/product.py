"""Matrix products on the card."""

from __future__ import annotations

import numpy as np

from core.device import Array, array_module
from core.kernels.cuda import blas
from core.kernels.cuda.norm import add_bias
from core.kernels.reference import product as reference


def matmul(a: Array, b: Array) -> Array:
    """See the reference."""
    module = array_module(a)
    if a.ndim == b.ndim == 2:
        out = module.empty((a.shape[0], b.shape[1]), a.dtype)
        matmul_into(a, b, out)
        return out
    if a.ndim < 2 or b.ndim < 2:
        return reference.matmul(a, b)
    front = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = module.empty((*front, a.shape[-2], b.shape[-1]), a.dtype)
    a, b = (_flat(module.broadcast_to(x, (*front, *x.shape[-2:]))) for x in (a, b))
    batched_into(a, b, out.reshape(-1, *out.shape[-2:]))
    return out


def affine(x: Array, weight: Array, bias: Array | None) -> Array:
    """See the reference."""
    y = array_module(x).empty((x.shape[0], weight.shape[0]), x.dtype)
    matmul_into(x, weight.T, y)
    if bias is not None:
        add_bias(y, bias)
    return y


def matmul_into(a: Array, b: Array, out: Array, add: bool = False) -> None:
    """out = a @ b, or with `add` out += a @ b: a (m, k), b (k, n), out (m, n) in C order."""
    if not out.size:
        return
    if not a.shape[1]:
        if not add:
            out[...] = 0
        return
    gemm(_dense(a), _dense(b), out, add)


def batched_into(a: Array, b: Array, out: Array) -> None:
    """out (batch, m, n) = a (batch, m, k) @ b (batch, k, n), in one call."""
    if not out.size:
        return
    if not a.shape[2]:
        out[...] = 0
        return
    if len(out) == 1:
        # cuBLAS splits a long inner axis of a single product only.
        gemm(_dense(a[0]), _dense(b[0]), out[0], False)
    else:
        gemm(_dense(a), _dense(b), out, False, batch=len(out))


def gemm(a: Array, b: Array, out: Array, add: bool, batch: int = 0) -> None:
    """As `blas.gemm`; an alike of CuPy computes it itself."""
    module = array_module(a)
    if module.__name__ == "cupy":
        blas.gemm(a, b, out, add, batch)
    elif add:
        out += module.matmul(a, b, out=module.empty(out.shape, out.dtype))
    else:
        module.matmul(a, b, out=out)


def _dense(x: Array) -> Array:
    """x itself where cuBLAS can read it, else a copy."""
    return x if blas.fits(x) else array_module(x).ascontiguousarray(x)


def _flat(x: Array) -> Array:
    """x (*front, m, n) as (batch, m, n)."""
    return x if x.ndim == 3 else x.reshape(-1, *x.shape[-2:])
