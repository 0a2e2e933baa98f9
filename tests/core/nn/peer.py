"""What the comparisons of modules with PyTorch's share."""

from __future__ import annotations

from typing import Any

import numpy as np

from core import nn
from core.tensor import Tensor

TOLERANCE = 1e-9


def values(*shape: int, seed: int = 0) -> np.ndarray:
    """Normal float64 values."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


def close(ours: Any, theirs: Any, name: str = "") -> None:
    """Equal shapes and, within `TOLERANCE`, values."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, name
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


def outputs_of(result: Any) -> list[Any]:
    """The tensors of a result that may be nested tuples."""
    if isinstance(result, tuple):
        return [tensor for part in result for tensor in outputs_of(part)]
    return [result]


def agree(ours: nn.Module, theirs: Any, *inputs: np.ndarray, **keywords: Any) -> None:
    """PyTorch's weights in ours; then results, gradients, buffers and the printed form agree.

    `ours` is a float64 module; floating inputs get gradients.
    """
    import torch

    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    own = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    peers = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    results, expected = outputs_of(ours(*own, **keywords)), outputs_of(theirs(*peers, **keywords))
    total: Any = 0.0
    total_peer: Any = 0.0
    for i, (y, t) in enumerate(zip(results, expected, strict=True)):
        close(y, t.detach(), f"output {i}")
        if t.requires_grad:
            factor = values(*t.shape, seed=i + 1)
            total, total_peer = (
                total + (y * factor).sum(),
                total_peer + (t * torch.tensor(factor)).sum(),
            )
    if not isinstance(total, float):
        total.backward()
        total_peer.backward()
    _same_gradients(ours, theirs, own, peers)


def _same_gradients(ours: nn.Module, theirs: Any, own: list[Tensor], peers: list[Any]) -> None:
    for x, t in zip(own, peers, strict=True):
        assert (x.grad is None) == (t.grad is None)
        if x.grad is not None:
            close(x.grad, t.grad, "input gradient")
    for (name, p), (peer_name, t) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == peer_name
        assert p.grad is not None, name
        close(p.grad, t.grad, name)
    for (name, b), (peer_name, t) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        assert name == peer_name
        close(b, t, name)
