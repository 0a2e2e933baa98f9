import numpy as np
import pytest

from core.data import DataLoader
from core.data.rng import Draws
from detection.crops import warp_crops
from detection.data import load
from detection.metrics import GroundTruth
from detection.network import to_input
from detection.recipe import Recipe
from detection.regions import RegionBatches, Regions, content_key, mirror, regions_of

RECIPE = Recipe(crop=8, width=4)
NOTHING = GroundTruth(np.zeros((0, 4)), np.zeros(0, int))
TRUTH = GroundTruth(np.array([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([1, 0]))


def test_each_proposal_belongs_to_the_truth_it_overlaps_most() -> None:
    proposals = np.array([[0, 0, 10, 5], [21, 0, 31, 10], [12, 0, 18, 10], [4, 0, 30, 10]])
    regions = regions_of(TRUTH, proposals)
    assert regions.true_boxes == 2
    np.testing.assert_array_equal(regions.boxes[:2], TRUTH.boxes)
    np.testing.assert_array_equal(regions.boxes[2:], proposals)
    np.testing.assert_allclose(regions.overlap, [1, 1, 0.5, 9 / 11, 0, 10 / 26], rtol=1e-6)
    np.testing.assert_array_equal(regions.nearest[[0, 1, 2, 3, 5]], [0, 1, 0, 1, 1])
    np.testing.assert_array_equal(regions.labels[[0, 1, 2, 3, 5]], [1, 0, 1, 0, 0])
    assert regions.boxes.dtype == regions.overlap.dtype == np.float32


def test_overlap_with_one_class() -> None:
    regions = regions_of(TRUTH, np.array([[0, 0, 10, 5], [21, 0, 31, 10]]))
    np.testing.assert_allclose(regions.overlap_with(1), [1, 0, 0.5, 0], rtol=1e-6)
    np.testing.assert_allclose(regions.overlap_with(0), [0, 1, 0, 9 / 11], rtol=1e-6)
    np.testing.assert_array_equal(regions.overlap_with(2), 0)


def test_without_truth_or_proposals() -> None:
    empty = regions_of(NOTHING, np.array([[0, 0, 5, 5]]))
    assert empty.true_boxes == 0
    np.testing.assert_array_equal(empty.overlap, [0])
    np.testing.assert_array_equal(empty.nearest, [-1])
    np.testing.assert_array_equal(empty.overlap_with(0), [0])
    assert len(regions_of(TRUTH, np.zeros((0, 4))).boxes) == 2


def many() -> tuple[list[np.ndarray], list[Regions]]:
    """Two pictures; class 0 has one region only, class 1 has many, class 2 has none."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40, 60, 3)).astype(np.uint8) for _ in range(2)]
    corner = rng.uniform(0, 25, (30, 2))
    away = (np.tile(corner, 2) + np.array([12, 3, 22, 12])).clip(0, 40)
    first = regions_of(GroundTruth(np.array([[1, 1, 12, 12]]), np.array([0])), away)
    crowd = np.concatenate([[[30, 20, 50, 35]], 30 + rng.uniform(-2, 2, (20, 4)) + [0, -10, 20, 5]])
    second = regions_of(GroundTruth(crowd[:1], np.array([1])), crowd[1:])
    assert (second.overlap >= 0.5).all() and not (first.overlap[1:] >= 0.5).any()
    return pictures, [first, second]


def batches(batch_size: int = 32, recipe: Recipe = RECIPE) -> RegionBatches:
    return RegionBatches(*many(), 3, recipe, steps=5, batch_size=batch_size)


def make(number: int, seed: int = 0, epoch: int = 0) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.array([number])
    return batches().make(numbers, Draws(seed, epoch, numbers))


def test_a_quarter_of_a_batch_are_objects() -> None:
    x, labels = make(0)
    assert x.shape == (32, 3, 8, 8) and x.dtype == np.float32
    assert (labels != 3).sum() == 8 and (labels == 3).sum() == 24
    assert 2 not in labels


def test_rare_classes_take_their_turn() -> None:
    labels = np.concatenate([make(number)[1] for number in range(20)])
    ones = (labels == 0).sum() / (labels != 3).sum()
    assert ones == pytest.approx(0.5, abs=0.1)


def test_crops_and_labels_belong_together() -> None:
    pictures, regions = many()
    x, labels = make(3)
    for label, source in ((0, 0), (1, 1), (3, 0)):
        crops = to_input(warp_crops(pictures[source], regions[source].boxes, 8, RECIPE.context))
        known = {row.tobytes() for row in crops.numpy()}
        assert all(row.tobytes() in known for row in x[labels == label])


def test_a_batch_depends_on_seed_epoch_and_number_alone() -> None:
    x, labels = make(2, seed=4, epoch=1)
    again = make(2, seed=4, epoch=1)
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(labels, again[1])
    for other in (make(3, 4, 1), make(2, 5, 1), make(2, 4, 2)):
        assert (x != other[0]).any()


def test_prefetching_and_resuming_change_nothing() -> None:
    def loader(prefetch: int) -> DataLoader:
        source = batches()
        return DataLoader(
            source, seed=9, transform=source.make, collate=np.array, prefetch=prefetch
        )

    plain, ahead, late = loader(0), loader(3), loader(2)
    two_epochs = [batch for _ in range(2) for batch in plain]
    assert len(two_epochs) == 10
    late.load_state_dict({"epoch": 1, "position": 2})
    for expected, found in (
        (two_epochs, [batch for _ in range(2) for batch in ahead]),
        (two_epochs[7:], list(late)),
    ):
        for (x, labels), (same_x, same_labels) in zip(expected, found, strict=True):
            np.testing.assert_array_equal(x, same_x)
            np.testing.assert_array_equal(labels, same_labels)


def test_both_kinds_of_region_are_needed() -> None:
    pictures, (first, second) = many()
    with pytest.raises(ValueError, match="21 object regions and 0 background"):
        RegionBatches(pictures[1:], [second], 3, RECIPE, steps=1)
    alone = regions_of(NOTHING, first.boxes)
    with pytest.raises(ValueError, match="0 object regions and 31 background"):
        RegionBatches(pictures[:1], [alone], 3, RECIPE, steps=1)


@pytest.fixture
def letters() -> np.ndarray:
    """Eight crops of the same picture without any symmetry."""
    one = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    return np.tile(one, (8, 1, 1, 1))


def corners(crops: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(int(v) for v in crop[:, :, 0].ravel()) for crop in crops]


COINS = np.array([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)]).T.astype(float)


def test_eight_symmetries_of_the_square(letters: np.ndarray) -> None:
    found = corners(mirror(letters, COINS, "dihedral"))
    # The corner pixels 0 3 / 6 9: all rotations and reflections of them, each once.
    turned = [np.rot90([[0, 3], [6, 9]], k) for k in range(4)]
    expected = {tuple(m.ravel().tolist()) for t in turned for m in (t, t[:, ::-1])}
    assert set(found) == expected and len(set(found)) == 8
    assert found[0] == (0, 3, 6, 9)


def test_left_and_right(letters: np.ndarray) -> None:
    found = corners(mirror(letters, COINS, "horizontal"))
    assert found == [(0, 3, 6, 9), (3, 0, 9, 6)] * 4
    np.testing.assert_array_equal(mirror(letters, COINS, "none"), letters)
    # A mirrored crop keeps its colours: channels stay channels.
    np.testing.assert_array_equal(mirror(letters, COINS, "horizontal")[1, 0, 0], letters[0, 0, 1])


def test_other_pixels_under_the_same_id_have_another_key() -> None:
    first, other = load("scenes", "val", count=1), load("scenes", "val", count=1, seed=1)
    assert first.pictures[0].id == other.pictures[0].id
    assert content_key(first.pictures[0]) == content_key(load("scenes", "val").pictures[0])
    assert content_key(first.pictures[0]) != content_key(other.pictures[0])
