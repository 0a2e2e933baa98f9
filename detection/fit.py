"""Training of an R-CNN, stage by stage (Girshick et al. 2014, section 2.3)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.data.cache import ArrayCache
from core.training.progress import track
from detection.boxes import encode
from detection.crops import warp_crops
from detection.data import DetectionData
from detection.network import RegionNet, describe
from detection.recipe import Recipe
from detection.regions import Regions, content_key, regions_of
from detection.regression import TEACHING_IOU, BoxRegressor, fit_regressor
from detection.svm import SVM, fit_svms

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

# A region of this IoU or more with a class is not its negative (the paper's grid search).
NEGATIVE_IOU = 0.3
# Enough to fit one ridge regression of a few thousand features, and what fits into memory.
MAX_TEACHERS = 12_000


@dataclass(frozen=True)
class Prepared:
    """Decoded pictures of a data set, with their cache keys and their regions."""

    keys: list[str]
    pictures: list[NDArray[np.uint8]]
    regions: list[Regions]


def prepare(data: DetectionData, proposals: Sequence[Floats]) -> Prepared:
    """Decode the pictures and assign their proposals to the truth."""
    keys = [content_key(picture) for picture in data.pictures]
    pictures = [picture.read() for picture in data.pictures]
    regions = [regions_of(t, p) for t, p in zip(data.truth(), proposals, strict=True)]
    return Prepared(keys, pictures, regions)


def fit_heads(
    net: RegionNet,
    prepared: Prepared,
    recipe: Recipe,
    classes: int,
    *,
    cache: ArrayCache | None = None,
    seed: int = 0,
) -> tuple[SVM, BoxRegressor]:
    """Train the SVMs and the regressors on the features of a fine-tuned network.

    `cache` keeps the features of each picture on disk; it must be of this network, recipe and
    data.
    """
    teachers = _teachers(prepared.regions, classes, seed)
    features, pooled = _describe_all(net, prepared, recipe, teachers, cache)
    svm = fit_svms(features, *_svm_rows(prepared.regions, classes), seed=seed)
    labels = np.concatenate([r.labels[t] for r, t in zip(prepared.regions, teachers, strict=True)])
    targets = np.concatenate(
        [
            encode(r.boxes[t], r.truth.boxes[r.nearest[t]])
            for r, t in zip(prepared.regions, teachers, strict=True)
        ]
    )
    rows = [labels == label for label in range(classes)]
    regressor = fit_regressor([pooled[r] for r in rows], [targets[r] for r in rows])
    return svm, regressor


def _svm_rows(regions: Sequence[Regions], classes: int) -> tuple[list[Rows], list[Rows]]:
    """For each class the rows of its true boxes, and those of proposals that hardly touch one."""
    starts = np.cumsum([0, *(len(r.boxes) for r in regions)])[:-1].tolist()
    positives, negatives = [], []
    for label in range(classes):
        true, far = [], []
        for start, r in zip(starts, regions, strict=True):
            true.append(start + np.flatnonzero(r.truth.labels == label))
            proposals = np.arange(r.true_boxes, len(r.boxes))
            far.append(start + proposals[r.overlap_with(label)[proposals] < NEGATIVE_IOU])
        positives.append(np.concatenate(true))
        negatives.append(np.concatenate(far))
    return positives, negatives


def _teachers(regions: Sequence[Regions], classes: int, seed: int) -> list[Rows]:
    """For each picture the proposals that teach the regressors; no class has too many."""
    near = [
        np.flatnonzero((r.overlap >= TEACHING_IOU) & (np.arange(len(r.boxes)) >= r.true_boxes))
        for r in regions
    ]
    counts = np.zeros(classes)
    for r, rows in zip(regions, near, strict=True):
        counts += np.bincount(r.labels[rows], minlength=classes)
    share = np.minimum(1.0, MAX_TEACHERS / np.maximum(counts, 1))
    rng = np.random.default_rng(seed)
    return [
        rows[rng.random(len(rows)) < share[r.labels[rows]]]
        for r, rows in zip(regions, near, strict=True)
    ]


def _describe_all(
    net: RegionNet,
    prepared: Prepared,
    recipe: Recipe,
    teachers: Sequence[Rows],
    cache: ArrayCache | None,
) -> tuple[Floats, Floats]:
    """Features of all regions, and pooled features of the teaching ones, picture after picture."""
    all_features, all_pooled = [], []
    for number in track(range(len(prepared.keys)), "features of training regions"):
        boxes = prepared.regions[number].boxes
        # Annotations may change while the picture stays.
        key = f"{prepared.keys[number]}-{zlib.crc32(boxes.tobytes()):08x}"
        features = None if cache is None else cache.get(f"{key}-features")
        pooled = None if cache is None else cache.get(f"{key}-pooled")
        if not _fits(features, len(boxes)) or not _fits(pooled, len(teachers[number])):
            crops = warp_crops(prepared.pictures[number], boxes, recipe.crop, recipe.context)
            features, pooled = _describe(net, crops, teachers[number])
            if cache is not None:
                cache.put(f"{key}-features", features)
                cache.put(f"{key}-pooled", pooled)
        assert features is not None and pooled is not None
        all_features.append(features)
        all_pooled.append(pooled)
    return np.concatenate(all_features), np.concatenate(all_pooled)


def _fits(stored: NDArray | None, rows: int) -> bool:
    """Whether the cache had the array of as many regions."""
    return stored is not None and stored.ndim == 2 and len(stored) == rows


def _describe(net: RegionNet, crops: NDArray[np.uint8], rows: Rows) -> tuple[Floats, Floats]:
    """Features (n, width) of crops, and pooled features of some rows of them."""
    # One empty array each, for a picture without a region.
    features = [np.zeros((0, net.width), np.float32)]
    pooled, start = [np.zeros((0, net.pooled_size), np.float32)], 0
    for part, described, _ in describe(net, crops):
        features.append(described)
        here = rows[(rows >= start) & (rows < start + len(part))] - start
        pooled.append(part[here])
        start += len(part)
    return np.concatenate(features), np.concatenate(pooled)
