"""exp and its family for float32, accurate to a few units in the last place everywhere.

They are functions of one value without branches: the loop that calls them becomes vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
def _bits(typingctx: Any, value: Any) -> Any:
    """The bits of a float32 as an int32."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
def _two_to(typingctx: Any, exponent: Any) -> Any:
    """2 to the power of a whole number (int32) from -126 to 127, put together from its bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        biased = builder.add(args[0], ir.Constant(kind, 127))
        bits = builder.shl(biased, ir.Constant(kind, 23))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.int32), codegen


# exp(x) = 2^n exp(r), |r| <= log(2) / 2, where the series to r^7 is exact to 1e-8. log(2) in
# two parts: the first has few bits, so that its product with n is exact. Adding and taking off
# 1.5 * 2^23 rounds to a whole number, whose bits are then the lowest of the sum.
_LOG2E = np.float32(1 / math.log(2))
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_ROUND = np.float32(3 << 22)
_ROUND_BITS = np.int32(_ROUND.view(np.int32))
# Beyond these the results are 0 and infinity; NaN passes every comparison and stays.
_LOWEST, _HIGHEST = np.float32(-104), np.float32(89)
_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)

# Nothing may be reordered here: rounding is what these functions are made of.
_MATH: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
}


@njit(**_MATH)
def _split(x):  # type: ignore[no-untyped-def]
    """(n, r) with x = n log(2) + r."""
    shifted = x * _LOG2E + _ROUND
    n = shifted - _ROUND
    return np.int32(_bits(shifted) - _ROUND_BITS), (x - n * _LN2_HIGH) - n * _LN2_LOW  # type: ignore[call-arg]


@njit(**_MATH)
def _series(r):  # type: ignore[no-untyped-def]
    """(exp(r) - 1 - r) / r^2."""
    series = np.float32(1 / 5040)
    series = series * r + np.float32(1 / 720)
    series = series * r + np.float32(1 / 120)
    series = series * r + np.float32(1 / 24)
    series = series * r + np.float32(1 / 6)
    return series * r + _HALF


@njit(**_MATH)
def exp(x):  # type: ignore[no-untyped-def]
    """exp(x), subnormal results included."""
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    n, r = _split(x)
    power = (_series(r) * r + _ONE) * r + _ONE
    # Two factors, for 2^n alone may be too small or too large for a float32.
    half = np.int32(n >> np.int32(1))
    return power * _two_to(half) * _two_to(np.int32(n - half))  # type: ignore[call-arg]


@njit(**_MATH)
def exp_negative(x):  # type: ignore[no-untyped-def]
    """exp(x) for x <= 0, faster: 0 where it would be a subnormal number."""
    tiny = x < np.float32(-87)
    n, r = _split(np.float32(-87) if tiny else x)
    power = (_series(r) * r + _ONE) * r + _ONE
    return np.float32(0) if tiny else power * _two_to(n)  # type: ignore[call-arg]


@njit(**_MATH)
def expm1(x):  # type: ignore[no-untyped-def]
    """exp(x) - 1 for x up to 87, without cancellation near zero."""
    low = x < np.float32(-26)
    n, r = _split(np.float32(-26) if low else x)
    scale: Any = _two_to(n)  # type: ignore[call-arg]
    y = scale * (_series(r) * (r * r) + r) + (scale - _ONE)
    return -_ONE if low else y


@njit(**_MATH)
def tanh(x):  # type: ignore[no-untyped-def]
    """The hyperbolic tangent: (exp(2 x) - 1) / (exp(2 x) + 1), of |x| and with its sign."""
    size = abs(x)
    size = np.float32(10) if size > np.float32(10) else size
    e = expm1(_TWO * size)
    y = e / (e + _TWO)
    return -y if x < np.float32(0) else y


@njit(**_MATH)
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-x)), from exp(-|x|): nothing overflows or cancels."""
    e = exp(-abs(x))
    y = _ONE / (_ONE + e)
    return e * y if x < np.float32(0) else y


@njit(**_MATH)
def _log1p(e):  # type: ignore[no-untyped-def]
    """log(1 + e) for e from 0 to 1, as 2 artanh(e / (2 + e)): s <= 1/3, exact to 1e-8 at s^15."""
    s = e / (e + _TWO)
    z = s * s
    series = np.float32(1 / 15)
    series = series * z + np.float32(1 / 13)
    series = series * z + np.float32(1 / 11)
    series = series * z + np.float32(1 / 9)
    series = series * z + np.float32(1 / 7)
    series = series * z + np.float32(1 / 5)
    series = series * z + np.float32(1 / 3)
    return _TWO * (series * (z * s) + s)


@njit(**_MATH)
def softplus(x):  # type: ignore[no-untyped-def]
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    positive = np.float32(0) if x < np.float32(0) else x
    return positive + _log1p(exp(-abs(x)))


@njit(**_MATH)
def log(x):  # type: ignore[no-untyped-def]
    """log(x) for x from 1 to 2^126: x = 2^n m, m from sqrt(1/2) to sqrt(2), 2 artanh of m."""
    # What the bits are above those of sqrt(1/2) has n in its upper part.
    n = np.int32((_bits(x) - np.int32(0x3F3504F3)) >> np.int32(23))  # type: ignore[call-arg]
    m = x * _two_to(np.int32(-n))
    s = (m - _ONE) / (m + _ONE)
    z = s * s
    series = np.float32(1 / 11)
    series = series * z + np.float32(1 / 9)
    series = series * z + np.float32(1 / 7)
    series = series * z + np.float32(1 / 5)
    series = series * z + np.float32(1 / 3)
    whole, rest = np.float32(n), _TWO * (series * (z * s) + s)
    return whole * _LN2_HIGH + (whole * _LN2_LOW + rest)
