import numpy as np
import pytest

from detection.crops import CONTEXT, warp_crops


def ramps() -> np.ndarray:
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[:30, :40]
    return np.stack([5 * x, 6 * y, np.full_like(x, 50)], axis=2).astype(np.uint8)


def test_a_crop_of_its_own_size_is_a_cut() -> None:
    crops = warp_crops(ramps(), [[10, 5, 22, 17]], 12, context=0)
    assert crops.dtype == np.uint8
    np.testing.assert_array_equal(crops[0], ramps()[5:17, 10:22])


def test_context_is_a_share_of_the_crop() -> None:
    # One of twelve pixels on each side: the box of ten pixels is shown with one more around it.
    crop = warp_crops(ramps(), [[10, 5, 20, 15]], 12, context=1 / 12)[0]
    np.testing.assert_array_equal(crop, ramps()[4:16, 9:21])


def test_sixteen_of_227_pixels_are_context_as_published() -> None:
    picture = np.zeros((227, 227, 3), np.uint8)
    picture[16:-16, 16:-16] = 255
    crop = warp_crops(picture, [[16, 16, 211, 211]], 227, CONTEXT)[0]
    np.testing.assert_array_equal(crop, picture)


def test_outside_the_picture_is_its_mean_colour() -> None:
    picture = ramps()
    crop = warp_crops(picture, [[0, 0, 10, 10]], 12, context=1 / 12)[0]
    mean = picture.mean(axis=(0, 1)).round()
    np.testing.assert_array_equal(crop[1:, 1:], picture[:11, :11])
    np.testing.assert_array_equal(crop[0], np.tile(mean, (12, 1)))
    np.testing.assert_array_equal(crop[:, 0], np.tile(mean, (12, 1)))
    corner = warp_crops(picture, [[30, 20, 40, 30]], 12, context=1 / 12)[0]
    np.testing.assert_array_equal(corner[:11, :11], picture[19:, 29:])
    np.testing.assert_array_equal(corner[11], np.tile(mean, (12, 1)))


def test_width_and_height_are_stretched_apart() -> None:
    crop = warp_crops(ramps(), [[0, 10, 40, 20]], 10, context=0)[0].astype(int)
    np.testing.assert_allclose(np.diff(crop[5, 2:-2, 0]), 5 * 4, atol=1)
    np.testing.assert_allclose(np.diff(crop[2:-2, 5, 1]), 6 * 1, atol=1)


def test_large_boxes_are_averaged() -> None:
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    picture = np.repeat(board[:, :, None], 3, axis=2)
    crop = warp_crops(picture, [[0, 0, 64, 64]], 8, context=0)[0]
    assert crop.min() >= 126 and crop.max() <= 129


def test_one_box_does_not_change_another() -> None:
    boxes = np.array([[3.5, 2.25, 20, 18], [0, 0, 40, 30], [35, 25, 40, 30]])
    together = warp_crops(ramps(), boxes, 16)
    alone = np.concatenate([warp_crops(ramps(), box[None], 16) for box in boxes])
    # The border is as wide as the neediest box wants it; that must not move the samples.
    assert np.abs(together.astype(int) - alone).max() <= 1


def test_no_boxes_and_boxes_without_area() -> None:
    assert warp_crops(ramps(), np.zeros((0, 4)), 16).shape == (0, 16, 16, 3)
    with pytest.raises(ValueError, match="has no area"):
        warp_crops(ramps(), [[0, 0, 9, 9], [4, 4, 4, 9]], 16)
