from pathlib import Path

import numpy as np
import pytest

import core
from core.data.cache import ArrayCache
from detection import fit
from detection.boxes import encode
from detection.data import DetectionData, ScenePicture, load
from detection.fit import Prepared, fit_heads, prepare
from detection.metrics import GroundTruth
from detection.network import RegionNet
from detection.recipe import Recipe
from detection.regions import content_key, regions_of

RECIPE = Recipe(crop=16, width=8)
TRUTHS = [
    GroundTruth(np.array([[0, 0, 20, 20]]), np.array([0])),
    GroundTruth(np.array([[10, 10, 30, 30], [40, 0, 60, 20]]), np.array([1, 0])),
    GroundTruth(np.zeros((0, 4)), np.zeros(0, int)),
]
PROPOSALS = [
    # IoU with the truth: 0.75, 0.5, and nothing.
    np.array([[0, 0, 20, 15], [0, 0, 20, 10], [40, 30, 50, 39]]),
    # 0.9 with the 1; a quarter of the 0; nothing.
    np.array([[10, 10, 30, 28], [40, 0, 45, 20], [0, 30, 9, 39]]),
    np.array([[5, 5, 25, 25]]),
]


def prepared() -> Prepared:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (40, 60, 3)).astype(np.uint8) for _ in TRUTHS]
    regions = [regions_of(t, p) for t, p in zip(TRUTHS, PROPOSALS, strict=True)]
    return Prepared(["a", "b", "c"], pictures, regions)


def network() -> RegionNet:
    core.seed(0)
    return RegionNet(2, RECIPE.crop, RECIPE.width)


def test_pictures_and_regions_are_prepared() -> None:
    data = load("scenes", "val", count=2)
    found = prepare(data, [np.array([[0, 0, 9, 9]], np.float32), np.zeros((0, 4), np.float32)])
    assert found.keys == [content_key(picture) for picture in data.pictures]
    assert found.keys[0].startswith("val-00000-") and len(set(found.keys)) == 2
    picture = data.pictures[1]
    assert isinstance(picture, ScenePicture)
    np.testing.assert_array_equal(found.pictures[1], picture.scene.picture)
    assert len(found.regions[0].boxes) == 1 + len(data.pictures[0].truth().boxes)
    with pytest.raises(ValueError, match="zip"):
        prepare(data, [])


def test_rows_of_the_svms() -> None:
    # Rows: a = 0 (truth), 1, 2, 3; b = 4, 5 (truth), 6, 7, 8; c = 9.
    positives, negatives = fit._svm_rows(prepared().regions, 2)
    assert [rows.tolist() for rows in positives] == [[0, 5], [4]]
    assert [rows.tolist() for rows in negatives] == [[3, 6, 7, 8, 9], [1, 2, 3, 7, 8, 9]]


def test_near_proposals_teach_the_regressors() -> None:
    rows = fit._teachers(prepared().regions, 2, seed=0)
    assert [r.tolist() for r in rows] == [[1], [2], []]


def test_no_class_has_too_many_teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "MAX_TEACHERS", 300)
    near = np.tile([[0, 0, 20, 18]], (2000, 1))
    regions = [regions_of(TRUTHS[0], near), regions_of(TRUTHS[1], PROPOSALS[1])]
    crowd, few = fit._teachers(regions, 2, seed=0)
    assert 250 < len(crowd) < 350
    assert few.tolist() == [2]
    assert (fit._teachers(regions, 2, seed=0)[0] == crowd).all()


def test_heads_are_fitted_to_the_right_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list] = {}

    def regressor(pooled: list, targets: list) -> str:
        seen.update(pooled=pooled, targets=targets)
        return "regressor"

    monkeypatch.setattr(fit, "fit_regressor", regressor)
    machines, moved = fit_heads(network(), prepared(), RECIPE, 2)
    assert moved == "regressor" and machines.weight.shape == (8, 2)
    assert [len(t) for t in seen["targets"]] == [1, 1]
    expected = encode(PROPOSALS[0][:1], TRUTHS[0].boxes)
    np.testing.assert_allclose(seen["targets"][0], expected, rtol=1e-5)
    assert [p.shape for p in seen["pooled"]] == [(1, 96 * 4), (1, 96 * 4)]


def test_the_cache_changes_nothing_and_saves_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ArrayCache(tmp_path, {})
    plain = fit_heads(network(), prepared(), RECIPE, 2)
    filled = fit_heads(network(), prepared(), RECIPE, 2, cache=cache)
    # One array of another data set under a key of this one: it is made again.
    second, third = sorted(path.name for path in tmp_path.glob("*/*-features.npz"))[1:]
    cache.put(second.removesuffix(".npz"), np.zeros((3, 8), np.float32))
    cache.path(third.replace("features.npz", "pooled")).write_bytes(b"broken")
    mended = fit_heads(network(), prepared(), RECIPE, 2, cache=cache)
    monkeypatch.setattr(fit, "describe", None)
    read = fit_heads(network(), prepared(), RECIPE, 2, cache=cache)
    for machines, regressor in (filled, mended, read):
        np.testing.assert_array_equal(machines.weight, plain[0].weight)
        np.testing.assert_array_equal(regressor.weight, plain[1].weight)


def test_features_of_boxes_that_moved_are_made_again(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path, {})
    fit_heads(network(), prepared(), RECIPE, 2, cache=cache)
    moved = [
        regions_of(t, p + np.array([1, 2, 0, 0])) for t, p in zip(TRUTHS, PROPOSALS, strict=True)
    ]
    same = Prepared(prepared().keys, prepared().pictures, moved)
    (plain, _), (found, _) = (fit_heads(network(), same, RECIPE, 2, cache=c) for c in (None, cache))
    np.testing.assert_array_equal(found.weight, plain.weight)


def test_a_picture_without_any_region_is_no_obstacle() -> None:
    whole = prepared()
    nothing = regions_of(TRUTHS[2], np.zeros((0, 4)))
    pictures = [*whole.pictures, np.zeros((4, 4, 3), np.uint8)]
    more = Prepared([*whole.keys, "d"], pictures, [*whole.regions, nothing])
    one, other = (fit_heads(network(), p, RECIPE, 2)[0] for p in (whole, more))
    np.testing.assert_array_equal(one.weight, other.weight)


def test_data_is_not_needed_for_truth() -> None:
    data = DetectionData("toys", "train", ("cat",), load("scenes", "val", count=1).pictures)
    assert len(data.truth()) == 1
