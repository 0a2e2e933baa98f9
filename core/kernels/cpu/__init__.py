"""Kernels in Numba with explicit vectors, for float32 arrays of NumPy.

An operation that is not here is the reference's: `__getattr__` hands it out.
"""

from __future__ import annotations

from typing import Any

from core.kernels import reference
from core.kernels.cpu.conv import convolve, convolve_input_gradient, convolve_weight_gradient
from core.kernels.cpu.elementwise import (
    dropout,
    dropout_mask,
    elu,
    elu_backward,
    leaky_relu,
    leaky_relu_backward,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softplus,
    tanh,
    tanh_backward,
)
from core.kernels.cpu.loss import (
    softmax_loss,
    softmax_loss_backward,
)
from core.kernels.cpu.norm import (
    batch_moments,
    batch_norm_backward,
    batch_norm_gradients,
    batch_norm_sums,
    batch_statistics,
    bias_gradient,
    channel_scale_backward,
    channel_sums,
    scale_channels,
)
from core.kernels.cpu.optim import adagrad, adam, rmsprop, scale_, sgd, square_sum
from core.kernels.cpu.pool import (
    avg_pool,
    avg_pool_backward,
    max_pool,
    max_pool_backward,
    max_pool_indices,
    max_pool_positions,
)
from core.kernels.cpu.product import add_rows, affine, matmul
from core.kernels.cpu.recurrent import (
    gru,
    gru_backward,
    lstm,
    lstm_backward,
    rnn,
    rnn_backward,
)
from core.kernels.cpu.start import start
from core.kernels.cpu.unpool import max_unpool, max_unpool_backward

__all__ = [
    "adagrad",
    "adam",
    "add_rows",
    "affine",
    "avg_pool",
    "avg_pool_backward",
    "batch_moments",
    "batch_norm_backward",
    "batch_norm_gradients",
    "batch_norm_sums",
    "batch_statistics",
    "bias_gradient",
    "channel_scale_backward",
    "channel_sums",
    "convolve",
    "convolve_input_gradient",
    "convolve_weight_gradient",
    "dropout",
    "dropout_mask",
    "elu",
    "elu_backward",
    "gru",
    "gru_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "lstm",
    "lstm_backward",
    "matmul",
    "max_pool",
    "max_pool_backward",
    "max_pool_indices",
    "max_pool_positions",
    "max_unpool",
    "max_unpool_backward",
    "relu_backward",
    "rmsprop",
    "rnn",
    "rnn_backward",
    "scale_",
    "scale_channels",
    "sgd",
    "sigmoid",
    "sigmoid_backward",
    "softmax_loss",
    "softmax_loss_backward",
    "softplus",
    "square_sum",
    "start",
    "tanh",
    "tanh_backward",
]


def __getattr__(name: str) -> Any:
    return getattr(reference, name)
