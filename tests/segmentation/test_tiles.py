"""Large pictures in tiles: every pixel once, seams that do not show, memory that stays."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from segmentation.tiles import predict, starts, window


@pytest.mark.parametrize(("length", "tile", "overlap"), [(10, 16, 4), (100, 32, 8), (33, 32, 31)])
def test_tiles_cover_a_side_and_overlap(length: int, tile: int, overlap: int) -> None:
    found = starts(length, tile, overlap)
    assert found[0] == 0 and found[-1] == max(0, length - tile)
    assert all(later - earlier <= tile - overlap for earlier, later in pairwise(found))


def test_weights_rise_from_the_ends() -> None:
    assert window(6, 2) == pytest.approx([1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3])
    assert window(3, 0).tolist() == [1, 1, 1]


def by_colour(part: np.ndarray) -> np.ndarray:
    """Probabilities that are the colours themselves: nothing depends on where a tile ends."""
    return part.transpose(2, 0, 1).astype(np.float32) / 255


@pytest.mark.parametrize("size", [(20, 30), (64, 64), (97, 150)])
def test_tiles_give_what_the_whole_picture_gives(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    whole = by_colour(picture).argmax(axis=0)
    np.testing.assert_array_equal(predict(by_colour, picture, 32, 8), whole)


def test_seams_are_blended() -> None:
    """Where two tiles disagree, the one whose middle is nearer decides."""

    def unsure(part: np.ndarray) -> np.ndarray:
        # The left tile (it alone has a black edge) says class 0, the other one says class 1.
        left = float(part[0, 0, 0] == 0)
        return np.stack([np.full(part.shape[:2], value) for value in (left, 1 - left)])

    picture = np.full((8, 24, 3), 9, np.uint8)
    picture[:, 0] = 0
    labels = predict(unsure, picture, 16, 8)
    assert (labels[:, :12] == 0).all() and (labels[:, 12:] == 1).all()


def test_no_more_than_a_row_of_tiles_is_held() -> None:
    seen = []

    def watching(part: np.ndarray) -> np.ndarray:
        seen.append(part.shape[:2])
        return by_colour(part)

    picture = np.zeros((600, 64, 3), np.uint8)
    tracemalloc.start()
    predict(watching, picture, 32, 8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The probabilities of all pixels would take 460 kB.
    assert max(height for height, _ in seen) == 32 and peak < 200_000


def test_tiles_cannot_overlap_more_than_they_are_long() -> None:
    with pytest.raises(ValueError, match="tiles of 8 pixels cannot overlap by 8"):
        predict(by_colour, np.zeros((9, 9, 3), np.uint8), 8, 8)
