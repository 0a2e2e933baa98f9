"""Sizes, arithmetic and receptive fields against published ones and hand-computed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import core
from benchmarks import networks
from core import functional as F
from core import models, nn
from core.inspect.layer_sizes import multiply_adds
from core.models import DeepConvNet


def fields(model: nn.Module, shape: tuple[int, ...]) -> list[tuple[int, int] | None]:
    return [layer.receptive_field for layer in core.summary(model, shape).layers]


# Parameters and G multiply-adds for a picture, as torchvision's table of models has them.
PUBLISHED = {
    "alexnet": (61_100_840, 0.71),
    "vgg16": (138_357_544, 15.47),
    "resnet18": (11_689_512, 1.81),
    "resnet50": (25_557_032, 4.09),
    "squeezenet1_0": (1_248_424, 0.82),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_large_networks_as_published(name: str) -> None:
    with nn.init.skip_draws():
        model = models.build(name)
    found = core.summary(model, (1, 3, 224, 224))
    parameters, multiply_adds = PUBLISHED[name]
    assert found.parameters == parameters
    assert round(found.flops / 2e9, 2) == multiply_adds
    pools = [layer for layer in found.layers if layer.kind == "MaxPool2d"]
    if name == "vgg16":
        # Araujo et al. 2019: 212 at the last pooling.
        fields = [layer.receptive_field for layer in pools]
        assert fields == [(n, n) for n in (6, 16, 44, 100, 212)]


def test_resnet20_as_published() -> None:
    found = core.summary(networks.resnet20(nn, F), (1, 3, 32, 32))
    # He et al. 2016, table 6: 0.27 M; 41 M multiply-adds, as others count them.
    assert found.parameters == sum(layer.parameters for layer in found.layers) == 269_722
    assert round(found.flops / 2e6) == 41


def test_lenet5_by_hand() -> None:
    """LeCun et al. 1998, section II.B: C3 has 60 kernels of 5x5, and C5 sees the whole picture."""
    found = {layer.name: layer for layer in core.summary(models.LeNet5(), (1, 1, 28, 28)).layers}
    multiply_adds = {name: layer.flops // 2 for name, layer in found.items() if layer.flops}
    assert multiply_adds == {
        "c1": 6 * 28 * 28 * 25,
        "c3": 10 * 10 * 60 * 25,
        "c5": 120 * 16 * 25,
        "f6": 120 * 84,
        "output": 84 * 10,
    }
    seen = {name: found[name].receptive_field for name in ("c1", "s2", "c3", "s4", "c5")}
    assert seen == {name: (n, n) for name, n in zip(seen, (5, 6, 14, 16, 32), strict=True)}
    (twice,) = (x for x in core.summary(models.LeNet5(), (2, 1, 28, 28)).layers if x.name == "c3")
    assert twice.flops == 2 * found["c3"].flops


def test_small_sums_are_in_millions() -> None:
    small = core.summary(nn.Linear(1000, 500), (3, 1000))
    assert "3.000 MFLOP forward, two for each multiply-add (1.500 M multiply-adds)" in str(small)
    large = core.summary(nn.Linear(1000, 500), (1000, 1000))
    assert "1.000 GFLOP forward, two for each multiply-add (0.500 G multiply-adds)" in str(large)


def test_two_3x3_see_what_one_5x5_sees() -> None:
    two = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    one = nn.Sequential(nn.Conv2d(1, 1, 5))
    assert fields(two, (1, 1, 9, 9)) == [(3, 3), (5, 5)]
    assert fields(one, (1, 1, 9, 9)) == [(5, 5)]


def test_fields_with_strides_dilation_and_uneven_kernels() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, (3, 1), stride=2),
        nn.Conv2d(2, 2, 3, dilation=2, padding=2),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 2, 1),
    )
    assert fields(model, (2, 1, 31, 31)) == [(3, 1), (11, 9), (13, 11), (13, 11)]


def test_the_longest_path_counts() -> None:
    branches = nn.Concat(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 5, padding=2))
    shortcut = nn.Residual(nn.Conv2d(2, 2, 3, padding=1))
    after = nn.Conv2d(2, 1, 3)
    assert fields(nn.Sequential(branches, shortcut, after), (1, 1, 9, 9))[-1] == (9, 9)


def test_what_goes_up_again() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 1, 2, stride=2), nn.ConvTranspose2d(1, 1, 4, stride=2, padding=1)
    )
    # A result of the transposed convolution lies under two of its inputs, two pixels each.
    assert fields(model, (1, 1, 8, 8)) == [(2, 2), (4, 4)]
    pooled = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1))
    assert fields(pooled, (1, 1, 8, 8)) == [(3, 3), (8, 8)]


def test_fields_agree_with_the_gradient() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 1, 3, stride=2), nn.MaxPool2d(2, 1), nn.Conv2d(1, 1, 3, dilation=2)
    )
    x = core.tensor(np.random.default_rng(0).random((1, 1, 33, 33)), requires_grad=True)
    for layer in (model[0], model[2]):
        layer.weight.copy_(np.ones(layer.weight.shape, np.float32))
    # The pooling passes one gradient of four: an average sees them all.
    averaged = nn.Sequential(model[0], nn.AvgPool2d(2, 1), model[2]).double()
    averaged(x.double())[0, 0, 4, 4].backward()
    assert x.grad is not None
    touched = np.argwhere(x.grad.numpy()[0, 0])
    extent = tuple(int(n) for n in np.ptp(touched, axis=0) + 1)
    assert fields(model.float(), (1, 1, 33, 33))[-1] == extent


@pytest.mark.parametrize(
    ("module", "shapes", "expected"),
    [
        (nn.Conv2d(4, 6, 3, groups=2), ((1, 4, 5, 5), (1, 6, 3, 3)), 6 * 9 * 2 * 9),
        (nn.Conv1d(4, 6, 3), ((2, 4, 5), (2, 6, 3)), 2 * 6 * 3 * 4 * 3),
        (nn.ConvTranspose2d(4, 6, 2), ((1, 4, 5, 5), (1, 6, 6, 6)), 4 * 25 * 6 * 4),
        (nn.Linear(7, 3), ((2, 5, 7), (2, 5, 3)), 2 * 5 * 7 * 3),
        (nn.LSTM(5, 4), ((6, 2, 5), (6, 2, 4)), 6 * 2 * 4 * (4 * 5 + 4 * 4)),
        (nn.BatchNorm2d(4), ((1, 4, 5, 5), (1, 4, 5, 5)), 0),
    ],
)
def test_multiply_adds(module: nn.Module, shapes: Any, expected: int) -> None:
    assert multiply_adds(module, *shapes) == expected


def test_the_table_and_the_model_afterwards() -> None:
    model = DeepConvNet()
    model.classifier.eval()
    next(model.parameters()).requires_grad_(False)
    found = core.summary(model, (2, 1, 28, 28))
    assert model.training and not model.classifier.training
    assert not any(module._forward_hooks for module in model.modules())
    layer = found.layers[0]
    assert (layer.name, layer.kind, layer.output_shape) == ("features.0", "Conv2d", (2, 16, 28, 28))
    assert (layer.parameters, layer.flops) == (160, 2 * 2 * 16 * 28 * 28 * 9)
    assert layer.activation_bytes == 4 * 2 * 16 * 28 * 28
    assert found.layers[-1].receptive_field is None
    assert (found.parameters, found.trainable) == (123_552, 123_552 - 144)
    text = str(found)
    assert "123,552 parameters, 144 of them frozen" in text
    assert "two for each multiply-add" in text
    assert len(text.splitlines()) == 2 + len(found.layers) + 5


def test_a_layer_called_twice_counts_its_parameters_once() -> None:
    layer = nn.Linear(3, 3)
    found = core.summary(nn.Sequential(layer, nn.ReLU(), layer), (4, 3))
    assert [each.parameters for each in found.layers] == [12, 0, 0]
    assert found.parameters == 12
    assert found.flops == 2 * 2 * 4 * 9


def test_words_as_input() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    found = core.summary(model, (3, 5), dtype=np.int64)
    assert [layer.output_shape for layer in found.layers] == [(3, 5, 4), (3, 5, 2)]


@pytest.mark.parametrize("shape", [(), (0, 3), (1, 2.5), ("a",)])
def test_bad_shapes(shape: Any) -> None:
    with pytest.raises(ValueError, match="expected positive integers"):
        core.summary(nn.Linear(3, 3), shape)


def test_no_such_attribute() -> None:
    with pytest.raises(AttributeError, match="'core' has no attribute 'summery'"):
        core.summery  # noqa: B018
