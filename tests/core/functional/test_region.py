"""Region pooling against loops that follow the definitions word for word."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core import functional as F
from core.tensor import Tensor
from tests.core.functional.peer import channels_last, close, values

BOXES = np.array(
    [
        [0, 1, 2, 6, 7],
        [1, 0, 0, 8, 9],
        [1, 2.4, 3.5, 4.5, 3.6],
        [0, -3, -2.5, 4, 5],
        [0, 6, 7, 20, 30],
        [1, 3, 3, 3, 3],
        [0, 40, 40, 50, 50],
        [0, -0.5, 1.5, 2.5, 3.5],
    ]
)


def away_from_zero(v: float) -> int:
    return int(math.copysign(math.floor(abs(v) + 0.5), v))


def pooled(x: np.ndarray, boxes: np.ndarray, size: tuple[int, int], scale: float) -> np.ndarray:
    height, width = x.shape[2:]
    y = np.zeros((len(boxes), x.shape[1], *size))
    for k, (image, *box) in enumerate(boxes):
        x1, y1, x2, y2 = (away_from_zero(v * scale) for v in box)
        bin_h, bin_w = max(y2 - y1 + 1, 1) / size[0], max(x2 - x1 + 1, 1) / size[1]
        for i in range(size[0]):
            top = min(max(math.floor(i * bin_h) + y1, 0), height)
            bottom = min(max(math.ceil((i + 1) * bin_h) + y1, 0), height)
            for j in range(size[1]):
                left = min(max(math.floor(j * bin_w) + x1, 0), width)
                right = min(max(math.ceil((j + 1) * bin_w) + x1, 0), width)
                if bottom > top and right > left:
                    y[k, :, i, j] = x[int(image), :, top:bottom, left:right].max((1, 2))
    return y


def bilinear(plane: np.ndarray, y: float, x: float) -> np.ndarray:
    height, width = plane.shape[1:]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(len(plane))
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = plane[:, top, left] * (left + 1 - x) + plane[:, top, right] * (x - left)
    lower = plane[:, bottom, left] * (left + 1 - x) + plane[:, bottom, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)


def aligned_mean(
    x: np.ndarray,
    boxes: np.ndarray,
    size: tuple[int, int],
    scale: float,
    ratio: int,
    aligned: bool,
) -> np.ndarray:
    result = np.zeros((len(boxes), x.shape[1], *size))
    offset = 0.5 if aligned else 0.0
    for k, (image, *box) in enumerate(boxes):
        x1, y1, x2, y2 = (v * scale - offset for v in box)
        w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        bin_h, bin_w = h / size[0], w / size[1]
        rows = ratio if ratio > 0 else math.ceil(bin_h)
        columns = ratio if ratio > 0 else math.ceil(bin_w)
        for i, j in np.ndindex(*size):
            for a, b in np.ndindex(rows, columns):
                at_y = y1 + i * bin_h + (a + 0.5) * bin_h / rows
                at_x = x1 + j * bin_w + (b + 0.5) * bin_w / columns
                sample = bilinear(x[int(image)], at_y, at_x)
                result[k, :, i, j] += sample / max(rows * columns, 1)
    return result


def gradient_is_right(f: Callable[[Tensor], Tensor], x: np.ndarray) -> None:
    """One directional derivative, both layouts; the functions are piecewise linear."""
    direction, step = values(*x.shape, seed=5), 1e-6
    for layout_of in (np.ascontiguousarray, channels_last):
        t = Tensor(layout_of(x), requires_grad=True)
        y = f(t)
        gy = values(*y.shape, seed=6)
        y.backward(layout_of(gy))
        up, down = (f(Tensor(layout_of(x + s * direction))).numpy() for s in (step, -step))
        numeric = ((up - down) * gy).sum() / (2 * step)
        assert t.grad is not None
        np.testing.assert_allclose((t.grad.numpy() * direction).sum(), numeric, rtol=1e-7)


@pytest.mark.parametrize("size", [(2, 2), (3, 1), (7, 5)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_roi_pool_follows_its_definition(size: tuple[int, int], scale: float) -> None:
    x = values(2, 3, 9, 8)
    expected = pooled(x, BOXES, size, scale)
    close(F.roi_pool(x, BOXES, size, scale), expected)
    close(F.roi_pool(channels_last(x), BOXES, size, scale), expected)
    gradient_is_right(lambda t: F.roi_pool(t, BOXES, size, scale), x)


@pytest.mark.parametrize("size", [(2, 2), (3, 1), (7, 5)])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("ratio", [-1, 1, 2])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align_follows_its_definition(
    size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> None:
    x = values(2, 3, 9, 8)
    expected = aligned_mean(x, BOXES, size, scale, ratio, aligned)
    close(F.roi_align(x, BOXES, size, scale, ratio, aligned), expected)
    close(F.roi_align(channels_last(x), BOXES, size, scale, ratio, aligned), expected)
    gradient_is_right(lambda t: F.roi_align(t, BOXES, size, scale, ratio, aligned), x)


def test_a_region_of_whole_bins_is_max_pooling() -> None:
    x = values(1, 2, 4, 4)
    close(F.roi_pool(x, np.array([[0, 0, 0, 3, 3]]), 2), F.max_pool2d(x, 2))


def test_overlapping_regions_add_their_gradients() -> None:
    x = Tensor(np.arange(4.0).reshape(1, 1, 2, 2), requires_grad=True)
    F.roi_pool(x, np.array([[0, 0, 0, 1, 1], [0, 1, 1, 1, 1]]), 1).sum().backward()
    close(x.grad, [[[[0, 0], [0, 2]]]])


@pytest.mark.parametrize("operation", [F.roi_pool, F.roi_align])
def test_boxes_come_as_a_table_or_a_list(operation: Callable[..., Tensor]) -> None:
    x = values(2, 3, 9, 8)
    table = BOXES[np.argsort(BOXES[:, 0], kind="stable")]
    pictures = [table[table[:, 0] == i, 1:] for i in (0, 1)]
    close(operation(x, pictures, 3), operation(x, Tensor(table), 3))


@pytest.mark.parametrize("operation", [F.roi_pool, F.roi_align])
def test_no_boxes_give_no_regions(operation: Callable[..., Tensor]) -> None:
    x = Tensor(values(1, 3, 4, 4), requires_grad=True)
    y = operation(x, [np.zeros((0, 4))], 2)
    assert y.shape == (0, 3, 2, 2)
    y.sum().backward()
    close(x.grad, np.zeros(x.shape))


ERRORS: list[tuple[Any, Any, str]] = [
    (np.zeros((2, 4)), 2, "boxes have shape .2, 4., expected .K, 5."),
    ([np.zeros((2, 5))], 2, "boxes of picture 0 have shape .2, 5., not"),
    (np.array([[1.0, 0, 0, 1, 1]]), 2, "boxes name the pictures .1.0., expected"),
    (np.array([[0.0, 0, 0, np.nan, 1]]), 2, "not finite"),
    (np.zeros((1, 5)), 0, "expected positive sizes"),
]


@pytest.mark.parametrize("operation", [F.roi_pool, F.roi_align])
@pytest.mark.parametrize("boxes, size, message", ERRORS)
def test_errors_say_what_was_expected(
    operation: Callable[..., Tensor], boxes: Any, size: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=f"roi_(pool|align): .*{message}") as caught:
        operation(np.zeros((1, 2, 4, 4)), boxes, size)
    assert "\n" not in str(caught.value)


def test_roi_align_refuses_a_region_that_would_take_samples_without_end() -> None:
    x, box = np.ones((1, 1, 4, 4)), np.array([[0.0, 0, 0, 1e9, 2]])
    with pytest.raises(ValueError, match=r"roi_align: a region is 1e\+09 pixels long"):
        F.roi_align(x, box, 2)
    assert F.roi_align(x, box, 2, sampling_ratio=2).shape == (1, 1, 2, 2)
