"""Transforms: exact on small arrays, aligned across pictures, masks and boxes, per sample."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from core.data.augment import (
    Batch,
    ColorJitter,
    Compose,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomRotation,
    Transform,
)
from core.data.rng import Draws


class Fixed(Draws):
    """Hands out one given number per column instead of random ones."""

    def __init__(self, samples: int, *numbers: float) -> None:
        super().__init__(0, 0, np.arange(samples))
        self.numbers = numbers

    def __call__(self, count: int) -> NDArray[np.float64]:
        assert count == len(self.numbers)
        return np.tile(np.array(self.numbers), (len(self.indices), 1))


def draws(samples: int, seed: int = 0) -> Draws:
    return Draws(seed, 0, np.arange(samples))


def rectangles(samples: int = 32, size: int = 40) -> Batch:
    """White rectangles on black, with masks of ones and their boxes."""
    rng = np.random.default_rng(0)
    images = np.zeros((samples, 3, size, size), np.uint8)
    boxes = []
    for image in images:
        x1, y1 = rng.integers(8, 16, 2)
        x2, y2 = rng.integers(22, 32, 2)
        image[:, y1:y2, x1:x2] = 255
        boxes.append(np.array([[x1, y1, x2, y2]], np.float32))
    masks = (images[:, 0] > 0).astype(np.uint8)
    labels = [np.array([i]) for i in range(samples)]
    return Batch(images, masks, boxes, labels)


def pixel_box(shown: NDArray[np.bool_]) -> NDArray[np.int64]:
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def test_flip_is_exact() -> None:
    images = np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3)
    masks = images[:, 0].copy()
    batch = Batch(images, masks, [np.array([[0, 0, 1, 2]], np.float32)], [np.array([7])])
    flipped = RandomHorizontalFlip(p=1)(batch, draws(1))
    assert flipped.images.tolist() == [[[[2, 1, 0], [5, 4, 3]]]]
    assert flipped.masks is not None and flipped.masks.tolist() == [[[2, 1, 0], [5, 4, 3]]]
    assert flipped.boxes is not None and flipped.boxes[0].tolist() == [[2, 0, 3, 2]]
    assert images[0, 0, 0, 0] == 0, "the input must not change"


def test_flip_takes_about_half_of_the_samples() -> None:
    images = np.zeros((1000, 1, 1, 2), np.uint8)
    images[..., 1] = 1
    flipped = RandomHorizontalFlip()(Batch(images), draws(1000)).images[:, 0, 0, 0]
    assert 420 < flipped.sum() < 580


def test_crop_is_exact() -> None:
    images = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    boxes = [np.array([[1, 1, 3, 3], [0, 0, 1, 1]], np.float32)]
    batch = Batch(images, images[:, 0].astype(np.uint8), boxes, [np.array([4, 5])])
    crop = RandomCrop(3, padding=1, fill=9)
    lower_right = crop(batch, Fixed(1, 0.99, 0.99))
    assert lower_right.images.tolist() == [[[[4, 5, 9], [7, 8, 9], [9, 9, 9]]]]
    assert lower_right.masks is not None
    assert lower_right.masks.tolist() == [[[4, 5, 255], [7, 8, 255], [255, 255, 255]]]
    assert lower_right.boxes is not None and lower_right.boxes[0].tolist() == [[0, 0, 2, 2]]
    assert lower_right.labels is not None and lower_right.labels[0].tolist() == [4]


def test_crop_reaches_every_place_alike() -> None:
    images = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 2).repeat(2000, axis=0)
    corner = RandomCrop(1)(Batch(images), draws(2000)).images[:, 0, 0, 0]
    assert (np.bincount(corner, minlength=4) > 430).all()


def test_crop_refuses_pictures_that_are_too_small() -> None:
    with pytest.raises(ValueError, match="smaller than the crop"):
        RandomCrop(8)(Batch(np.zeros((1, 1, 4, 4), np.uint8)), draws(1))


@pytest.mark.parametrize("fraction, kept", [(0.6, 0), (0.5, 1)])
def test_min_remaining_decides_about_boxes(fraction: float, kept: int) -> None:
    batch = Batch(np.zeros((1, 1, 4, 4), np.uint8), boxes=[np.array([[0, 0, 4, 2]], np.float32)])
    left_half = RandomCrop((4, 2), min_remaining=fraction)(batch, Fixed(1, 0.0, 0.0))
    assert left_half.boxes is not None and len(left_half.boxes[0]) == kept


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "transform",
    [
        RandomHorizontalFlip(0),
        RandomCrop(40),
        RandomAffine(0),
        RandomAffine(0, interpolation="bilinear"),
        RandomRotation(0, "bilinear"),
        ColorJitter(),
        Compose([]),
    ],
)
def test_identity(transform: Transform, dtype: type[np.generic]) -> None:
    batch = rectangles(3)
    noise = np.random.default_rng(1).integers(0, 256, batch.images.shape)
    images = (noise if dtype == np.uint8 else noise / 255).astype(dtype)
    batch = Batch(images, batch.masks, batch.boxes, batch.labels)
    after = transform(batch, draws(3))
    assert after.images.dtype == dtype
    assert np.array_equal(after.images, images)
    assert np.array_equal(np.array(after.masks), np.array(batch.masks))
    assert np.array_equal(np.array(after.boxes), np.array(batch.boxes))
    assert np.array_equal(np.array(after.labels), np.array(batch.labels))


def test_quarter_turns_and_shifts_are_exact() -> None:
    images = np.array([[[[1, 2], [3, 4]]]], np.uint8)
    clockwise = RandomAffine((90, 90))(Batch(images), draws(1))
    assert clockwise.images.tolist() == [[[[3, 1], [4, 2]]]]
    counter = RandomRotation((90, 90))(Batch(images), draws(1))
    assert counter.images.tolist() == [[[[2, 4], [1, 3]]]]
    shifted = RandomAffine(0, translate=0.5, fill=9)(
        Batch(images, images[:, 0]), Fixed(1, 0, 1, 0.5, 0)
    )
    assert shifted.images.tolist() == [[[[9, 1], [9, 3]]]]
    assert shifted.masks is not None and shifted.masks.tolist() == [[[255, 1], [255, 3]]]


def test_bilinear_reads_between_pixels() -> None:
    images = np.array([[[[0.0, 0.5, 1.0, 0.5]]]], np.float32)
    halved = RandomAffine(0, scale=(2, 2), interpolation="bilinear")(Batch(images), draws(1))
    assert np.allclose(halved.images, [[[[0.375, 0.625, 0.875, 0.875]]]])


@pytest.mark.parametrize(
    "transform",
    [
        RandomHorizontalFlip(),
        RandomCrop(36, padding=4),
        RandomAffine(0, translate=0.1, scale=(0.7, 1.2)),
        RandomRotation((90, 90)),
        Compose([RandomCrop(40, padding=4), RandomHorizontalFlip(), RandomAffine((180, 180))]),
    ],
)
def test_picture_mask_and_box_stay_together(transform: Transform) -> None:
    batch = rectangles()
    after = transform(batch, draws(32))
    assert after.masks is not None and after.boxes is not None
    for image, mask, boxes in zip(after.images, after.masks, after.boxes, strict=True):
        assert np.array_equal(image[0] > 0, mask == 1)
        assert np.abs(pixel_box(mask == 1) - boxes[0]).max() <= 0.51


def test_turned_boxes_enclose_what_they_enclosed() -> None:
    after = RandomRotation(25, "bilinear")(rectangles(), draws(32))
    assert after.boxes is not None
    for image, boxes in zip(after.images, after.boxes, strict=True):
        shown = pixel_box(image[0] > 127)
        assert (shown[:2] >= boxes[0, :2] - 0.51).all() and (shown[2:] <= boxes[0, 2:] + 0.51).all()
        assert np.abs(shown - boxes[0]).max() < 2.1


def test_a_sample_does_not_depend_on_its_batch() -> None:
    transform = Compose(
        [
            RandomCrop(32, padding=4),
            RandomHorizontalFlip(),
            RandomAffine(10, 0.1, (0.9, 1.1), interpolation="bilinear"),
            ColorJitter(0.2, 0.2, 0.2),
        ]
    )
    rng = np.random.default_rng(0)
    images = rng.random((6, 3, 36, 36), np.float32)
    together = transform(Batch(images), Draws(1, 2, np.arange(6))).images
    alone = transform(Batch(images[[4]]), Draws(1, 2, np.array([4]))).images
    assert np.array_equal(together[4], alone[0])
    next_epoch = transform(Batch(images), Draws(1, 3, np.arange(6))).images
    assert not np.array_equal(together, next_epoch)


def test_color_jitter_values() -> None:
    images = np.full((1, 3, 1, 2), 0.2, np.float32)
    images[..., 1] = 0.6
    brighter = ColorJitter(brightness=(2, 2))(Batch(images), draws(1)).images
    assert np.allclose(brighter[0, 0, 0], [0.4, 1.0]), "clipped at 1"
    flat = ColorJitter(contrast=(0, 0))(Batch(images), draws(1)).images
    assert np.allclose(flat, 0.4)
    red = np.zeros((1, 3, 1, 1), np.uint8)
    red[0, 0] = 200
    grey = ColorJitter(saturation=(0, 0))(Batch(red), draws(1)).images
    assert grey.ravel().tolist() == [60, 60, 60]


def test_grey_pictures_and_class_labels_pass() -> None:
    batch = Batch(np.full((2, 1, 8, 8), 100, np.uint8), labels=np.array([3, 4]))
    for transform in (RandomCrop(6), RandomAffine(5), ColorJitter(0.1, 0.1, 0.1)):
        after = transform(batch, draws(2))
        assert after.labels is not None and list(after.labels) == [3, 4]


def test_samples_without_boxes() -> None:
    none = np.zeros((0, 4), np.float32)
    some = np.array([[1, 1, 5, 5]], np.float32)
    labels = [np.zeros(0, np.int64), np.array([2]), np.zeros(0, np.int64)]
    batch = Batch(np.zeros((3, 1, 8, 8), np.uint8), boxes=[none, some, none], labels=labels)
    after = RandomAffine(5)(RandomHorizontalFlip(1)(batch, draws(3)), draws(3))
    assert after.boxes is not None and after.labels is not None
    assert [len(one) for one in after.boxes] == [0, 1, 0]
    assert [len(one) for one in after.labels] == [0, 1, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomCrop(0),
        lambda: RandomHorizontalFlip(2),
        lambda: RandomAffine(-5),
        lambda: RandomAffine(0, translate=2),
        lambda: RandomAffine(0, scale=(0, 1)),
        lambda: RandomRotation(5, "cubic"),  # type: ignore[arg-type]
        lambda: ColorJitter(brightness=(2, 1)),
        lambda: Batch(np.zeros((1, 4, 4), np.uint8)),
        lambda: Batch(np.zeros((1, 1, 4, 4))),
        lambda: Batch(np.zeros((1, 1, 4, 4), np.uint8), masks=np.zeros((1, 3, 3), np.uint8)),
        lambda: Batch(np.zeros((1, 1, 4, 4), np.uint8), boxes=[]),
        lambda: Batch(
            np.zeros((1, 1, 4, 4), np.uint8),
            boxes=[np.zeros((2, 4), np.float32)],
            labels=[np.array([1])],
        ),
    ],
)
def test_refuses_what_makes_no_sense(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r".{10}"):
        make()
