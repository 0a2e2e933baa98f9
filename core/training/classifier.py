"""What training a classifier of pictures takes besides the loop: its input and its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import device as dev
from core import functional as F
from core import nn, viz
from core.data import augment
from core.data.dataset import ArrayDataset
from core.data.rng import Draws
from core.tape import no_grad
from core.tensor import Tensor
from core.training.run import METRICS, Run, read_metrics
from core.training.trainer import Figures

_MISTAKES = 20


def to_network(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures as the networks take them: float32 in 0..1 (book, 3.6)."""
    return images.astype(np.float32) / np.float32(255)


def scaled(batch: tuple[NDArray[np.uint8], NDArray[np.int64]], draws: Draws) -> tuple[Any, Any]:
    """The loader's transform for (images, labels) without augmentation."""
    images, labels = batch
    return to_network(images), labels


class Augmented:
    """The loader's transform for (images, labels) that changes pictures first, with probability p.

    The others stay as those are that the network is tested on: a warped picture is a little
    smoother, and batch normalisation would learn the statistics of such pictures alone.
    """

    def __init__(self, transforms: Sequence[augment.Transform], p: float = 1.0) -> None:
        self._change = augment.Compose(transforms)
        self.p = p

    def __call__(
        self, batch: tuple[NDArray[np.uint8], NDArray[np.int64]], draws: Draws
    ) -> tuple[Any, Any]:
        images, labels = batch
        changed = self._change(augment.Batch(images), draws).images
        if self.p < 1:
            chosen = draws(1)[:, 0] < self.p
            changed = np.where(chosen[:, None, None, None], changed, images)
        return to_network(changed), labels


# Digits turned, shifted and scaled a little.
AFFINE = augment.RandomAffine(10, 0.07, (0.85, 1.15), interpolation="bilinear")
augmented = Augmented([AFFINE])


def predict(
    model: nn.Module, images: NDArray[np.uint8], batch_size: int = 200
) -> NDArray[np.float32]:
    """The probabilities (N, C) that the model gives to pictures (N, C, H, W)."""
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    parts = []
    with no_grad():
        for start in range(0, len(images), batch_size):
            inputs = dev.to_device(to_network(images[start : start + batch_size]), device)
            parts.append(F.softmax(model(Tensor(inputs)), 1).numpy())
    model.train(was_training)
    return np.concatenate(parts)


def first_filters(model: nn.Module) -> NDArray[np.float32] | None:
    """A copy of the first convolution's weights; None in a model without one."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.weight.numpy().copy()
    return None


def report(
    run: Run,
    model: nn.Module,
    test: ArrayDataset,
    *,
    title: str,
    filters_before: NDArray[np.float32] | None,
) -> Figures:
    """Score the model on `test` and draw the run: curves, filters, confusion, mistakes."""
    probabilities = predict(model, test.images)
    predicted = probabilities.argmax(axis=1)
    right = int((predicted == test.labels).sum())
    viz.save(viz.curves(read_metrics(run.path(METRICS)), title=title), run.picture("curves.png"))
    filters = first_filters(model)
    if filters is not None and filters_before is not None:
        pair = {"before training": filters_before, "after training": filters}
        figure = viz.filters(pair, title="filters of the first layer")
        viz.save(figure, run.picture("filters.png"))
    size = len(test.classes)
    matrix = np.zeros((size, size), int)
    np.add.at(matrix, (test.labels, predicted), 1)
    figure = viz.confusion_matrix(matrix, test.classes, title=f"{title}: test set")
    viz.save(figure, run.picture("confusion.png"))
    _draw_mistakes(run, test, probabilities)
    return {"accuracy": right / len(test), "right": right, "samples": len(test)}


def _draw_mistakes(run: Run, test: ArrayDataset, probabilities: NDArray[np.float32]) -> None:
    """The test pictures that the model got wrong, the surest ones first."""
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != test.labels)
    if not wrong.size:
        return
    shown = wrong[np.argsort(-sure[wrong], kind="stable")][:_MISTAKES]
    names = test.classes
    figure = viz.mistakes(
        [test.images[i].transpose(1, 2, 0) for i in shown],
        [names[test.labels[i]] for i in shown],
        [names[predicted[i]] for i in shown],
        sure[shown],
        title=f"{len(wrong)} of {len(test)} wrong",
    )
    viz.save(figure, run.picture("mistakes.png"))
