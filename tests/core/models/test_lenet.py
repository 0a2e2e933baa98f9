"""LeNet-5 as published, part by part against the paper's tables."""

from __future__ import annotations

import numpy as np
import pytest

import core
from core import Tensor, models
from core import functional as F
from core.models.lenet import RadialBasis, Range, SparseConv2d, Squash, Subsampling, digit_codes


def test_the_papers_numbers_of_parameters() -> None:
    """LeCun et al. 1998, section II.B, layer by layer."""
    model = models.LeNet5()
    counted = {name: layer.num_parameters() for name, layer in model.named_children()}
    expected = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert {name: count for name, count in counted.items() if count} == expected


def test_every_map_of_c3_sees_what_table_1_says() -> None:
    table = models.LeNet5().c3.places.numpy() < 60
    assert table.sum(axis=1).tolist() == [3] * 6 + [4] * 9 + [6]
    assert table.sum(axis=0).tolist() == [10] * 6
    # The first six take neighbours, the next six four neighbours, then three with a gap.
    for row in range(6):
        assert set(np.flatnonzero(table[row])) == {(row + i) % 6 for i in range(3)}
        assert set(np.flatnonzero(table[row + 6])) == {(row + i) % 6 for i in range(4)}
    for row, seen in zip((12, 13, 14), ({0, 1, 3, 4}, {1, 2, 4, 5}, {0, 2, 3, 5}), strict=True):
        assert set(np.flatnonzero(table[row])) == seen


def test_a_sparse_convolution_is_a_dense_one_with_zeros() -> None:
    rng = np.random.default_rng(0)
    table = np.array([[1, 0, 1], [0, 1, 0]], bool)
    layer = SparseConv2d(table, 3)
    layer.weight.copy_(rng.standard_normal((3, 3, 3)))
    layer.bias.copy_(rng.standard_normal(2))
    weight = np.zeros((2, 3, 3, 3), np.float32)
    weight[table] = layer.weight.numpy()
    dense = Tensor(weight, requires_grad=True)
    x = rng.standard_normal((2, 3, 5, 6)).astype(np.float32)
    y, expected = layer(Tensor(x)), F.conv2d(x, dense, layer.bias.numpy())
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    assert layer.weight.grad is not None and dense.grad is not None
    np.testing.assert_allclose(
        layer.weight.grad.numpy(), dense.grad.numpy()[table], rtol=1e-4, atol=1e-4
    )
    assert layer.fan_in().ravel().tolist() == [18, 18, 9]


def test_subsampling_and_squashing() -> None:
    layer = Subsampling(2)
    layer.weight.copy_(np.array([0.5, 2]).reshape(2, 1, 1))
    layer.bias.copy_(np.array([1, -1]).reshape(2, 1, 1))
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    y = layer(Tensor(x)).numpy()
    assert y[0, 0, 0, 0] == 0.5 * (0 + 1 + 4 + 5) + 1
    assert y[0, 1, 1, 1] == 2 * (26 + 27 + 30 + 31) - 1
    squashed = Squash()(Tensor(np.array([-1.0, 0, 1]))).numpy()
    np.testing.assert_allclose(squashed, [-1, 0, 1], atol=1e-4)


def test_distances_to_codes() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 84))
    with core.default_dtype("float64"):
        y = RadialBasis(digit_codes())(Tensor(x)).numpy()
    expected = -((x[:, None] - digit_codes()) ** 2).sum(axis=2)
    np.testing.assert_allclose(y, expected, rtol=1e-12)


def test_the_digits_are_pictures_of_12_rows_that_differ() -> None:
    codes = digit_codes()
    assert codes.shape == (10, 84)
    assert set(np.unique(codes)) == {-1, 1}
    apart = (codes[:, None] != codes).sum(axis=2)
    assert apart[~np.eye(10, dtype=bool)].min() >= 4


def test_every_parameter_learns_and_the_codes_do_not() -> None:
    model = models.LeNet5()
    assert "codes" not in dict(model.named_parameters())
    x = Tensor(np.random.default_rng(0).random((2, 1, 28, 28)).astype(np.float32))
    F.cross_entropy(model(x), np.array([3, 7])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.numpy().any(), name


def test_input_and_first_weights_are_the_papers() -> None:
    core.seed(0)
    y = Range(2)(Tensor(np.array([[[[0.0, 1.0]]]]))).numpy()
    assert y.shape == (1, 1, 5, 6)
    np.testing.assert_allclose([y.min(), y.max()], [-0.1, 1.175])
    model = models.LeNet5()
    assert abs(model.f6.weight.numpy()).max() == pytest.approx(2.4 / 120, rel=0.01)
    bounds = 2.4 / model.c3.fan_in()
    assert (abs(model.c3.weight.numpy()) <= bounds).all()
    assert (abs(model.c3.weight.numpy()) / bounds).max() > 0.99


def test_what_it_cannot_be_made_for() -> None:
    with pytest.raises(ValueError, match="LeNet5: pictures of 30 pixels, expected 28 or 32"):
        models.LeNet5(image_size=30)
    with pytest.raises(ValueError, match="output 'rbf' for 11 classes, expected 'rbf' for 10"):
        models.LeNet5(num_classes=11)
    with pytest.raises(ValueError, match="output 'linear' for 10 classes"):
        models.LeNet5(output="linear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ModernLeNet5: pictures of 11 pixels"):
        models.ModernLeNet5(image_size=11)
