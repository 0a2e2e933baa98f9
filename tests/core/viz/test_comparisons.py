"""Plots that compare, and pictures of what is inside a network: what is drawn, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core import Parameter, no_grad, viz
from core import functional as F
from core.look import learning


def test_lines_hold_their_values_and_average_them() -> None:
    figure = viz.lines({"a": {"x": [1, 2, 3], "y": [3, 2, 1]}, "b": {"x": [5, 7, 9]}}, smooth=2)
    first, second = figure.axes
    assert [np.asarray(line.get_ydata()).tolist() for line in first.lines] == [
        [1.5, 2.5],
        [2.5, 1.5],
    ]
    assert [line.get_label() for line in first.lines] == ["x", "y"]
    assert np.asarray(second.lines[0].get_ydata()).tolist() == [6, 8]
    with pytest.raises(ValueError, match="no panels"):
        viz.lines({})


def test_histograms_count_every_value() -> None:
    rng = np.random.default_rng(0)
    rows = {"one": [rng.random(100)] * 2, "two": [rng.random((10, 20))]}
    figure = viz.histograms(rows)
    shown: list[Any] = [axes.patches for axes in figure.axes if axes.axison]
    drawn = [sum(bar.get_height() for bar in bars) for bars in shown]
    assert drawn == [100, 100, 200]
    with pytest.raises(ValueError, match="nothing to draw"):
        viz.histograms({})


def test_paths_end_where_the_optimiser_did() -> None:
    tracks = learning.optimizer_paths(steps=5)
    figure = viz.paths(tracks, learning.valley)
    for axes, track in zip(figure.axes, tracks.values(), strict=True):
        path, end = axes.lines
        np.testing.assert_allclose(np.asarray(path.get_xydata()), track)
        np.testing.assert_allclose(np.asarray(end.get_xydata())[0], track[-1])
    with pytest.raises(ValueError, match=r"SGD has shape \(3,\), expected \(n, 2\)"):
        viz.paths({"SGD": [1, 2, 3]}, learning.valley)


def test_scatter_draws_each_point_once() -> None:
    figure = viz.scatter(np.eye(4, 2), [0, 1, 1, 0], ["cat", "dog"])
    counts = [len(np.asarray(c.get_offsets())) for c in figure.axes[0].collections]
    assert counts == [2, 2]
    with pytest.raises(ValueError, match=r"points \(3, 2\) and labels \(2,\)"):
        viz.scatter(np.zeros((3, 2)), [0, 1], ["cat", "dog"])


def test_feature_maps_are_scaled_one_by_one() -> None:
    maps = np.stack([np.arange(4).reshape(2, 2), 10 * np.arange(4).reshape(2, 2)])
    figure = viz.feature_maps({"conv": maps}, columns=2)
    image: Any = figure.axes[0].images[0]
    drawn = np.ma.filled(image.get_array(), np.nan)
    np.testing.assert_allclose(drawn[:, :2], [[0, 1 / 3], [2 / 3, 1]])
    np.testing.assert_allclose(drawn[:, 3:], drawn[:, :2])
    with pytest.raises(ValueError, match=r"conv has shape \(2, 2\), expected \(C, H, W\)"):
        viz.feature_maps({"conv": maps[0]})


def test_heat_mixes_the_picture_and_the_map() -> None:
    picture = np.full((8, 6, 3), 100, np.uint8)
    values = np.zeros((4, 3))
    values[:, 2] = 1
    mixed = viz.heat(picture, values, strength=0.5)
    assert mixed.shape == picture.shape and mixed.dtype == np.uint8
    blue, red = mixed[4, 0].astype(int), mixed[4, 5].astype(int)
    assert red[0] > red[2] and blue[2] > blue[0]
    np.testing.assert_array_equal(viz.heat(picture, values, strength=0), picture)
    with pytest.raises(ValueError, match=r"map \(3,\)"):
        viz.heat(picture, np.zeros(3))


def test_the_graph_has_a_box_for_each_node_and_an_arrow_for_each_use() -> None:
    w, b = Parameter(np.ones((3, 4), np.float32)), Parameter(np.zeros(3, np.float32))
    x = Parameter(np.ones((2, 4), np.float32))
    figure = viz.graph(F.relu(F.linear(x, w, b)).sum(), {"x": x, "weight": w})
    texts = [t.get_text() for t in figure.axes[0].texts]
    boxes = [t for t in texts if t]
    expected = {"x\n2 x 4", "weight\n3 x 4", "Parameter\n3"}
    expected |= {"linear\n2 x 3", "relu\n2 x 3", "sum\none value"}
    assert set(boxes) == expected and len(boxes) == 6
    assert len(texts) - len(boxes) == 5
    with no_grad():
        loose = F.relu(x)
    with pytest.raises(ValueError, match="no result of an operation"):
        viz.graph(loose)
