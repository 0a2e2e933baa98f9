"""Few bits: integer layers against integer arithmetic, signs and their gradient."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import core
from core import Parameter, Tensor, functional, nn, optim
from core.nn.low_precision import BinaryLinear, Int8, Sign, binarise, packed_state, quantise
from core.precision import Options, Row, binary_network, megabytes, table


def test_binarise_gives_signs_and_lets_gradients_through_between_them() -> None:
    x = Parameter(np.array([-2, -1, -0.5, 0, 0.5, 1, 2], np.float32))
    y = binarise(x)
    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    (y * Tensor(np.arange(1, 8, dtype=np.float32))).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_a_binary_layer_multiplies_signs_also_before_a_relu() -> None:
    layer = BinaryLinear(3, 2)
    layer.weight.copy_(np.array([[0.1, -0.2, 0.3], [-0.1, -0.2, 0.9]], np.float32))
    assert layer.bias is not None
    layer.bias.copy_(np.array([0.5, -4], np.float32))
    x = np.array([[1, 2, 4]], np.float32)
    assert layer(x).tolist() == [[3.5, -3]]
    # Sequential joins a linear layer and the ReLU behind it; here it must not.
    assert nn.Sequential(layer, nn.ReLU())(x).tolist() == [[3.5, 0]]


def integers(layer: nn.Conv2d, x: np.ndarray, peak: float) -> np.ndarray:
    """The 8-bit convolution in integers, by loops, no padding."""
    weight = layer.weight.numpy()
    scale = np.abs(weight).max(axis=(1, 2, 3)) / 127
    w = np.rint(weight / scale[:, None, None, None]).astype(int)
    q = np.clip(np.rint(x * 127 / peak), -127, 127).astype(int)
    k = w.shape[2]
    size = x.shape[2] - k + 1
    y = np.empty((len(x), len(w), size, size))
    for i, j in np.ndindex(size, size):
        y[:, :, i, j] = np.einsum("nchw,kchw->nk", q[:, :, i : i + k, j : j + k], w)
    assert layer.bias is not None
    return y * scale[:, None, None] * peak / 127 + layer.bias.numpy()[:, None, None]


def test_int8_convolution_is_integer_arithmetic() -> None:
    core.seed(0)
    layer = nn.Conv2d(3, 5, 3)
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    peak = 2.0  # some inputs are cut
    assert np.abs(x).max() > peak
    found = Int8(layer, peak)(x).numpy()
    np.testing.assert_allclose(found, integers(layer, x, peak), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found, layer(np.clip(x, -peak, peak)).numpy(), atol=0.05)


def test_long_sums_are_exact_too() -> None:
    layer = nn.Linear(4096, 1, bias=False)
    layer.weight.copy_(np.ones((1, 4096), np.float32))
    x = np.ones((1, 4096), np.float32)
    x[0, 0] = -1 / 127
    # 4,095 * 127 * 127 - 127 has more than 24 bits: float32 would drop the last.
    found = Int8(layer, 1.0)(Tensor(x.astype(np.float64))).item()
    assert found == pytest.approx(4095 - 1 / 127, rel=1e-7)


def test_quantise_replaces_every_layer_and_keeps_the_answers() -> None:
    core.seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))
    x = np.random.default_rng(0).random((20, 1, 8, 8)).astype(np.float32)
    small = quantise(copy.deepcopy(model), lambda m: m(Tensor(x)))
    assert [type(layer).__name__ for layer in small] == ["Int8", "ReLU", "Flatten", "Int8"]
    assert small[0].weight.dtype == np.int8
    expected = model.eval()(x).numpy()
    np.testing.assert_allclose(small(x).numpy(), expected, atol=0.03 * np.abs(expected).max())
    with pytest.raises(ValueError, match=r"peak is 0\.0, expected a number > 0"):
        quantise(copy.deepcopy(model), lambda m: None)


@pytest.mark.parametrize("bias", [True, False])
def test_an_integer_layer_keeps_no_other_weights(bias: bool) -> None:
    layer = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=bias)
    state = Int8(layer, 1.0).state_dict()
    expected = {"weight": np.int8, "scale": np.float32} | ({"bias": np.float32} if bias else {})
    assert {name: array.dtype for name, array in state.items()} == expected
    small = Int8(layer, 1.0)
    assert not list(small.modules())[1:] and not list(small.parameters())
    x = np.random.default_rng(0).random((2, 4, 7, 7)).astype(np.float32)
    np.testing.assert_allclose(small(x).numpy(), layer(x).numpy(), atol=0.02)


def test_what_a_network_takes_in_bytes() -> None:
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 4))
    weights, channels = 8 * 9 + 4 * 288, 8 + 4
    assert megabytes(model) == 4e-6 * (weights + channels)
    small = quantise(model, lambda m: m(Tensor(np.ones((1, 1, 8, 8), np.float32))))
    # A scale and a bias for each channel.
    assert megabytes(small) == pytest.approx(1e-6 * (weights + 2 * 4 * channels))
    # 20 signs in 3 bytes, 4 biases.
    assert megabytes(BinaryLinear(5, 4)) == pytest.approx(1e-6 * (3 + 16))
    packed = packed_state(nn.Sequential(BinaryLinear(5, 4)))["0.weight"]
    assert (packed.dtype, packed.shape) == (np.uint8, (3,))


@pytest.mark.parametrize("flag", ["epochs", "batch_size", "hidden"])
def test_senseless_options(flag: str) -> None:
    with pytest.raises(ValueError, match=f"--{flag.replace('_', '-')} is 0; expected 1 or more"):
        Options(**{flag: 0})  # type: ignore[arg-type]


def test_a_network_of_signs_learns_by_heart() -> None:
    core.seed(0)
    rng = np.random.default_rng(0)
    x, labels = rng.random((30, 1, 4, 4)).astype(np.float32), rng.integers(3, size=30)
    model = binary_network(16, 3, hidden=64)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(Tensor(x)), labels).backward()
        optimizer.step()
    assert (model(Tensor(x)).numpy().argmax(axis=1) == labels).mean() > 0.9
    assert isinstance(model[3], Sign)


def test_the_table_has_a_line_for_each_row() -> None:
    text = table([Row("int8", 0.9876, 0.125, 1.5), Row("signs", 0.5, 0.1, 2.0)])
    assert [line.split() for line in text.splitlines()] == [
        ["accuracy", "MB", "seconds"],
        ["int8", "98.76%", "0.125", "1.500"],
        ["signs", "50.00%", "0.100", "2.000"],
    ]
