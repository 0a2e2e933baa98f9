"""The experiments of the book's sixth chapter: optimisers, first weights, regularisation.

All networks here are fully connected, take pixels in 0..1 as rows (N, D), and draw from the core's
generator: `core.seed` before an experiment makes it repeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import device as dev
from core import functional as F
from core import nn, optim
from core.data.dataset import ArrayDataset
from core.models import MLP
from core.tape import no_grad
from core.tensor import Parameter, Tensor

_BATCH = 100
# The book's learning rates, for its valley (6.1.7) and for digits (6.1.8).
_VALLEY: Mapping[str, Callable[[list[Parameter]], optim.Optimizer]] = MappingProxyType(
    {
        "SGD": lambda p: optim.SGD(p, lr=0.95),
        "Momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        "AdaGrad": lambda p: optim.Adagrad(p, lr=1.5),
        "Adam": lambda p: optim.Adam(p, lr=0.3),
    }
)
_DIGITS: Mapping[str, Callable[[Iterable[Parameter]], optim.Optimizer]] = MappingProxyType(
    {
        "SGD": lambda p: optim.SGD(p, lr=0.01),
        "Momentum": lambda p: optim.SGD(p, lr=0.01, momentum=0.9),
        "AdaGrad": lambda p: optim.Adagrad(p, lr=0.01),
        "Adam": lambda p: optim.Adam(p, lr=0.001),
    }
)
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
)


def valley(x: Any, y: Any) -> Any:
    """x^2 / 20 + y^2: flat along x, steep along y (book, 6.1.3, equation 6.2)."""
    return x * x / 20 + y * y


def optimizer_paths(steps: int = 30) -> dict[str, NDArray[np.float64]]:
    """The points (steps + 1, 2) that each optimiser visits in `valley`, from (-7, 2) on.

    Book, 6.1.3 to 6.1.7, figures 6-3 to 6-8, with its learning rates.
    """
    paths = {}
    for name, make in _VALLEY.items():
        x, y = Parameter(np.float64(-7)), Parameter(np.float64(2))
        optimizer, points = make([x, y]), [(-7.0, 2.0)]
        for _ in range(steps):
            optimizer.zero_grad()
            valley(x, y).backward()
            optimizer.step()
            points.append((x.item(), y.item()))
        paths[name] = np.array(points)
    return paths


@dataclass
class Course:
    """How one training went: the loss of each step, the accuracies of each epoch (0..1)."""

    losses: list[float] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)


def fit(
    model: nn.Module,
    optimizer: optim.Optimizer,
    train: ArrayDataset,
    *,
    epochs: int,
    test: ArrayDataset | None = None,
) -> Course:
    """Train with the cross entropy in batches of 100; with `test`, score both sets each epoch."""
    course = Course()
    x, labels = _rows(train), train.labels
    for _ in range(epochs):
        order = dev.random.host.permutation(len(x))
        for chosen in np.array_split(order, max(1, len(x) // _BATCH)):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(Tensor(x[chosen])), labels[chosen])
            loss.backward()
            optimizer.step()
            course.losses.append(loss.item())
        if test is not None:
            course.train.append(_accuracy(model, x, labels))
            course.test.append(_accuracy(model, _rows(test), test.labels))
    return course


def optimizer_losses(train: ArrayDataset, epochs: int = 3) -> dict[str, list[float]]:
    """The loss of each step for each optimiser: five layers of 100 with ReLU (figure 6-9)."""
    return {
        name: fit(model, make(model.parameters()), train, epochs=epochs).losses
        for name, make in _DIGITS.items()
        for model in [network(train, 4)]
    }


def activation_histograms(
    samples: int = 1000, width: int = 100, depth: int = 5
) -> dict[str, list[NDArray[np.float32]]]:
    """The activations of every layer for first weights drawn in four ways.

    Normal inputs through `depth` layers: sigmoid with weights of standard deviation 1 and 0.01
    and with Glorot and Bengio's, ReLU with theirs and with He et al.'s (book, 6.2.2 and 6.2.3,
    figures 6-10 to 6-14).
    """
    settings: dict[str, tuple[str, float]] = {
        "sigmoid, std 1": ("sigmoid", 1.0),
        "sigmoid, std 0.01": ("sigmoid", 0.01),
        "sigmoid, Xavier": ("sigmoid", width**-0.5),
        "ReLU, Xavier": ("relu", width**-0.5),
        "ReLU, He": ("relu", (2 / width) ** 0.5),
    }
    x = dev.random.host.standard_normal((samples, width), np.float32)
    return {
        name: list(_activations(x, _ACTIVATIONS[activation](), std, depth))
        for name, (activation, std) in settings.items()
    }


def _activations(
    x: NDArray[np.float32], activation: nn.Module, std: float, depth: int
) -> Iterator[NDArray[np.float32]]:
    width = x.shape[1]
    for _ in range(depth):
        weight = dev.random.host.standard_normal((width, width), np.float32) * np.float32(std)
        with no_grad():
            x = activation(Tensor(x) @ Tensor(weight)).numpy()
        yield x


def batch_norm_effect(
    train: ArrayDataset, epochs: int = 10, scales: Iterable[float] | None = None
) -> dict[str, tuple[list[float], list[float]]]:
    """Training accuracy by epoch (with, without batch norm) for first weights of many scales.

    Five layers of 100 with ReLU, SGD with 0.01, 1,000 samples (book, 6.3.2, figure 6-19).
    """
    part = _first(train, 1000)
    courses = {}
    for scale in np.logspace(0, -4, 9) if scales is None else scales:
        # Without batch norm, weights of standard deviation 1 run over: that is what is shown.
        with np.errstate(over="ignore", invalid="ignore"):
            pair = [_norm_course(part, float(scale), norm, epochs) for norm in (True, False)]
        courses[f"std {scale:.2g}"] = (pair[0], pair[1])
    return courses


def _norm_course(train: ArrayDataset, std: float, norm: bool, epochs: int) -> list[float]:
    model = network(train, 5, weight_std=std, batch_norm=norm)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    return fit(model, optimizer, train, epochs=epochs, test=train).train


def overfitting(
    train: ArrayDataset, test: ArrayDataset, epochs: int = 200, samples: int = 300
) -> dict[str, Course]:
    """Six layers of 100 that learn 300 samples by heart; with weight decay; with dropout.

    SGD with 0.01 (book, 6.4, figures 6-20 to 6-23: weight decay 0.1, dropout 0.2). The decay of
    the optimiser is the gradient of the book's penalty lambda / 2 * |W|^2.
    """
    part = _first(train, samples)
    settings: dict[str, dict[str, float]] = {
        "nothing": {},
        "weight decay 0.1": {"decay": 0.1},
        "dropout 0.2": {"dropout": 0.2},
    }
    courses = {}
    for name, setting in settings.items():
        model = network(train, 6, dropout=setting.get("dropout", 0.0))
        weights = [p for p in model.parameters() if p.ndim > 1]
        biases = [p for p in model.parameters() if p.ndim == 1]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": setting.get("decay", 0.0)},
            {"params": biases},
        ]
        courses[name] = fit(model, optim.SGD(groups, lr=0.01), part, epochs=epochs, test=test)
    return courses


def network(like: ArrayDataset, hidden: int, **settings: Any) -> MLP:
    """`hidden` layers of 100 with ReLU for the pictures and classes of `like`; see `MLP`."""
    pixels = math.prod(like.images.shape[1:])
    return MLP(pixels, (100,) * hidden, len(like.classes), activation="relu", **settings)


def _first(data: ArrayDataset, count: int) -> ArrayDataset:
    return data.subset(np.arange(min(count, len(data))))


def _rows(data: ArrayDataset) -> NDArray[np.float32]:
    return (data.images.reshape(len(data), -1) / np.float32(255)).astype(np.float32)


def _accuracy(model: nn.Module, x: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    model.eval()
    with no_grad():
        right = model(Tensor(x)).numpy().argmax(axis=1) == labels
    model.train()
    return float(right.mean())
