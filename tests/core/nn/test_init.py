"""Initialisers: moments, bounds, fans, generators, interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import core
from core import functional as F
from core import nn
from core.nn import init
from core.tensor import Parameter, Tensor

SHAPE = (64, 32, 3, 3)
FAN_IN, FAN_OUT = 32 * 9, 64 * 9
DEVIATIONS: list[tuple[Callable[[Tensor], Tensor], float, bool]] = [
    (lambda w: init.kaiming_normal_(w, nonlinearity="relu"), math.sqrt(2 / FAN_IN), False),
    (lambda w: init.kaiming_normal_(w, mode="fan_out"), math.sqrt(2 / FAN_OUT), False),
    (
        lambda w: init.kaiming_normal_(w, nonlinearity="relu", transposed=True),
        math.sqrt(2 / FAN_OUT),
        False,
    ),
    (lambda w: init.kaiming_uniform_(w, a=math.sqrt(5)), math.sqrt(1 / 3 / FAN_IN), True),
    (lambda w: init.kaiming_uniform_(w, nonlinearity="linear"), math.sqrt(1 / FAN_IN), True),
    (lambda w: init.xavier_normal_(w), math.sqrt(2 / (FAN_IN + FAN_OUT)), False),
    (lambda w: init.xavier_uniform_(w, gain=2), 2 * math.sqrt(2 / (FAN_IN + FAN_OUT)), True),
    (lambda w: init.normal_(w, 0.0, 0.3), 0.3, False),
    (lambda w: init.uniform_(w, -0.5, 0.5), math.sqrt(1 / 12), True),
]


@pytest.mark.parametrize(("fill", "deviation", "bounded"), DEVIATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments(
    fill: Callable[[Tensor], Tensor], deviation: float, bounded: bool, dtype: str
) -> None:
    core.seed(1)
    weight = Parameter(np.zeros(SHAPE, dtype))
    assert fill(weight) is weight
    values = weight.numpy()
    assert weight.dtype == dtype
    assert abs(values.mean()) < 0.02 * deviation
    assert abs(values.std() / deviation - 1) < 0.02
    # A uniform variable ends at sqrt(3) deviations; a normal one does not.
    assert (abs(values).max() <= math.sqrt(3) * deviation * (1 + 1e-6)) == bounded


def test_values_do_not_depend_on_the_memory_order() -> None:
    layer, plain = nn.Conv2d(3, 5, 3), Parameter(np.zeros((5, 3, 3, 3), np.float32))
    strides = layer.weight.data.strides
    init.normal_(layer.weight, generator=np.random.default_rng(4))
    init.normal_(plain, generator=np.random.default_rng(4))
    np.testing.assert_array_equal(layer.weight.numpy(), plain.numpy())
    assert layer.weight.data.strides == strides != plain.data.strides


def test_a_generator_leaves_the_cores_alone() -> None:
    core.seed(5)
    before = core.device.random.state_dict()
    init.uniform_(Tensor(np.zeros(3)), generator=np.random.default_rng(0))
    assert core.device.random.state_dict() == before
    init.uniform_(Tensor(np.zeros(3)))
    assert core.device.random.state_dict() != before


def test_constants() -> None:
    w = Parameter(np.zeros((2, 2), np.float32))
    assert init.ones_(w).tolist() == [[1, 1], [1, 1]]
    assert init.constant_(w, 0.5).tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert init.zeros_(w).tolist() == [[0, 0], [0, 0]]
    assert w.version == 3


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (4, 3, 2, 2)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = init.orthogonal_(Tensor(np.zeros(shape)), gain=2).numpy().reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize(("k", "stride"), [(4, 2), (16, 8), (3, 2), (5, 3)])
@pytest.mark.parametrize("grouped", [False, True])
def test_bilinear_interpolates(k: int, stride: int, grouped: bool) -> None:
    groups = 3 if grouped else 1
    padding = -(-(k - stride) // 2)
    layer = nn.ConvTranspose2d(3, 3, k, stride, padding, groups=groups, bias=False)
    init.bilinear_(layer.weight)
    x = np.random.default_rng(0).random((1, 3, 6, 5)).astype(np.float32)
    y = layer(x).numpy()
    # Where in the input each output row or column lies.
    centre = (k - 1) / 2
    points = (np.arange(max(y.shape)) - centre + padding) / stride
    column = next(j for j, p in enumerate(points) if p >= 1)
    c, part = int(points[column]), points[column] % 1
    rows = [(i, p) for i, p in enumerate(points) if 0 <= p < 5]
    assert len(rows) >= 4 * stride
    for i, p in rows:
        low, f = int(p), p % 1
        row = (1 - f) * x[:, :, low] + f * x[:, :, low + 1]
        expected = (1 - part) * row[..., c] + part * row[..., c + 1]
        np.testing.assert_allclose(y[:, :, i, column], expected, rtol=1e-5)


def test_a_constant_picture_stays_constant_inside() -> None:
    weight = init.bilinear_(Parameter(np.zeros((2, 2, 4, 4))))
    y = F.conv_transpose2d(Tensor(np.ones((1, 2, 4, 4))), weight, stride=2, padding=1)
    np.testing.assert_allclose(y.numpy()[:, :, 1:-1, 1:-1], 1)


def test_mistakes_are_named() -> None:
    w = Tensor(np.zeros((2, 3, 4, 4)))
    with pytest.raises(ValueError, match=r"weight has shape \(3,\), expected at least two axes"):
        init.kaiming_normal_(Tensor(np.zeros(3)))
    with pytest.raises(ValueError, match="mode 'fan_avg'"):
        init.kaiming_normal_(w, mode="fan_avg")
    with pytest.raises(ValueError, match="'swish' is unknown"):
        init.kaiming_normal_(w, nonlinearity="swish")
    with pytest.raises(ValueError, match=r"bilinear_: weight has shape \(2, 3, 4, 4\)"):
        init.bilinear_(w)
    with pytest.raises(ValueError, match="expected two axes or more"):
        init.orthogonal_(Tensor(np.zeros(3)))


@pytest.mark.peer
@pytest.mark.parametrize(
    ("name", "param"), [("relu", None), ("tanh", None), ("leaky_relu", 0.2), ("conv2d", None)]
)
def test_gains_are_pytorchs(name: str, param: float | None) -> None:
    torch = pytest.importorskip("torch")
    expected = torch.nn.init.calculate_gain(name, param)
    assert init.calculate_gain(name, param) == pytest.approx(expected)


def test_draws_can_be_skipped() -> None:
    core.seed(0)
    before = core.device.random.host.bit_generator.state
    with init.skip_draws():
        layer, norm = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
        init.orthogonal_(layer.weight)
        init.kaiming_normal_(layer.weight)
    assert not layer.weight.numpy().any()
    np.testing.assert_array_equal(norm.state_dict()["weight"], 1)
    assert core.device.random.host.bit_generator.state == before
    assert nn.Conv2d(2, 3, 3).weight.numpy().all()
