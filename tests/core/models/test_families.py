"""Every network by name: parameters as published, shapes, memory for a handful."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, models, nn, no_grad, optim
from core import functional as F

# As published, or as torchvision counts them where the paper gives no exact number.
PARAMETERS = {
    "simple_convnet": 433_890,
    "deep_convnet": 123_552,
    "mlp": 45_360,
    "lenet5": 60_000,
    "lenet5_modern": 61_706,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
    "cifar_resnet110": 1_727_962,
}

# Small forms, quick enough to train: the name, the size of the pictures, options.
SMALL: list[tuple[str, int, dict[str, Any]]] = [
    ("lenet5", 28, {}),
    ("lenet5", 32, {"output": "softmax"}),
    ("lenet5_modern", 28, {}),
    ("squeezenet1_0", 24, {"dropout": 0.0}),
    ("squeezenet1_1", 24, {"dropout": 0.0}),
    ("resnet18", 32, {"width": 8}),
    ("resnet50", 32, {"width": 8}),
    ("cifar_resnet20", 16, {"width": 8}),
    ("cifar_resnet20", 16, {"width": 8, "shortcut": "B"}),
]


@pytest.mark.parametrize("name", models.NAMES)
def test_as_many_parameters_as_published(name: str) -> None:
    with nn.init.skip_draws():
        assert models.build(name).num_parameters() == PARAMETERS[name]


@pytest.mark.parametrize("name, size, options", SMALL)
def test_a_handful_is_memorised(name: str, size: int, options: dict[str, Any]) -> None:
    core.seed(0)
    channels = 1 if name.startswith("lenet") else 3
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, channels, size, size)).astype(np.float32)
    labels = rng.permutation(4)
    model = models.build(name, num_classes=4, in_channels=channels, image_size=size, **options)
    lr = 3e-3
    if isinstance(model, models.SqueezeNet):
        # The ReLU behind the logits lets no gradient through to a class that begins below zero.
        nn.init.ones_(model.get_submodule("classifier.1").bias)  # type: ignore[attr-defined]
        lr = 5e-4
    optimizer = optim.Adam(model.parameters(), lr=lr)
    for _ in range(40):
        loss = F.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with no_grad():
        assert (model(Tensor(images)).numpy().argmax(axis=1) == labels).all()


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "cifar_resnet20"])
@pytest.mark.parametrize("channels, size, classes", [(1, 40, 4), (3, 65, 10)])
def test_other_pictures(name: str, channels: int, size: int, classes: int) -> None:
    model = models.build(name, in_channels=channels, image_size=size, num_classes=classes)
    with no_grad():
        x = Tensor(np.zeros((2, channels, size, size), np.float32))
        assert model.eval()(x).shape == (2, classes)


def test_what_a_network_is_published_for() -> None:
    assert models.input_shape("lenet5") == (1, 28, 28)
    assert models.input_shape("cifar_resnet20") == (3, 32, 32)
    assert models.input_shape("resnet18") == (3, 224, 224)


def test_senseless_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="model 'resnet' is unknown; expected one of simple"):
        models.build("resnet")
    with pytest.raises(ValueError, match="model '' is unknown"):
        models.input_shape("")
    with pytest.raises(ValueError, match="ResNet: depth 20, expected one of"):
        models.ResNet(20)
    with pytest.raises(ValueError, match="CifarResNet: depth 18, expected 6 n"):
        models.CifarResNet(18)
    with pytest.raises(ValueError, match="shortcut 'C', expected 'A' or 'B'"):
        models.CifarResNet(20, shortcut="C")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="SqueezeNet: version '2', expected '1_0' or '1_1'"):
        models.SqueezeNet("2")  # type: ignore[arg-type]


def test_deep_networks_start_as_he_et_al_draw_them() -> None:
    core.seed(0)
    weight = models.build("cifar_resnet20").state_dict()["layer3.1.conv1.weight"]
    assert weight.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.02)


def test_the_shortcut_without_parameters_takes_every_other_pixel() -> None:
    x = np.random.default_rng(0).random((2, 4, 5, 5)).astype(np.float32)
    y = models.cifar_resnet.PaddedShortcut(4, 8, 2)(Tensor(x)).numpy()
    np.testing.assert_array_equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any() and not y[:, 6:].any()
