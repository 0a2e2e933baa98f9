"""Kernels in CUDA C++ for arrays of CuPy, compiled when they are first used.

Each .cu file has the sources of the module beside it; `launch` compiles and starts them. An
operation that is not here is the reference's: `__getattr__` hands it out.
"""

from __future__ import annotations

from typing import Any

from core.kernels import reference
from core.kernels.cuda.conv import (
    convolve,
    convolve_input_gradient,
    convolve_weight_gradient,
)
from core.kernels.cuda.elementwise import (
    binary_cross_entropy,
    binary_cross_entropy_slope,
    dropout,
    dropout_mask,
    elu,
    elu_backward,
    huber,
    huber_slope,
    leaky_relu,
    leaky_relu_backward,
    relu,
    relu_,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softplus,
    tanh,
    tanh_backward,
)
from core.kernels.cuda.loss import (
    log_softmax,
    log_softmax_backward,
    softmax,
    softmax_backward,
    softmax_loss,
    softmax_loss_backward,
)
from core.kernels.cuda.norm import (
    add_bias,
    batch_moments,
    batch_norm_gradients,
    batch_statistics,
    bias_gradient,
    channel_scale_backward,
    channel_sums,
    given_statistics,
    scale_channels,
)
from core.kernels.cuda.optim import (
    adagrad,
    adam,
    adjust_scale,
    find_overflow,
    rmsprop,
    scale_,
    sgd,
    square_sum,
)
from core.kernels.cuda.pool import (
    avg_pool,
    avg_pool_backward,
    avg_pool_divisor,
    max_pool,
    max_pool_backward,
    max_pool_indices,
    max_pool_positions,
    max_unpool,
    max_unpool_backward,
)
from core.kernels.cuda.product import affine, matmul
from core.kernels.cuda.recurrent import (
    gru,
    gru_backward,
    lstm,
    lstm_backward,
    rnn,
    rnn_backward,
)
from core.kernels.cuda.region import (
    region_align,
    region_align_backward,
    region_max,
    region_max_backward,
)
from core.kernels.cuda.resample import (
    resample,
    resample_backward,
)
from core.kernels.cuda.rows import add_rows
from core.kernels.cuda.standardise import (
    moments,
    response_base,
    response_norm,
    response_norm_backward,
    standardise,
    standardise_backward,
)

__all__ = [
    "adagrad",
    "adam",
    "add_bias",
    "add_rows",
    "adjust_scale",
    "affine",
    "avg_pool",
    "avg_pool_backward",
    "avg_pool_divisor",
    "batch_moments",
    "batch_norm_gradients",
    "batch_statistics",
    "bias_gradient",
    "binary_cross_entropy",
    "binary_cross_entropy_slope",
    "channel_scale_backward",
    "channel_sums",
    "convolve",
    "convolve_input_gradient",
    "convolve_weight_gradient",
    "dropout",
    "dropout_mask",
    "elu",
    "elu_backward",
    "find_overflow",
    "given_statistics",
    "gru",
    "gru_backward",
    "huber",
    "huber_slope",
    "leaky_relu",
    "leaky_relu_backward",
    "log_softmax",
    "log_softmax_backward",
    "lstm",
    "lstm_backward",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "max_pool_indices",
    "max_pool_positions",
    "max_unpool",
    "max_unpool_backward",
    "moments",
    "region_align",
    "region_align_backward",
    "region_max",
    "region_max_backward",
    "relu",
    "relu_",
    "relu_backward",
    "resample",
    "resample_backward",
    "response_base",
    "response_norm",
    "response_norm_backward",
    "rmsprop",
    "rnn",
    "rnn_backward",
    "scale_",
    "scale_channels",
    "sgd",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "softmax_loss",
    "softmax_loss_backward",
    "softplus",
    "square_sum",
    "standardise",
    "standardise_backward",
    "tanh",
    "tanh_backward",
]

SCALED = True  # its optimisers take what `core.amp.GradScaler` gives


def __getattr__(name: str) -> Any:
    return getattr(reference, name)
