"""How the book's networks start (book, 6.2)."""

from __future__ import annotations

from core import nn


def he_normal(model: nn.Module) -> None:
    """Draw all weights as He et al. 2015 for ReLU (book, 6.2.3); biases become zero."""
    for layer in _affine_layers(model):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def xavier_normal(model: nn.Module) -> None:
    """Draw all weights as Glorot and Bengio 2010 (book, 6.2.2); biases become zero."""
    for layer in _affine_layers(model):
        nn.init.xavier_normal_(layer.weight)


def normal(model: nn.Module, std: float) -> None:
    """Draw all weights with the standard deviation `std` (book, 6.2.1); biases become zero."""
    for layer in _affine_layers(model):
        nn.init.normal_(layer.weight, std=std)


def _affine_layers(model: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layers
