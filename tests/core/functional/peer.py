"""What the comparisons with PyTorch share: one call on both sides, values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from core.kernels import layout
from core.tensor import Tensor

TOLERANCE = 1e-9


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal float64 values."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def channels_last(x: np.ndarray) -> np.ndarray:
    """`x` (N, C, *S) with the same values in channels-last memory."""
    return layout.channels_first(layout.to_channels_last(x))


def close(ours: Any, theirs: Any) -> None:
    """Equal shapes, and values within `TOLERANCE` of the largest."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def agree(
    ours: Callable[..., Tensor], theirs: Callable[..., Any], *arrays: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Value and gradients of both for `arrays`; each input of four axes channels-last as well.

    Returns our value and our gradients.
    """
    import torch

    peers = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*peers)
    gy = values(*expected.shape, seed=1)
    expected.backward(torch.from_numpy(gy))
    for layout_of in (np.ascontiguousarray, _last_where_possible):
        tensors = [Tensor(layout_of(a), requires_grad=True) for a in arrays]
        result = ours(*tensors)
        close(result.numpy(), expected.detach())
        result.backward(layout_of(gy))
        for tensor, peer in zip(tensors, peers, strict=True):
            assert tensor.grad is not None
            close(tensor.grad.numpy(), peer.grad)
        if any(a.ndim == 4 and layout.is_channels_last(layout_of(a)) for a in arrays):
            assert result.ndim != 4 or _keeps_layout(result.data)
    return result.numpy(), [t.grad.numpy() for t in tensors if t.grad is not None]


def _last_where_possible(a: np.ndarray) -> np.ndarray:
    return channels_last(a) if a.ndim == 4 else a


def _keeps_layout(y: np.ndarray) -> bool:
    return bool(layout.channels_last(y).flags.c_contiguous)
