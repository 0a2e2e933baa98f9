"""openbook's core: a deep-learning framework written from scratch, with every gradient on the page."""

from core.device import default_dtype, get_default_dtype, seed
from core.tape import is_grad_enabled, no_grad
from core.tensor import Parameter, Tensor, grad, tensor

__version__ = "0.1.0"

__all__ = [
    "Parameter",
    "Tensor",
    "default_dtype",
    "get_default_dtype",
    "grad",
    "is_grad_enabled",
    "no_grad",
    "seed",
    "tensor",
]
