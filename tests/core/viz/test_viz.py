"""Pictures: what they show, that nothing global is touched, and what they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import nn, viz
from core.data.images import read_image
from core.viz.figure import PALETTE

LINES: list[dict[str, Any]] = [
    {"step": 5, "epoch": 1, "loss": 2.0, "accuracy": 0.5, "val_loss": 2.1, "val_accuracy": 0.4},
    {"step": 10, "epoch": 2, "loss": 1.0, "accuracy": 0.8, "val_loss": None, "val_accuracy": 0.7},
    {"step": 15, "epoch": 3, "loss": 0.5, "accuracy": 0.9, "val_loss": 1.5, "val_accuracy": 0.6},
]


def rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def points(line: Any) -> list[list[float]]:
    return np.asarray(line.get_xydata()).tolist()


def test_curves_show_training_and_validation_and_name_the_best() -> None:
    figure = viz.curves(LINES, title="net")
    loss, accuracy = figure.axes
    assert [points(line) for line in loss.lines] == [
        [[1, 2], [2, 1], [3, 0.5]],
        [[1, 2.1], [3, 1.5]],
    ]
    legend = accuracy.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "training (best 0.9, epoch 3)",
        "validation (best 0.7, epoch 2)",
    ]


def test_curves_leave_out_what_nobody_measured() -> None:
    figure = viz.curves([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss"]
    assert figure.axes[0].get_xlabel() == "step"
    with pytest.raises(ValueError, match="no metrics under the names mIoU"):
        viz.curves(LINES, ["mIoU"])
    with pytest.raises(ValueError, match="no metrics"):
        viz.curves([])


def test_a_confusion_matrix_holds_its_counts() -> None:
    figure = viz.confusion_matrix(np.array([[3, 1], [0, 2]]), ["cat", "dog"])
    cells = {tuple(t.get_position()): t.get_text() for t in figure.axes[0].texts}
    assert cells == {(0, 0): "3", (1, 0): "1", (1, 1): "2"}
    with pytest.raises(ValueError, match=r"shape \(2, 2\), expected \(3, 3\)"):
        viz.confusion_matrix(np.eye(2, dtype=int), ["a", "b", "c"])


def test_precision_recall_lines_begin_at_no_recall() -> None:
    recall, precision = np.array([0.5, 1.0]), np.array([1.0, 0.6])
    figure = viz.precision_recall(
        {"cat": (recall, precision), "none": (recall[:0], precision[:0])}, {"cat": 0.8}
    )
    lines = figure.axes[0].lines
    assert points(lines[0]) == [[0, 1], [0.5, 1], [1, 0.6]]
    assert [line.get_label() for line in lines[:2]] == ["cat  AP 0.800", "none"]


def test_an_image_grid_takes_grey_and_colour() -> None:
    pictures: list[np.ndarray] = [
        np.zeros((4, 6), np.uint8),
        np.ones((4, 6, 1)),
        np.zeros((4, 6, 3), np.uint8),
    ]
    figure = viz.image_grid(pictures, ["a", "b", "c"], columns=2)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "pictures, titles, message",
    [
        ([], [], "no pictures"),
        ([np.zeros((2, 2))], ["a", "b"], "1 pictures but 2 titles"),
        ([np.zeros((3, 2, 2))], [], r"picture of shape \(3, 2, 2\)"),
        ([np.zeros(4)], [], r"picture of shape \(4,\)"),
    ],
)
def test_an_image_grid_refuses(pictures: list[np.ndarray], titles: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        viz.image_grid(pictures, titles)


def test_filters_share_one_scale() -> None:
    weak, strong = np.full((3, 1, 2, 2), 0.1), np.full((3, 1, 2, 2), -1.0)
    figure = viz.filters({"before": weak, "after": strong}, columns=2)
    before, after = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    assert before.shape == (5, 5, 3)
    assert before[0, 0, 0] > before[0, 0, 2] > 0.8, "a weak positive value is a pale red"
    assert after[0, 0, 2] > 2 * after[0, 0, 0], "a strong negative value is a deep blue"
    assert (before[2] == 1).all() and (before[3:, 3:] == 1).all(), "white where no filter is"


def test_filters_over_three_channels_are_in_colour() -> None:
    layer = nn.Conv2d(3, 4, 3)
    figure = viz.filters(layer.weight)
    mosaic = np.asarray(figure.axes[0].images[0].get_array())
    limit = np.abs(layer.weight.numpy()).max()
    expected = (layer.weight.numpy()[0].transpose(1, 2, 0) / limit + 1) / 2
    np.testing.assert_allclose(mosaic[:3, :3], expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"\(2, 3\), expected \(K, C, kh, kw\)"):
        viz.filters(np.zeros((2, 3)))


def test_filters_that_are_all_zero() -> None:
    mosaic = viz.filters(np.zeros((2, 1, 2, 2))).axes[0].images[0].get_array()
    assert np.isfinite(np.asarray(mosaic)).all()


def test_a_box_is_drawn_where_it_is() -> None:
    picture = np.full((60, 80, 3), 200, np.uint8)
    before = picture.copy()
    drawn = viz.draw_boxes(picture, [[20, 10, 60, 50]])
    np.testing.assert_array_equal(picture, before)
    paint = (drawn == rgb(PALETTE[0])).all(axis=2)
    rows, columns = np.nonzero(paint)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (20, 10, 59, 49)
    assert not paint[12:48, 22:58].any(), "the inside stays free"
    assert (drawn[:8] == 200).all(), "without labels and scores nothing is written"


def test_enlarged_boxes_go_with_the_picture() -> None:
    drawn = viz.draw_boxes(np.zeros((30, 40, 3), np.uint8), [[10, 5, 30, 25]], scale=4)
    assert drawn.shape == (120, 160, 3)
    rows, columns = np.nonzero((drawn == rgb(PALETTE[0])).all(axis=2))
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (40, 20, 119, 99)


def test_labels_stay_inside_and_apart() -> None:
    """Three boxes in one corner: every label is whole, and none covers another."""
    picture = np.zeros((200, 200, 3), np.uint8)
    boxes = [[0, 0, 60, 60], [1, 1, 60, 60], [150, 150, 200, 200]]
    drawn = viz.draw_boxes(picture, boxes, [0, 2, 3], [0.9, 0.8, 0.7], classes=["cat"] * 4)
    areas = [(drawn == rgb(PALETTE[n])).all(axis=2).sum() for n in (0, 2, 3)]
    alone = [
        (viz.draw_boxes(picture, [box], [n], [score], classes=["cat"] * 4) == rgb(PALETTE[n]))
        .all(axis=2)
        .sum()
        for box, n, score in zip(boxes, (0, 2, 3), (0.9, 0.8, 0.7), strict=True)
    ]
    assert all(area > 0.6 * whole for area, whole in zip(areas, alone, strict=True))


def test_boxes_without_area_and_beyond_the_picture() -> None:
    picture = np.zeros((50, 50, 3), np.uint8)
    assert not viz.draw_boxes(picture, [[10, 10, 10, 10], [20, 20, 5, 5]]).any()
    assert viz.draw_boxes(picture, [[-30, -30, 500, 500]], [1], [0.5]).any()
    assert not viz.draw_boxes(picture, np.zeros((0, 4)), [], []).any()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"labels": [1]}, "2 boxes but 1 labels"),
        ({"scores": [0.1] * 3}, "2 boxes but 3 scores"),
        ({"picture": np.zeros((5, 5), np.uint8)}, r"picture is uint8 \(5, 5\)"),
        ({"picture": np.zeros((5, 5, 3))}, r"picture is float64"),
    ],
)
def test_draw_boxes_refuses(changes: dict[str, object], message: str) -> None:
    arguments = {"picture": np.zeros((9, 9, 3), np.uint8), "boxes": np.zeros((2, 4)), **changes}
    with pytest.raises(ValueError, match=message):
        viz.draw_boxes(**arguments)  # type: ignore[arg-type]


def test_figures_and_pictures_are_saved(tmp_path: Path) -> None:
    figure = viz.curves(LINES)
    viz.save(figure, tmp_path / "made" / "curves.png")
    viz.save(viz.curves(LINES), tmp_path / "again.png")
    assert read_image(tmp_path / "made" / "curves.png").shape == (408, 1104, 3)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "made/curves.png").read_bytes()
    picture = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    viz.save(picture, tmp_path / "picture.png")
    np.testing.assert_array_equal(read_image(tmp_path / "picture.png"), picture)
    viz.save(figure, tmp_path / "curves.svg")
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()


def test_no_window_and_no_global_state(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from core import viz\n"
        "assert 'matplotlib' not in sys.modules and 'PIL' not in sys.modules\n"
        f"viz.save(viz.image_grid([np.zeros((2, 2))]), {str(tmp_path / 'x.png')!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_labels_lie_over_a_picture() -> None:
    picture = np.full((2, 3, 3), 100, np.uint8)
    labels = np.array([[0, 1, 255], [1, 0, 255]], np.uint8)
    palette = np.array([[0, 0, 0], [200, 0, 0]], np.uint8)
    mixed = viz.overlay(picture, labels, palette[np.minimum(np.arange(256), 1)], opacity=0.5)
    assert mixed[0].tolist() == [[50, 50, 50], [150, 50, 50], [100, 100, 100]]
    with pytest.raises(ValueError, match=r"picture \(2, 3, 3\) but labels \(3, 2\)"):
        viz.overlay(picture, labels.T, palette)


def test_masks_stand_beside_their_pictures_with_a_legend(tmp_path: Path) -> None:
    picture, mask = np.zeros((8, 10, 3), np.uint8), np.zeros((8, 10), np.uint8)
    figure = viz.mask_grid(
        [[picture, mask]] * 3, ("picture", "truth"), {"sky": (10, 20, 30), "road": (1, 2, 3)}
    )
    assert [axes.get_title() for axes in figure.axes] == ["picture", "truth"]
    assert [axes.images[0].get_size() for axes in figure.axes] == [(3 * 8 + 2 * 2, 10)] * 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["sky", "road"]
    viz.save(figure, tmp_path / "masks.png")
    assert (tmp_path / "masks.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="2 pictures in a row but 1 titles"):
        viz.mask_grid([[picture, mask]], ("picture",), {})


@pytest.mark.parametrize("fps", [50.0, 15.0, 10.0])
def test_an_animation_plays_as_fast_as_asked_for(fps: float, tmp_path: Path) -> None:
    from PIL import Image, ImageSequence

    pictures = [np.full((10, 12, 3), 4 * value, np.uint8) for value in range(60)]
    viz.save_animation(pictures, tmp_path / "a.gif", fps=fps, rest=False)
    with Image.open(tmp_path / "a.gif") as film:
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
        assert film.size == (12, 10) and film.info["loop"] == 0
    assert sum(durations) / 1000 == pytest.approx(60 / fps, rel=0.06)
    assert len(durations) == (20 if fps == 50 else 60)


def test_an_animation_rests_on_its_last_picture(tmp_path: Path) -> None:
    from PIL import Image, ImageSequence

    grey = [np.full((400, 800), 50 * value, np.uint8) for value in range(3)]
    viz.save_animation(grey, tmp_path / "b.gif")
    with Image.open(tmp_path / "b.gif") as film:
        assert film.size == (320, 160)
        durations = [frame.info["duration"] for frame in ImageSequence.Iterator(film)]
    assert durations == [100, 100, 2000]
    with pytest.raises(ValueError, match=r"c\.gif: no pictures to save"):
        viz.save_animation([], tmp_path / "c.gif")
