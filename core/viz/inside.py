"""Pictures of what is inside a network: feature maps, heat over a picture, its graph."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.tape import Node
from core.tensor import Tensor
from core.viz.figure import INK, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def feature_maps(
    layers: Mapping[str, ArrayLike], *, maps: int = 16, columns: int = 4, title: str = ""
) -> Figure:
    """The first `maps` maps of each layer side by side: name -> (C, H, W).

    Each map has its own scale, dark to bright. Raises ValueError for no layers or another shape.
    """
    arrays = {name: np.asarray(array, float) for name, array in layers.items()}
    if not arrays:
        raise ValueError("feature_maps: no layers")
    for name, array in arrays.items():
        if array.ndim != 3:
            raise ValueError(f"feature_maps: {name} has shape {array.shape}, expected (C, H, W)")
    figure = new_figure(2.6 * len(arrays), 2.9 + (0.3 if title else 0))
    if title:
        figure.suptitle(title, fontsize=11, color=INK, fontweight="bold")
    panels = np.atleast_1d(figure.subplots(1, len(arrays)))
    for axes, (name, array) in zip(panels, arrays.items(), strict=True):
        axes.axis("off")
        axes.set_title(f"{name}: {' x '.join(map(str, array.shape))}", fontsize=8, color=INK)
        axes.imshow(_mosaic(array[:maps], columns), cmap="magma", interpolation="nearest")
    return figure


def _mosaic(maps: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
    """Maps (C, H, W), each from 0 to 1, in one picture; the gaps are NaN."""
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    scaled = (maps - low) / np.where(high > low, high - low, 1)
    gap = max(1, maps.shape[1] // 16)
    padded = np.pad(scaled, ((0, 0), (0, gap), (0, gap)), constant_values=np.nan)
    rows = math.ceil(len(maps) / columns)
    missing = rows * columns - len(maps)
    padded = np.pad(padded, ((0, missing), (0, 0), (0, 0)), constant_values=np.nan)
    grid = padded.reshape(rows, columns, *padded.shape[1:]).transpose(0, 2, 1, 3)
    return grid.reshape(rows * padded.shape[1], -1)[:-gap, :-gap]


def heat(picture: NDArray[np.uint8], values: ArrayLike, strength: float = 0.5) -> NDArray[np.uint8]:
    """A picture (H, W, 3) under a map (h, w) of 0..1, brought to its size: red is high.

    Raises ValueError for other shapes.
    """
    map_ = np.clip(np.asarray(values, np.float32), 0, 1)
    if picture.ndim != 3 or picture.shape[2] != 3 or map_.ndim != 2:
        raise ValueError(
            f"heat: picture {picture.shape} and map {map_.shape}, expected (H, W, 3) and (h, w)"
        )
    from matplotlib import colormaps
    from PIL import Image

    size = picture.shape[1], picture.shape[0]
    grown = np.asarray(Image.fromarray(map_).resize(size, Image.Resampling.BICUBIC))
    colours = 255 * colormaps["turbo"](np.clip(grown, 0, 1))[..., :3]
    return np.rint((1 - strength) * picture + strength * colours).astype(np.uint8)


def graph(result: Tensor, names: Mapping[str, Tensor] | None = None, *, title: str = "") -> Figure:
    """The computational graph behind a tensor (book, chapter 5): values flow from left to right.

    Boxes are operations with the shapes of their results, rounded ones the leaves that `names`
    names. Raises ValueError for a tensor without a graph.
    """
    root = result._node
    if root is None or root.is_leaf:
        raise ValueError("graph: the tensor is no result of an operation with a gradient")
    leaves = {t._node: name for name, t in (names or {}).items() if t._node is not None}
    columns = _columns(root)
    places = _places(columns)
    width, height = 1 + max(columns.values()), 1 + max(y for _, y in places.values())
    figure = new_figure(1.75 * width, 0.95 * height + (0.4 if title else 0.1))
    if title:
        figure.suptitle(title, fontsize=11, color=INK, fontweight="bold")
    axes = figure.subplots()
    axes.axis("off")
    axes.set_xlim(-0.6, width - 0.4)
    axes.set_ylim(-0.6, height - 0.4)
    boxes = {node: _box(axes, node, leaves.get(node), place) for node, place in places.items()}
    for node in places:
        for parent in filter(None, node.parents):
            arrow = {
                "arrowstyle": "->",
                "color": INK,
                "patchA": boxes[parent],
                "patchB": boxes[node],
            }
            axes.annotate("", places[node], places[parent], arrowprops=arrow)
    return figure


def _box(axes: Axes, node: Node, name: str | None, place: tuple[float, float]) -> Any:
    """Draw one node; the outline that arrows end at."""
    shape = " x ".join(map(str, node.shape)) or "one value"
    style, colour = ("square", PALETTE[5]) if node.parents else ("round", "#ffffff")
    outline = {"boxstyle": f"{style},pad=0.35", "facecolor": colour, "edgecolor": INK}
    label = f"{name or node.name}\n{shape}"
    text = axes.text(*place, label, ha="center", va="center", fontsize=8, color=INK, bbox=outline)
    return text.get_bbox_patch()


def _columns(root: Node) -> dict[Node, int]:
    """How far from the left each node stands: one further than the furthest of its parents."""
    nodes, waiting = {root}, [root]
    while waiting:
        for parent in filter(None, waiting.pop().parents):
            if parent not in nodes:
                nodes.add(parent)
                waiting.append(parent)
    columns: dict[Node, int] = {}
    # A parent is always older than its child.
    for node in sorted(nodes, key=lambda n: n.order):
        columns[node] = 1 + max((columns[p] for p in node.parents if p is not None), default=-1)
    # A leaf stands right before its first user.
    for node in sorted(nodes, key=lambda n: -n.order):
        for parent in filter(None, node.parents):
            if not parent.parents:
                columns[parent] = columns[node] - 1
    return columns


def _places(columns: Mapping[Node, int]) -> dict[Node, tuple[float, float]]:
    """(x, y) of each node: those of one column are spread over the height, oldest on top."""
    stacks: dict[int, list[Node]] = defaultdict(list)
    for node in sorted(columns, key=lambda n: n.order):
        stacks[columns[node]].append(node)
    tallest = max(map(len, stacks.values()))
    places = {}
    for x, stack in stacks.items():
        offset = (tallest - len(stack)) / 2
        for i, node in enumerate(stack):
            places[node] = (float(x), tallest - 1 - offset - i)
    return places
