import numpy as np

from detection.boxes import decode, encode
from detection.regression import BoxRegressor, fit_regressor


def linear(rng: np.random.Generator, count: int = 400) -> tuple[np.ndarray, ...]:
    x = rng.normal(size=(count, 6)).astype(np.float32)
    weight, bias = rng.normal(0, 0.1, (6, 4)), rng.normal(0, 0.1, 4)
    return x, (x @ weight + bias).astype(np.float32), weight, bias


def test_a_linear_map_is_recovered() -> None:
    rng = np.random.default_rng(0)
    x, targets, weight, bias = linear(rng)
    other, more, second, _ = linear(rng)
    found = fit_regressor([x, other], [targets, more], ridge=1e-3)
    np.testing.assert_allclose(found.weight, [weight, second], atol=1e-3)
    np.testing.assert_allclose(found.bias[0], bias, atol=1e-3)


def test_boxes_move_to_the_objects() -> None:
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 50, (300, 2))
    proposals = np.concatenate([corner, corner + rng.uniform(10, 30, (300, 2))], axis=1)
    objects = proposals + np.array([2, -1, 3, 1])
    targets = encode(proposals, objects)
    # Features that hold the answer: what is left is the arithmetic of encoding and moving.
    found = fit_regressor([targets.astype(np.float32)], [targets], ridge=1e-6)
    moved = decode(proposals.astype(np.float32), found.deltas(targets.astype(np.float32))[:, 0])
    np.testing.assert_allclose(moved, objects, atol=0.05)


def test_a_strong_ridge_leaves_the_mean() -> None:
    x, targets, _, _ = linear(np.random.default_rng(2))
    found = fit_regressor([x], [targets], ridge=1e9)
    predicted = x @ found.weight[0] + found.bias[0]
    np.testing.assert_allclose(predicted, np.tile(targets.mean(axis=0), (len(x), 1)), atol=1e-4)


def test_large_targets_do_not_outvote_small_ones() -> None:
    x, targets, _, _ = linear(np.random.default_rng(3))
    scaled = targets * np.array([1, 1, 30, 1], np.float32)
    plain, uneven = (fit_regressor([x], [t], ridge=100.0) for t in (targets, scaled))
    # Shrunk alike although one of them is thirty times as large.
    ratio = uneven.weight[0][:, 2] / plain.weight[0][:, 2]
    np.testing.assert_allclose(ratio, 30, rtol=0.15)


def test_too_few_examples_move_nothing() -> None:
    x, targets, _, _ = linear(np.random.default_rng(4))
    found = fit_regressor([x[:3], x[:0], x], [targets[:3], targets[:0], targets], ridge=1.0)
    deltas = found.deltas(x[:1])[0]
    np.testing.assert_array_equal(deltas[:2], 0)
    assert (deltas[2] != 0).any()


def test_deltas_by_hand() -> None:
    weight = np.zeros((2, 3, 4), np.float32)
    weight[1, 2] = [1, 2, 3, 4]
    bias = np.array([[0, 0, 0, 0], [0.5, 0, 0, 1]], np.float32)
    deltas = BoxRegressor(weight, bias).deltas(np.array([[9, 9, 2], [0, 0, 0]], np.float32))
    expected = np.zeros((2, 2, 4))
    expected[0, 1], expected[1, 1] = [2.5, 4, 6, 9], [0.5, 0, 0, 1]
    np.testing.assert_allclose(deltas, expected)
