"""Distances and coverage on cases computed by hand; points of the latent space."""

from __future__ import annotations

import numpy as np
import pytest

from dcgan.artist import noise
from dcgan.latent import arithmetic, slerp, walk
from dcgan.metrics import (
    diversity,
    feature_space,
    features,
    frechet_distance,
    precision_recall,
)


def test_frechet_distance_of_two_normal_distributions() -> None:
    # In one dimension (m1 - m2)^2 + (s1 - s2)^2: means 0 and 3, deviations 1 and 2.
    a, b = np.array([[-1.0], [1.0]]), np.array([[1.0], [5.0]])
    deviations = np.sqrt(2), np.sqrt(8)
    assert frechet_distance(a, b) == pytest.approx(9 + (deviations[0] - deviations[1]) ** 2)
    # Along the axes dimensions add up.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 3))
    x = (x - x.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    scaled = x * [1.0, 2.0, 3.0] + [0.0, 0.0, 1.0]
    assert frechet_distance(x, scaled) == pytest.approx(0 + 1 + 4 + 1)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, scaled) == pytest.approx(frechet_distance(scaled, x))


def test_frechet_distance_is_the_formula_with_matrix_roots() -> None:
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((50, 4)), rng.standard_normal((60, 4)) @ rng.random((4, 4))
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = a.mean(axis=0) - b.mean(axis=0)
    expected = gap @ gap + np.trace(first + second - 2 * np.real(sqrtm(first @ second)))
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_precision_is_of_what_is_made_and_recall_of_what_is_real() -> None:
    real = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    near = np.array([[0.5], [1.5], [1.0], [0.2]])
    # All made points are near real ones; only the left half of the real ones is covered.
    assert precision_recall(real, near, k=1) == pytest.approx((1.0, 3 / 6), abs=0.17)
    precision, recall = precision_recall(real, near, k=1)
    # Radii of the made points to their nearest: 0.3, 0.5, 0.5, 0.3: 1 and 2 are covered, 0 is too.
    assert (precision, recall) == (1.0, 3 / 6)
    far = np.array([[100.0], [101.0], [102.0]])
    assert precision_recall(real, far, k=1) == (0.0, 0.0)
    with pytest.raises(ValueError, match="6 and 3 samples, more than 3"):
        precision_recall(real, far)


def test_diversity_is_the_mean_distance_of_two() -> None:
    pictures = np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 0.0]]])
    # Distances per value sqrt(25 / 2), 0 and sqrt(25 / 2).
    assert diversity(pictures) == pytest.approx(2 / 3 * np.sqrt(25 / 2))
    assert diversity(np.zeros((4, 2, 2))) == 0
    with pytest.raises(ValueError, match="one picture"):
        diversity(np.zeros((1, 2, 2)))


def test_features_are_those_of_the_fixed_networks() -> None:
    rng = np.random.default_rng(0)
    grey = [rng.integers(0, 255, (32, 32)).astype(np.uint8) for _ in range(3)]
    colour = [rng.integers(0, 255, (40, 40, 3)).astype(np.uint8) for _ in range(3)]
    assert features(grey).shape == (3, 50) and features(colour).shape == (3, 256)
    assert (feature_space(1), feature_space(3)) == ("digits", "backbone")
    # A frame that was added is taken off again, so that it changes nothing.
    inner = [np.pad(one[2:-2, 2:-2], 2) for one in grey]
    np.testing.assert_array_equal(features(inner), features([one[2:-2, 2:-2] for one in grey]))


def test_points_on_the_way_keep_their_length() -> None:
    a, b = np.array([2.0, 0.0], np.float32), np.array([0.0, 2.0], np.float32)
    half = slerp(a, b, np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(half, [[2, 0], [np.sqrt(2), np.sqrt(2)], [0, 2]], atol=1e-6)
    longer = slerp(a, 2 * b, np.array([0.5]))
    assert np.linalg.norm(longer) == pytest.approx(3.0)
    np.testing.assert_allclose(slerp(a, 3 * a, np.array([0.5])), [[4, 0]], atol=1e-6)
    points = noise(3, 20, 5)
    tour = walk(points, 4)
    assert tour.shape == (12, 20)
    np.testing.assert_allclose(tour[::4], points, rtol=1e-5)


def test_arithmetic_has_the_length_of_a_point() -> None:
    first, less, more = noise(9, 16, 1).reshape(3, 3, 16)
    point = arithmetic(first, less, more)
    assert np.linalg.norm(point) == pytest.approx(4.0, rel=1e-5)
    plain = first.mean(axis=0) - less.mean(axis=0) + more.mean(axis=0)
    np.testing.assert_allclose(point / 4, plain / np.linalg.norm(plain), rtol=1e-4)


def test_noise_is_a_function_of_its_seed() -> None:
    np.testing.assert_array_equal(noise(4, 5, (1, 2)), noise(4, 5, (1, 2)))
    assert (noise(4, 5, (1, 2)) != noise(4, 5, (1, 3))).any()
    large = noise(2000, 10, 0)
    assert large.mean() == pytest.approx(0, abs=0.03) and large.std() == pytest.approx(1, abs=0.02)
