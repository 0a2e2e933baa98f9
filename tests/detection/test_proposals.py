import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detection.boxes import box_iou
from detection.crops import warp_crops
from detection.proposals import SearchOptions, proposal_cache, proposals_for, selective_search
from detection.proposals.grouping import Grouping, hierarchy
from detection.proposals.regions import (
    colour_codes,
    describe,
    initial_regions,
    superpixels,
    texture_codes,
    to_colour_space,
)


def scene(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three noisy coloured rectangles on grey, two of which touch."""
    rng = np.random.default_rng(seed)
    boxes = np.array([[8, 10, 30, 40], [30, 14, 50, 38], [56, 50, 68, 62]])
    picture = np.full((72, 80, 3), 128.0)
    for (x1, y1, x2, y2), colour in zip(
        boxes, [(200, 40, 40), (40, 180, 60), (30, 60, 220)], strict=True
    ):
        picture[y1:y2, x1:x2] = colour
    picture += rng.normal(0, 6, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), boxes


@pytest.mark.parametrize("mode", ["fast", "quality"])
def test_objects_are_found(mode: str) -> None:
    picture, truth = scene()
    found = selective_search(picture, mode, max_proposals=500)
    assert found.dtype == np.float32
    assert (box_iou(truth, found).max(axis=1) > 0.8).all()


def test_proposals_are_valid_distinct_and_few() -> None:
    found = selective_search(scene()[0], max_proposals=60, min_size=10)
    assert 10 < len(found) <= 60
    assert found.min() >= 0 and (found[:, 2:] <= [80, 72]).all()
    assert (found[:, 2:] - found[:, :2] >= 10).all()
    overlap = box_iou(found, found)
    np.fill_diagonal(overlap, 0)
    assert overlap.max() <= 0.75


def test_same_seed_same_boxes() -> None:
    picture = scene()[0]
    first, again = selective_search(picture, seed=3), selective_search(picture, seed=3)
    np.testing.assert_array_equal(first, again)
    other = selective_search(picture, seed=4)
    assert first.shape != other.shape or (first != other).any()


def test_large_pictures_are_searched_small_and_scaled_back() -> None:
    picture, truth = scene()
    large = picture.repeat(5, axis=0).repeat(4, axis=1)
    found = selective_search(large, longest_side=90)
    assert (box_iou(truth * [4, 5, 4, 5], found).max(axis=1) > 0.75).all()
    assert found[:, 2].max() <= 320 and found[:, 3].max() <= 360


def test_a_scaled_box_does_not_leave_the_picture_by_a_rounding_error() -> None:
    # The 240 rows that are searched become 241.00002 in float32; crops of such a box are refused.
    picture = np.full((241, 322, 3), 7, np.uint8)
    found = selective_search(picture)
    assert (found[:, 2:] <= [322, 241]).all()
    assert warp_crops(picture, found, 8).shape == (len(found), 8, 8, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (9, 9), (40, 500)])
def test_odd_shapes_and_constant_pictures(shape: tuple[int, int]) -> None:
    found = selective_search(np.full((*shape, 3), 7, np.uint8), min_size=1)
    assert len(found) >= 1
    assert (found[:, 2:] <= [shape[1], shape[0]]).all()


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_only_rgb_bytes_are_taken(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected a picture \(H, W, 3\) of uint8"):
        selective_search(picture)


def test_unknown_names_are_refused() -> None:
    picture = scene()[0]
    with pytest.raises(ValueError, match="mode"):
        selective_search(picture, "best")
    with pytest.raises(ValueError, match="colour space"):
        to_colour_space(picture, "cmyk")


@pytest.mark.parametrize("space", ["rgb", "hsv", "lab", "rgi", "hue", "grey"])
def test_colour_spaces_are_in_the_unit_cube(space: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    image = to_colour_space(picture, space)
    assert image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1


def test_descriptors_by_hand() -> None:
    labels = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])
    image = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]], np.float32)[:, :, None]
    regions = describe(labels, colour_codes(image), texture_codes(image))
    np.testing.assert_array_equal(regions.sizes, [4, 2, 3])
    np.testing.assert_array_equal(regions.boxes, [[0, 0, 2, 2], [2, 0, 3, 2], [0, 2, 3, 3]])
    np.testing.assert_allclose(regions.colour[:, [0, 24]], np.array([[0.75, 0.25], [0, 1], [0, 1]]))
    np.testing.assert_allclose(regions.texture.sum(axis=1), 1, rtol=1e-6)
    expected = np.ones((3, 3), bool) & ~np.eye(3, dtype=bool)
    np.testing.assert_array_equal(regions.adjacent, expected)


def test_similarities_by_hand() -> None:
    labels = np.array([[0, 0, 1], [0, 0, 1], [2, 2, 2]])
    image = np.zeros((3, 3, 1), np.float32)
    regions = describe(labels, colour_codes(image), texture_codes(image))
    by_size, by_fill = Grouping(regions, "S"), Grouping(regions, "F")
    np.testing.assert_allclose(by_size.similar[0, 1], 1 - 6 / 9, rtol=1e-6)
    np.testing.assert_allclose(by_fill.similar[0, 1], 1, rtol=1e-6)
    np.testing.assert_allclose(by_fill.similar[1, 2], 1 - (9 - 5) / 9, rtol=1e-6)
    colour = Grouping(regions, "C")
    np.testing.assert_allclose(colour.similar[0, 1], 1, rtol=1e-6)
    with pytest.raises(ValueError, match="CTSF"):
        Grouping(regions, "X")


def test_hierarchy_joins_like_with_like_and_ends_with_the_whole() -> None:
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 20:] = 255
    labels = np.repeat(np.arange(4), 10)[None].repeat(20, axis=0)
    image = to_colour_space(picture, "rgb")
    boxes = hierarchy(describe(labels, colour_codes(image), texture_codes(image)), "C")
    assert boxes.shape == (7, 4)
    np.testing.assert_array_equal(boxes[0], [0, 0, 40, 20])
    halves = sorted(boxes[1:3].tolist())
    assert halves == [[0, 0, 20, 20], [20, 0, 40, 20]]


def test_segmentations_number_their_regions_without_gaps() -> None:
    picture = scene()[0]
    image = to_colour_space(picture, "lab")
    for labels in (initial_regions(image, 50, 0.8, 20, 400), superpixels(picture, 50, 20)):
        np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))


def test_number_of_initial_regions_is_bounded() -> None:
    noise = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    assert initial_regions(noise, 10, 0.1, 1, 5000).max() > 50
    assert initial_regions(noise, 10, 0.1, 1, 50).max() < 50


def test_processes_and_cache_give_what_one_call_gives(tmp_path: Path) -> None:
    pictures = [scene(seed)[0] for seed in range(3)]
    options = SearchOptions(max_proposals=50)
    cache = proposal_cache(tmp_path, "scenes", options)
    keys = ["a", "b", "c/../d"]
    found = proposals_for(
        pictures,
        options,
        workers=2,
        cache=cache,
        keys=keys,
    )
    for picture, boxes in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(boxes, selective_search(picture, max_proposals=50))

    def unread() -> np.ndarray:
        raise AssertionError("a cached picture must not be read")

    again = proposals_for([unread] * 3, options, cache=cache, keys=keys)
    for first, second in zip(found, again, strict=True):
        np.testing.assert_array_equal(first, second)
    other = proposal_cache(tmp_path, "scenes", SearchOptions(max_proposals=51))
    assert other.get("a") is None


def test_cache_needs_keys(tmp_path: Path) -> None:
    cache = proposal_cache(tmp_path, "scenes", SearchOptions())
    with pytest.raises(ValueError, match="one key for each picture"):
        proposals_for([scene()[0]], cache=cache)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_workers_end_with_a_killed_parent() -> None:
    program = (
        "import os, time; from detection.proposals.batch import _pool\n"
        "with _pool(1) as pool: print(pool.submit(os.getpid).result(), flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline().strip().isdigit()
        parent.send_signal(signal.SIGKILL)
        # The worker has the parent's pipes: they end when it does.
        parent.communicate(timeout=20)
    assert parent.returncode == -signal.SIGKILL
