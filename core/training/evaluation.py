"""How good trained classifiers are: their probabilities, errors, confusions and worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core import device as dev
from core import functional as F
from core.data.images import Picture
from core.models import Pretrained, load_pretrained, pretrained, pretrained_names
from core.tape import no_grad
from core.tensor import Tensor

# Of inputs in one forward pass: the first layers of VGG hold 500 bytes for each.
_PIXELS_AT_ONCE = 800_000


def load_networks(
    names: Sequence[str], *, architecture: str | None, data_root: Path | None, device: str
) -> list[Pretrained]:
    """The networks of an ensemble: each a name that `pretrained` knows, or a file.

    Raises ValueError when there is none, or they do not all know the same classes, and what
    `pretrained` and `load_pretrained` raise.
    """
    if not names:
        raise ValueError("--weights: name at least one network or file")
    networks = []
    for name in names:
        if name in pretrained_names():
            network = pretrained(name, data_root=data_root)
        elif Path(name).is_file():
            network = load_pretrained(name, architecture=architecture, data_root=data_root)
        else:
            known = ", ".join(pretrained_names())
            raise FileNotFoundError(f"--weights {name}: no such file, and none of {known}")
        network.model.to(device)
        networks.append(network)
    for network in networks[1:]:
        if network.classes != networks[0].classes:
            raise ValueError(
                f"{network.name} and {networks[0].name} do not know the same classes in the same "
                "order, and cannot be averaged"
            )
    return networks


def probabilities(
    network: Pretrained, pictures: Sequence[Picture], *, flip: bool = False, crops: int = 1
) -> NDArray[np.float32]:
    """The probabilities (N, C) of each class for N raw pictures, the mean over their views.

    `flip` and `crops` are those of `Preprocessing.views`: test-time augmentation. Raises ValueError
    for a picture that cannot be brought into the network's form.
    """
    squares = np.stack([network.transform.views(p, flip=flip, crops=crops) for p in pictures])
    count, views, *shape = squares.shape
    squares = squares.reshape(count * views, *shape)
    step = max(1, _PIXELS_AT_ONCE // network.transform.size**2)
    device = next(network.model.parameters()).device
    parts = []
    with no_grad():
        for start in range(0, len(squares), step):
            inputs = network.transform.normalise(squares[start : start + step])
            logits = network.model(Tensor(dev.to_device(inputs, device)))
            parts.append(F.softmax(logits, 1).numpy())
    return np.concatenate(parts).reshape(count, views, -1).mean(axis=1)


@dataclass(frozen=True, eq=False)
class Judged:
    """What a classifier said of N pictures: probabilities (N, C), and the true labels (N,)."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The likeliest class (N,); any one where the probabilities are no numbers."""
        return self.probabilities.argmax(axis=1)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Whether the probabilities of each picture are numbers (N,)."""
        return np.logical_and.reduce(np.isfinite(self.probabilities), axis=1)

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the likeliest class is not the true one (N,); so too where there is none."""
        return ~self.answered | (self.predicted != self.labels)

    def error(self, k: int = 1) -> float:
        """The top-k error: the share of pictures whose class is not among the k likeliest.

        Of classes that are equally likely, the true one counts as the last. A picture whose
        probabilities are no numbers counts as wrong for every k.
        """
        own = np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)
        found = (self.probabilities >= own).sum(axis=1) <= k
        return float((~(found & self.answered)).mean())

    def figures(self) -> dict[str, Any]:
        """Errors, accuracy, and the mean negative log-likelihood (`loss`)."""
        own = np.take_along_axis(self.probabilities, self.labels[:, None], axis=1)
        top5 = {"top5_error": self.error(5)} if self.probabilities.shape[1] > 5 else {}
        return {
            "top1_error": self.error(),
            **top5,
            "accuracy": 1 - self.error(),
            "loss": float(-np.log(np.maximum(own, 1e-30)).mean()),
            "samples": len(self.labels),
        }

    def confusion(self) -> NDArray[np.int64]:
        """Counts (C, C) of true classes (rows) by predicted ones (columns), where there are any."""
        size, some = self.probabilities.shape[1], self.answered
        matrix = np.zeros((size, size), np.int64)
        np.add.at(matrix, (self.labels[some], self.predicted[some]), 1)
        return matrix

    def worst(self, count: int) -> NDArray[np.intp]:
        """The wrong pictures, those first of whose wrong class the classifier was surest."""
        wrong = np.flatnonzero(self.wrong)
        sure = self.probabilities.max(axis=1)[wrong]
        return wrong[np.argsort(-sure, kind="stable")][:count]


def most_confused(
    matrix: NDArray[np.int64], classes: Sequence[str], limit: int
) -> tuple[NDArray[np.int64], list[str]]:
    """A confusion matrix that can be drawn: of many classes, those with the most mistakes.

    The `limit` classes that were most often missed or wrongly said stay, in their order; all others
    are one, "other".
    """
    if len(classes) <= limit:
        return matrix, list(classes)
    mistakes = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    kept = np.sort(np.argsort(-mistakes, kind="stable")[:limit])
    group = np.full(len(classes), limit)
    group[kept] = np.arange(limit)
    small = np.zeros((limit + 1, limit + 1), np.int64)
    np.add.at(small, (group[:, None], group[None, :]), matrix)
    return small, [*(classes[number] for number in kept), "other"]
