"""Boxes: the convention, their overlap, the R-CNN regression targets, and suppression.

A box is four numbers ``x1, y1, x2, y2`` in pixels; a set of boxes is a float array ``(n, 4)``.
Coordinates are continuous: the top-left corner of a picture is (0, 0), its bottom-right corner is
(width, height), and ``x2 - x1`` is the width of the box, with no "+ 1" anywhere. (The 1-based
inclusive ``xmin, xmax`` of Pascal VOC become ``x1 = xmin - 1``, ``x2 = xmax``.)

Functions named as in ``torchvision.ops`` mean what they mean there. All of them accept no boxes at
all, as an empty list or a ``(0, 4)`` array.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]
Indices = NDArray[np.int64]

# exp(MAX_LOG_SCALE) = 62.5: no regressed box grows more than that over its proposal (the bound
# that torchvision and Detectron use); beyond it the regressor is wrong and exp would overflow.
MAX_LOG_SCALE = math.log(1000.0 / 16)


def as_boxes(boxes: ArrayLike) -> Floats:
    """Return ``boxes`` as a float ``(n, 4)`` array; float64 stays, all else becomes float32.

    Raises ValueError when the shape is not ``(n, 4)``; an empty list is ``(0, 4)``.
    """
    array = np.asarray(boxes)
    if array.dtype != np.float64 or not isinstance(boxes, np.ndarray):
        array = array.astype(np.float32, copy=False)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes: expected shape (n, 4) as x1, y1, x2, y2, got {array.shape}")
    return array


def box_area(boxes: ArrayLike) -> Floats:
    """Return the areas ``(n,)`` in square pixels; a box that is inside out has area 0."""
    array = as_boxes(boxes)
    return np.prod(np.maximum(array[:, 2:] - array[:, :2], 0), axis=1)


def intersection(boxes1: ArrayLike, boxes2: ArrayLike) -> Floats:
    """Return the common areas ``(n, m)`` of every box of one set with every box of another."""
    a, b = as_boxes(boxes1), as_boxes(boxes2)
    width = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    height = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.maximum(width, 0) * np.maximum(height, 0)


def box_iou(boxes1: ArrayLike, boxes2: ArrayLike) -> Floats:
    """Return the intersection over union ``(n, m)`` of two sets of boxes, in [0, 1].

    Two boxes without area have IoU 0 (torchvision: not a number).
    """
    common = intersection(boxes1, boxes2)
    union = box_area(boxes1)[:, None] + box_area(boxes2)[None, :] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def clip_boxes_to_image(boxes: ArrayLike, size: tuple[int, int]) -> Floats:
    """Return the boxes cut at the borders of a picture of ``size`` (height, width)."""
    array = as_boxes(boxes)
    height, width = size
    return np.clip(array, 0, np.array([width, height, width, height], dtype=array.dtype))


def remove_small_boxes(boxes: ArrayLike, min_size: float) -> Indices:
    """Return the indices of the boxes whose width and height are both at least ``min_size``."""
    array = as_boxes(boxes)
    return np.flatnonzero(np.all(array[:, 2:] - array[:, :2] >= min_size, axis=1)).astype(np.int64)


def is_valid(boxes: ArrayLike) -> NDArray[np.bool_]:
    """Return a mask ``(n,)`` of the boxes that are finite and have an area."""
    array = as_boxes(boxes)
    wide, high = array[:, 2] > array[:, 0], array[:, 3] > array[:, 1]
    return np.asarray(np.isfinite(array).all(axis=1) & wide & high)


def _centres_and_sizes(boxes: Floats) -> tuple[Floats, Floats]:
    sizes = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + sizes / 2, sizes


def encode(proposals: ArrayLike, targets: ArrayLike) -> Floats:
    """Return the regression targets ``(n, 4)`` = tx, ty, tw, th that move proposals to targets.

    Both are ``(n, 4)``, row by row. tx = (Gx - Px) / Pw and tw = log(Gw / Pw), alike for y and h,
    with centres and sizes. Raises ValueError for boxes without area and for unequal numbers.
    Source: Girshick et al. 2014, appendix C, equations 6 to 9.
    """
    p, g = as_boxes(proposals), as_boxes(targets)
    if len(p) != len(g):
        raise ValueError(f"encode: {len(p)} proposals but {len(g)} targets")
    if not (is_valid(p).all() and is_valid(g).all()):
        raise ValueError("encode: every box needs finite coordinates and an area")
    p_centre, p_size = _centres_and_sizes(p)
    g_centre, g_size = _centres_and_sizes(g)
    return np.concatenate([(g_centre - p_centre) / p_size, np.log(g_size / p_size)], axis=1)


def decode(proposals: ArrayLike, deltas: ArrayLike) -> Floats:
    """Return the boxes ``(n, 4)`` that regression outputs tx, ty, tw, th make of proposals.

    tw and th are held at log(1000 / 16) so that a wild output cannot overflow; the result is not
    clipped to the picture. Source: Girshick et al. 2014, appendix C, equations 1 to 4.
    """
    p, t = as_boxes(proposals), as_boxes(deltas)
    if len(p) != len(t):
        raise ValueError(f"decode: {len(p)} proposals but {len(t)} deltas")
    centre, size = _centres_and_sizes(p)
    new_centre = centre + t[:, :2] * size
    half = size * np.exp(np.minimum(t[:, 2:], MAX_LOG_SCALE)) / 2
    return np.concatenate([new_centre - half, new_centre + half], axis=1)


def nms(boxes: ArrayLike, scores: ArrayLike, iou_threshold: float) -> Indices:
    """Return the indices kept by greedy non-maximum suppression, by descending score.

    A box is dropped when its IoU with a kept box of higher score is above ``iou_threshold``. Of
    equal scores the earlier box goes first. Source: Girshick et al. 2014, section 2.2.
    """
    array, values = as_boxes(boxes), np.asarray(scores)
    if values.shape != (len(array),):
        raise ValueError(f"nms: {len(array)} boxes but scores of shape {values.shape}")
    rest = np.argsort(-values, kind="stable")
    kept = []
    while rest.size:
        best, rest = rest[0], rest[1:]
        kept.append(best)
        rest = rest[box_iou(array[best : best + 1], array[rest])[0] <= iou_threshold]
    return np.array(kept, dtype=np.int64)


def batched_nms(
    boxes: ArrayLike, scores: ArrayLike, idxs: ArrayLike, iou_threshold: float
) -> Indices:
    """Return the indices kept by :func:`nms` within each class, by descending score over all.

    ``idxs`` is ``(n,)``: the class of each box; boxes of different classes never meet.
    """
    array, values, classes = as_boxes(boxes), np.asarray(scores), np.asarray(idxs)
    if classes.shape != values.shape:
        raise ValueError(f"batched_nms: scores {values.shape} but classes {classes.shape}")
    keep = np.zeros(len(array), dtype=bool)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        keep[members[nms(array[members], values[members], iou_threshold)]] = True
    kept = np.flatnonzero(keep)
    return kept[np.argsort(-values[kept], kind="stable")].astype(np.int64)
