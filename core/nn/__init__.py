"""Modules: layers, containers, losses, initialisers (`torch.nn`'s names and meanings)."""

from core.nn import init, utils
from core.nn.activation import (
    ELU,
    Dropout,
    Flatten,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReflectionPad2d,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    Upsample,
)
from core.nn.container import (
    Concat,
    ModuleDict,
    ModuleList,
    Residual,
    Sequential,
    chain,
    join,
)
from core.nn.conv import Conv1d, Conv2d, Conv3d, ConvTranspose2d
from core.nn.embedding import Embedding
from core.nn.linear import Linear
from core.nn.loss import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HingeLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    MultiMarginLoss,
    NLLLoss,
    SmoothL1Loss,
)
from core.nn.module import IncompatibleKeys, Module, RemovableHandle
from core.nn.norm import (
    BatchNorm1d,
    BatchNorm2d,
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    LocalResponseNorm,
)
from core.nn.pool import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, MaxUnpool2d
from core.nn.recurrent import GRU, LSTM, RNN
from core.tensor import Parameter

__all__ = [
    "init",
    "utils",
    "IncompatibleKeys",
    "Module",
    "Parameter",
    "RemovableHandle",
    "Concat",
    "ModuleDict",
    "ModuleList",
    "Residual",
    "Sequential",
    "chain",
    "join",
    "Linear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose2d",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "MaxPool2d",
    "MaxUnpool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "GroupNorm",
    "InstanceNorm2d",
    "LayerNorm",
    "LocalResponseNorm",
    "Dropout",
    "ELU",
    "Flatten",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "ReflectionPad2d",
    "Upsample",
    "Embedding",
    "GRU",
    "LSTM",
    "RNN",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HingeLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "MultiMarginLoss",
    "NLLLoss",
    "SmoothL1Loss",
]
