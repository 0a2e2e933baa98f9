"""The two networks: shapes, published sizes, first weights, spectral norms, losses."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import core
from benchmarks import networks as twins
from core import Tensor, nn
from core import functional as F
from core.gradient_check import gradient_check
from dcgan.losses import discriminator_loss, generator_loss
from dcgan.networks import Discriminator, Generator
from dcgan.spectral import SpectralConv2d


def random(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(0).standard_normal(shape, np.float32))


def test_parameters_are_those_of_the_published_networks() -> None:
    generator, discriminator = Generator(), Discriminator()
    # Kernels of 4x4 between 100, 512, 256, 128, 64 and 3 channels; two numbers a channel in norms.
    sides = [100, 512, 256, 128, 64, 3]
    kernels = sum(16 * a * b for a, b in itertools.pairwise(sides))
    assert generator.num_parameters() == kernels + 2 * (512 + 256 + 128 + 64) == 3_576_704
    sides = [3, 64, 128, 256, 512, 1]
    kernels = sum(16 * a * b for a, b in itertools.pairwise(sides))
    assert discriminator.num_parameters() == kernels + 2 * (128 + 256 + 512) == 2_765_568
    # The same layers in the same order as the networks that are timed beside PyTorch's.
    for own, twin in ((generator, twins.generator(nn)), (discriminator, twins.discriminator(nn))):
        shapes = [[p.shape for p in one.parameters()] for one in (own, twin)]
        assert shapes[0] == shapes[1]


@pytest.mark.parametrize("size, channels", [(8, 1), (32, 3), (64, 1), (128, 3)])
def test_any_power_of_two_grey_or_colour(size: int, channels: int) -> None:
    core.seed(0)
    generator = Generator(size=size, channels=channels, width=2, latent=5)
    made = generator(random(3, 5))
    assert made.shape == (3, channels, size, size)
    assert np.abs(made.numpy()).max() <= 1
    discriminator = Discriminator(size=size, channels=channels, width=2)
    assert discriminator(made).shape == (3, 1)
    sides = [one.shape[2] for one in discriminator.maps(made)]
    assert sides == [size // 2**level for level in range(1, size.bit_length() - 2)]


def test_first_weights_and_batch_norm_except_at_the_edges() -> None:
    core.seed(0)
    generator, discriminator = Generator(), Discriminator()
    for network in (generator, discriminator):
        kernels = np.concatenate([p.numpy().ravel() for p in network.parameters() if p.ndim == 4])
        assert kernels.mean() == pytest.approx(0, abs=1e-4)
        assert kernels.std() == pytest.approx(0.02, rel=0.01)
    kinds = [type(layer).__name__ for layer in generator.layers]
    assert kinds == [*["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 4, "ConvTranspose2d", "Tanh"]
    kinds = [type(layer).__name__ for layer in discriminator.layers]
    assert kinds == ["Conv2d", "LeakyReLU", *["Conv2d", "BatchNorm2d", "LeakyReLU"] * 3]
    leaky = [layer for layer in discriminator.layers if isinstance(layer, nn.LeakyReLU)]
    assert {layer.negative_slope for layer in leaky} == {0.2}


def test_a_class_changes_what_is_drawn_and_what_is_thought_of_it() -> None:
    core.seed(0)
    generator = Generator(size=8, channels=1, width=4, latent=5, classes=3).eval()
    discriminator = Discriminator(size=8, channels=1, width=4, classes=3).eval()
    noise = random(2, 5)
    zeros, ones = np.array([0, 0]), np.array([1, 1])
    made = [generator(noise, labels).numpy() for labels in (zeros, ones)]
    assert np.abs(made[0] - made[1]).max() > 1e-3
    seen = [discriminator(Tensor(made[0]), labels).numpy() for labels in (zeros, ones)]
    assert np.abs(seen[0] - seen[1]).max() > 1e-6
    with pytest.raises(ValueError, match="labels: none for 2 samples of a class-conditional"):
        generator(noise)
    with pytest.raises(ValueError, match="labels: 3 for 2 samples"):
        generator(noise, np.zeros(3, int))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"size": 48}, "size is 48, expected a power of two from 8 to 256"),
        ({"size": 4}, "size is 4"),
        ({"size": 512}, "size is 512"),
        ({"width": 0}, "width is 0, expected 1 to 512"),
        ({"channels": 10**9}, "channels is 1000000000, expected 1 to 4"),
        ({"latent": True}, "latent is True"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Generator(**options)


def test_spectral_normalisation_finds_the_largest_singular_value() -> None:
    core.seed(0)
    layer = SpectralConv2d(3, 6, 4, 2, 1)
    layer.weight.copy_(np.random.default_rng(1).standard_normal(layer.weight.shape))
    for _ in range(100):
        normalised = layer.normalised()
    rows = layer.weight.numpy().reshape(6, -1)
    largest = np.linalg.svd(rows, compute_uv=False)[0]
    np.testing.assert_allclose(normalised.numpy(), layer.weight.numpy() / largest, rtol=1e-4)
    layer.eval()
    before = layer.u.numpy().copy()
    layer.normalised()
    np.testing.assert_array_equal(layer.u.numpy(), before)
    assert "u" in layer.state_dict()


def test_gradients_flow_through_the_singular_value() -> None:
    core.seed(0)
    with core.default_dtype("float64"):
        layer = SpectralConv2d(2, 3, 3, bias=False).eval()
    u = np.random.default_rng(2).standard_normal(3)
    layer.u = Tensor(u / np.linalg.norm(u))
    x = Tensor(np.random.default_rng(3).standard_normal((2, 2, 5, 5)))
    v = layer.weight.numpy().reshape(3, -1).T @ layer.u.numpy()
    v /= np.linalg.norm(v)

    def normalised(weight: Tensor) -> Tensor:
        # u and v are constants, as in the paper's equation 12.
        value = F.sum(Tensor(layer.u.numpy()) * (weight.reshape(3, -1) @ Tensor(v)))
        return F.conv2d(x, weight / value)

    gradient_check(normalised, layer.weight)
    ours = core.grad(F.sum(layer(x) ** 2), [layer.weight])[0].numpy()
    expected = core.grad(F.sum(normalised(layer.weight) ** 2), [layer.weight])[0].numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_losses_by_hand() -> None:
    real, made = Tensor(np.array([[2.0], [0.0]])), Tensor(np.array([[-1.0], [1.0]]))

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    # -log sigmoid(x) = softplus(-x); -log(1 - sigmoid(x)) = softplus(x).
    on_real = (softplus(-2) + softplus(0)) / 2
    on_made = (softplus(-1) + softplus(1)) / 2
    plain = discriminator_loss("bce", real, made)
    assert plain.item() == pytest.approx(on_real + on_made)
    # A target of 0.9: a tenth of each real picture counts as made.
    smooth = 0.9 * on_real + 0.1 * (softplus(2) + softplus(0)) / 2 + on_made
    assert discriminator_loss("bce", real, made, 0.1).item() == pytest.approx(smooth)
    assert generator_loss("bce", made).item() == pytest.approx((softplus(1) + softplus(-1)) / 2)
    # max(0, 1 - x): 0 and 1; max(0, 1 + x): 0 and 2.
    assert discriminator_loss("hinge", real, made).item() == pytest.approx(0.5 + 1.0)
    assert generator_loss("hinge", made).item() == pytest.approx(0.0)
