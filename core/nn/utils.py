"""What is done to gradients between the backward pass and the optimiser's step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from core import device as dev
from core import kernels
from core.device import Array
from core.tensor import Tensor


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients in place so that the norm of all together is at most `max_norm`.

    Returns the norm before, a 0-d tensor; it is accumulated in float64. Raises RuntimeError for a
    norm that is no finite number when `error_if_nonfinite`. Pascanu et al. 2013, algorithm 1.
    """
    gradients = _gradients(parameters)
    if not gradients:
        return Tensor(np.zeros((), dev.get_default_dtype()))
    module = dev.array_module(*gradients)
    k = kernels.of(*gradients)
    total = _norm(k, module, gradients, norm_type)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(f"clip_grad_norm_: the norm of the gradients is {float(total)}")
    # 1e-6 as in PyTorch; no branch on the norm, which would wait for the GPU.
    k.scale_(gradients, module.minimum(max_norm / (total + 1e-6), 1.0))
    return Tensor(module.asarray(total, gradients[0].dtype))


def _norm(k: Any, module: Any, gradients: list[Array], norm_type: float) -> Array:
    if norm_type == 2:
        return module.sqrt(k.square_sum(gradients))
    if norm_type == math.inf:
        largest = [abs(gradient).max() for gradient in gradients]
        return module.stack(largest).max().astype(dev.float64)
    if norm_type <= 0:
        raise ValueError(f"clip_grad_norm_: norm_type is {norm_type}, expected a positive number")
    # The powers of float16 gradients overflow soon.
    gradients = [g.astype(dev.float32) if g.dtype == dev.float16 else g for g in gradients]
    sums = [(abs(gradient) ** norm_type).sum(dtype=dev.float64) for gradient in gradients]
    return module.stack(sums).sum() ** (1 / norm_type)


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every value of the gradients to [-clip_value, clip_value], in place."""
    for gradient in _gradients(parameters):
        gradient.clip(-clip_value, clip_value, out=gradient)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Array]:
    tensors = (parameters,) if isinstance(parameters, Tensor) else parameters
    return [tensor.grad.data for tensor in tensors if tensor.grad is not None]
