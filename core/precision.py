"""Accuracy, time and size of one network with fewer and fewer bits (book, 8.3.4)."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import core
from core import data, nn, optim
from core import device as dev
from core.cli import CommonOptions, resolve_device, run_command
from core.data.dataset import ArrayDataset, Split
from core.io import weights
from core.models import DeepConvNet
from core.nn.low_precision import BinaryLinear, Sign, packed_state, quantise
from core.options import need_positive
from core.tape import no_grad
from core.tensor import Tensor
from core.training.classifier import scaled, to_network
from core.training.run import Run
from core.training.trainer import Trainer

_CALIBRATION = 500
_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Train DeepConvNet and a network of signs, or take `--weights`; then take bits away."""

    data: Literal["mnist", "fashion-mnist", "digits"] = "mnist"
    """Data set; digits are embedded, the others are looked for and downloaded."""

    epochs: int = 5
    """How many times to go through the training set; three times as often for the signs."""

    batch_size: int = 100
    """Samples in one step."""

    hidden: int = 1024
    """Width of the three hidden layers of the network of signs (the paper: 4,096)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        need_positive(self, "epochs", "batch_size", "hidden")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    accuracy: float
    megabytes: float
    """Of all parameters and buffers as they are stored."""

    seconds: float
    """For all test pictures; the fastest of three."""


def binary_network(pixels: int, classes: int, hidden: int = 1024) -> nn.Sequential:
    """Three hidden layers whose weights and activations are signs, batch norm before each sign.

    Courbariaux et al. 2016, section 2.1 (MNIST). Input (N, ...) with `pixels` values a sample, in
    0..1; result: logits (N, classes).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in ((pixels, hidden), (hidden, hidden), (hidden, hidden)):
        layers += [BinaryLinear(inputs, outputs), nn.BatchNorm1d(outputs), Sign()]
    return nn.Sequential(*layers, BinaryLinear(hidden, classes), nn.BatchNorm1d(classes))


def main(options: Options) -> dict[str, Any]:
    """Train, measure every precision on the test set, print the table; returns the summary."""
    core.seed(options.seed)
    train, test = _load(options, "train"), _load(options, "test")
    device = resolve_device(options.device)
    run = Run.create(options.out, "core", "precision", options)
    channels, size = train.images.shape[1:3]
    model = DeepConvNet(channels, size, len(train.classes))
    model.to(device)
    if options.weights is None:
        _fit(model, train, options, options.epochs, 0.001)
    else:
        weights.load_model(model, options.weights)
    pixels = channels * size**2
    signs = binary_network(pixels, len(train.classes), options.hidden).to(device)
    _fit(signs, train, options, 3 * options.epochs, 0.005)
    rows = [*_precisions(model, train, test), _measured("signs", signs, test)]
    print(table(rows))
    return run.finish({"rows": [asdict(row) for row in rows], "samples": len(test)})


def _load(options: Options, split: Split) -> ArrayDataset:
    if options.data == "digits":
        return data.embedded_digits(split)
    load = {"mnist": data.mnist, "fashion-mnist": data.fashion_mnist}[options.data]
    return load(split, options.data_root)


def _fit(model: nn.Module, train: ArrayDataset, options: Options, epochs: int, lr: float) -> None:
    loader = data.DataLoader(
        train, options.batch_size, shuffle=True, seed=options.seed, transform=scaled
    )
    optimizer = optim.Adam(model.parameters(), lr=lr)
    Trainer(
        model=model,
        optimizer=optimizer,
        loader=loader,
        schedule=optim.CosineAnnealingLR(optimizer, epochs * len(loader)),
        schedule_per="step",
        graph=True,
    ).fit(epochs)


def _precisions(model: nn.Module, train: ArrayDataset, test: ArrayDataset) -> list[Row]:
    """The rows of one trained network, from 64 bits to 8."""
    double = copy.deepcopy(model).double()
    half = copy.deepcopy(model).half()
    halved = megabytes(half)
    device = next(model.parameters()).device
    pictures = dev.to_device(to_network(train.images[:_CALIBRATION]), device)
    integers = quantise(copy.deepcopy(model), lambda m: m(Tensor(pictures))).to(device)
    return [
        _measured("float64", double, test, dtype=np.float64),
        _measured("float32", model, test),
        replace(_measured("float16 storage", half.float(), test), megabytes=halved),
        _measured("int8", integers, test),
    ]


def _measured(name: str, model: nn.Module, test: ArrayDataset, *, dtype: type = np.float32) -> Row:
    # A network of integers has no parameters.
    device = next(itertools.chain(model.parameters(), model.buffers())).device
    images = dev.to_device(to_network(test.images).astype(dtype, copy=False), device)
    model.eval()

    def predict() -> NDArray[np.int64]:
        with no_grad():
            parts = [
                model(Tensor(images[i : i + _BATCH])).numpy().argmax(axis=1)
                for i in range(0, len(images), _BATCH)
            ]
        return np.concatenate(parts)

    accuracy = float((predict() == test.labels).mean())
    return Row(name, accuracy, megabytes(model), _fastest(predict))


def megabytes(model: nn.Module) -> float:
    """Millions of bytes of all that is stored of a network, signs as bits."""
    return sum(array.nbytes for array in packed_state(model).values()) / 1e6


def _fastest(run: Callable[[], object], rounds: int = 3) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def table(rows: list[Row]) -> str:
    """The rows in columns, a line each."""
    lines = [f"{'':16}{'accuracy':>10}{'MB':>9}{'seconds':>10}"]
    lines += [f"{r.name:16}{r.accuracy:>10.2%}{r.megabytes:>9.3f}{r.seconds:>10.3f}" for r in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main, Options)
