"""openbook's core: deep learning written from scratch, with every gradient on the page."""

from typing import TYPE_CHECKING, Any

from core.device import default_dtype, get_default_dtype, seed, set_float32_matmul_precision
from core.gradient_check import gradient_check, numerical_gradient
from core.kernels.threads import get_num_threads, set_num_threads
from core.recompute import checkpoint
from core.replay import graphed
from core.tape import enable_grad, is_grad_enabled, no_grad
from core.tensor import Parameter, Tensor, grad, tensor

if TYPE_CHECKING:
    from core.inspect import profile, summary

__version__ = "0.1.0"

__all__ = [
    "Parameter",
    "Tensor",
    "checkpoint",
    "default_dtype",
    "enable_grad",
    "get_default_dtype",
    "get_num_threads",
    "grad",
    "gradient_check",
    "graphed",
    "is_grad_enabled",
    "no_grad",
    "numerical_gradient",
    "profile",
    "seed",
    "set_float32_matmul_precision",
    "set_num_threads",
    "summary",
    "tensor",
]


def __getattr__(name: str) -> Any:
    # Layers and their inspection are loaded by the first who looks at a network.
    if name in ("profile", "summary"):
        from core import inspect

        return getattr(inspect, name)
    raise AttributeError(f"module 'core' has no attribute {name!r}")
