"""The whole R-CNN: crops, network, SVMs, regressors and suppression, with its weights file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import core
from core.io import weights as weights_io
from detection.boxes import batched_nms, clip_boxes_to_image, decode, is_valid
from detection.crops import warp_crops
from detection.metrics import Predictions
from detection.network import RegionNet, describe, pooled_size
from detection.proposals import SearchOptions, selective_search
from detection.recipe import Recipe
from detection.regression import BoxRegressor
from detection.svm import SVM

Head = Literal["svm", "softmax"]
Floats = NDArray[np.float32]

# Probabilities below this are noise that suppression would have to sort.
_LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True)
class Looked:
    """What a detector says of the n proposals of a picture, before it decides.

    `size` (height, width) of the picture, `boxes` (n, 4), the SVMs' `scores` and the softmax's
    `probabilities` (n, classes), and for each class how to move a box, `deltas` (n, classes, 4).
    """

    size: tuple[int, int]
    boxes: Floats
    scores: Floats
    probabilities: Floats
    deltas: Floats


class Detector:
    """An R-CNN that finds objects of `classes` in pictures (Girshick et al. 2014)."""

    def __init__(
        self,
        classes: Sequence[str],
        net: RegionNet,
        svm: SVM,
        regressor: BoxRegressor,
        recipe: Recipe,
        *,
        thresholds: Sequence[float] | None = None,
        data: str = "",
    ) -> None:
        """`thresholds`: the score from which each class counts as found; `data`: learned from."""
        self.classes = tuple(classes)
        self.net, self.svm, self.regressor, self.recipe = net, svm, regressor, recipe
        self.thresholds = [0.0] * len(classes) if thresholds is None else list(thresholds)
        self.data = data

    def propose(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Candidate boxes (n, 4) of a picture uint8 (H, W, 3), by selective search."""
        return selective_search(picture, **asdict(self.recipe.proposals))

    def detect(
        self,
        picture: NDArray[np.uint8],
        proposals: NDArray[np.float32] | None = None,
        *,
        head: Head = "svm",
        regress: bool = True,
        min_score: float = -1.0,
    ) -> Predictions:
        """Find objects in a picture uint8 (H, W, 3): boxes, scores and labels, best first.

        The arguments beside the picture are those of `look` and `decide`.
        """
        looked = self.look(picture, proposals)
        return self.decide(looked, head=head, regress=regress, min_score=min_score)

    def look(
        self, picture: NDArray[np.uint8], proposals: NDArray[np.float32] | None = None
    ) -> Looked:
        """What the network says of each proposal (by default those of `propose`).

        Raises ValueError when that is no numbers: none would pass for an object.
        """
        boxes = self.propose(picture) if proposals is None else proposals
        crops = warp_crops(picture, boxes, self.recipe.crop, self.recipe.context)
        scores, probabilities, moves = [], [], []
        for pooled, features, logits in describe(self.net, crops):
            scores.append(self.svm.scores(features))
            probabilities.append(_softmax(logits)[:, :-1])
            moves.append(self.regressor.deltas(pooled))
            if not all(np.isfinite(last[-1]).all() for last in (scores, probabilities, moves)):
                raise ValueError("the detector gives values that are no numbers")
        return Looked(
            (picture.shape[0], picture.shape[1]),
            boxes,
            _joined(scores, (len(self.classes),)),
            _joined(probabilities, (len(self.classes),)),
            _joined(moves, (len(self.classes), 4)),
        )

    def decide(
        self,
        looked: Looked,
        *,
        head: Head = "svm",
        regress: bool = True,
        min_score: float = -1.0,
    ) -> Predictions:
        """The boxes that remain after suppression, best first.

        `head` chooses the score: the SVM's signed distance or the softmax's probability.
        `regress` moves the boxes. `min_score` drops what the head scores lower (-1 is the
        SVM's margin; probabilities are all above it).
        """
        scores = looked.scores if head == "svm" else looked.probabilities
        least = max(min_score, _LEAST_PROBABILITY) if head == "softmax" else min_score
        rows, labels = np.nonzero(scores > least)
        found, values = looked.boxes[rows], scores[rows, labels]
        if regress:
            found = decode(found, looked.deltas[rows, labels])
        found = clip_boxes_to_image(found, looked.size)
        valid = is_valid(found)
        found, values, labels = found[valid], values[valid], labels[valid]
        kept = batched_nms(found, values, labels, self.recipe.nms_iou)
        kept = kept[: self.recipe.max_detections]
        return Predictions(found[kept], values[kept], labels[kept])

    def confident(self, found: Predictions) -> Predictions:
        """The predictions that reach their class's threshold: what one would draw."""
        keep = found.scores >= np.asarray(self.thresholds)[found.labels]
        return Predictions(found.boxes[keep], found.scores[keep], found.labels[keep])

    # ------------------------------------------------------------------ file

    def save(
        self, path: str | Path, metadata: dict[str, str] | None = None, *, half: bool = False
    ) -> None:
        """Write network, SVMs and regressors to one safetensors file (`half`: as float16).

        Raises ValueError for a value that float16 cannot hold.
        """
        arrays = {f"net.{name}": array for name, array in self.net.state_dict().items()}
        arrays |= {"svm.weight": self.svm.weight, "svm.bias": self.svm.bias}
        arrays |= {"box.weight": self.regressor.weight, "box.bias": self.regressor.bias}
        if half:
            arrays = {name: _halved(name, a) for name, a in arrays.items()}
        described = {
            "architecture": "rcnn",
            "classes": json.dumps(self.classes),
            "data": self.data,
            "recipe": json.dumps(asdict(self.recipe)),
            "thresholds": json.dumps(self.thresholds),
            "openbook": core.__version__,
        }
        weights_io.save(path, arrays, {**described, **(metadata or {})})

    @classmethod
    def load(cls, path: str | Path) -> Detector:
        """Read what `save` wrote. Raises ValueError naming the file when it is anything else."""
        arrays, metadata = weights_io.load(path)
        if metadata.get("architecture") != "rcnn":
            found = metadata.get("architecture", "unknown")
            raise ValueError(
                f"{path}: architecture is {found!r}, expected 'rcnn' "
                "(a training writes it as detector.safetensors)"
            )
        try:
            classes = _names(json.loads(metadata["classes"]))
            recipe = _recipe(json.loads(metadata["recipe"]))
            thresholds = [float(v) for v in json.loads(metadata["thresholds"])]
            parts = {name: arrays.pop(name).astype(np.float32) for name in _PARTS}
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: no complete R-CNN: {_line(error)}") from None
        if len(thresholds) != len(classes):
            raise ValueError(f"{path}: {len(thresholds)} thresholds for {len(classes)} classes")
        pooled = pooled_size(recipe.crop)
        shapes = {"svm.weight": (recipe.width, len(classes)), "svm.bias": (len(classes),)}
        shapes |= {"box.weight": (len(classes), pooled, 4), "box.bias": (len(classes), 4)}
        for name, shape in shapes.items():
            if parts[name].shape != shape:
                raise ValueError(f"{path}: {name} has shape {parts[name].shape}, expected {shape}")
        # Only now: its size is that of arrays which the file really holds.
        net = RegionNet(len(classes), recipe.crop, recipe.width)
        try:
            net.load_state_dict({name.removeprefix("net."): a for name, a in arrays.items()})
        except RuntimeError as error:
            raise ValueError(f"{path}: {_line(error)}") from None
        svm = SVM(parts["svm.weight"], parts["svm.bias"])
        regressor = BoxRegressor(parts["box.weight"], parts["box.bias"])
        data = metadata.get("data", "")
        return cls(classes, net, svm, regressor, recipe, thresholds=thresholds, data=data)


_PARTS = ("svm.weight", "svm.bias", "box.weight", "box.bias")


def _names(value: object) -> list[str]:
    """The class names of a header. Raises ValueError when they are no such list."""
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise ValueError("its classes are no list of names")
    return value


def _recipe(fields: dict) -> Recipe:
    """The recipe of a header. Raises TypeError or ValueError when it cannot be one."""
    return Recipe(**{**fields, "proposals": SearchOptions(**fields["proposals"])})


def _halved(name: str, array: NDArray) -> NDArray:
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        raise ValueError(f"{name} does not fit float16: it holds {np.abs(array).max():.3g}")
    return half


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _joined(parts: list[Floats], shape: tuple[int, ...]) -> Floats:
    return np.concatenate(parts) if parts else np.zeros((0, *shape), np.float32)
