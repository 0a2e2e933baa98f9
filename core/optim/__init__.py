"""Optimisers and learning-rate schedules (`torch.optim`'s names and meanings)."""

from core.optim.adaptive import Adagrad, Adam, AdamW, RMSprop
from core.optim.optimizer import Optimizer
from core.optim.schedule import (
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    SequentialLR,
    StepLR,
)
from core.optim.sgd import SGD

__all__ = [
    "Optimizer",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "RMSprop",
    "LRScheduler",
    "CosineAnnealingLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "SequentialLR",
    "StepLR",
]
