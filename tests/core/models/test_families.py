"""Every network by name: parameters as published, shapes, memory for a handful."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, models, nn, no_grad, optim
from core import functional as F
from core.models.initialise import he_normal

# As published, or as torchvision counts them where the paper gives no exact number.
PARAMETERS = {
    "two_layer_net": 39_760,
    "deep_mlp": 119_910,
    "simple_convnet": 433_890,
    "deep_convnet": 123_552,
    "mlp": 45_360,
    "lenet5": 60_000,
    "lenet5_modern": 61_706,
    "alexnet": 61_100_840,
    "alexnet_published": 60_965_224,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "googlenet": 13_004_888,
    "googlenet_published": 13_378_280,
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
    "small_resnet": 463_594,
}

# Small forms, quick enough to train: name, size of the pictures, steps of training, learning rate.
SMALL: list[tuple[str, int, int, float, dict[str, Any]]] = [
    ("two_layer_net", 28, 40, 3e-2, {}),
    ("deep_mlp", 28, 20, 3e-3, {}),
    ("deep_mlp", 28, 20, 3e-3, {"activation": "tanh", "batch_norm": True}),
    ("lenet5", 28, 40, 3e-3, {}),
    ("lenet5", 32, 40, 3e-3, {"output": "softmax"}),
    ("lenet5_modern", 28, 40, 3e-3, {}),
    ("small_resnet", 12, 20, 3e-3, {"width": 8}),
    ("alexnet", 63, 30, 5e-4, {"hidden": 32, "dropout": 0.0}),
    ("alexnet_published", 67, 40, 5e-4, {"hidden": 64, "dropout": 0.0}),
    ("vgg11", 32, 40, 3e-3, {"hidden": 16, "dropout": 0.0, "channels": (8, 8, 16, 16, 16)}),
    ("vgg13_bn", 32, 20, 3e-3, {"hidden": 16, "dropout": 0.0, "channels": (8, 8, 16, 16, 16)}),
    ("googlenet", 32, 12, 1e-3, {"aux_logits": False}),
    ("squeezenet1_0", 24, 40, 5e-4, {"dropout": 0.0}),
    ("squeezenet1_1", 24, 40, 5e-4, {"dropout": 0.0}),
    ("resnet18", 32, 20, 3e-3, {"width": 8}),
    ("resnet50", 32, 20, 3e-3, {"width": 8}),
    ("cifar_resnet20", 16, 20, 3e-3, {"width": 8}),
    ("cifar_resnet20", 16, 20, 3e-3, {"width": 8, "shortcut": "B"}),
]


@pytest.mark.parametrize("name", models.NAMES)
def test_as_many_parameters_as_published(name: str) -> None:
    with nn.init.skip_draws():
        assert models.build(name).num_parameters() == PARAMETERS[name]


@pytest.mark.parametrize("name, size, steps, lr, options", SMALL)
def test_a_handful_is_memorised(
    name: str, size: int, steps: int, lr: float, options: dict[str, Any]
) -> None:
    core.seed(0)
    channels = models.input_shape(name)[0]
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, channels, size, size)).astype(np.float32)
    labels = rng.permutation(4)
    model = models.build(name, num_classes=4, image_size=size, **options)
    if isinstance(model, models.SqueezeNet):
        # The ReLU behind the logits lets no gradient through to a class that begins below zero.
        nn.init.ones_(model.get_submodule("classifier.1").bias)  # type: ignore[attr-defined]
    if name == "alexnet_published":
        # From a deviation of 0.01 the loss stays where it is for hundreds of steps.
        he_normal(model)
    optimizer = optim.Adam(model.parameters(), lr=lr)
    for _ in range(steps):
        loss = F.cross_entropy(model(Tensor(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with no_grad():
        assert (model(Tensor(images)).numpy().argmax(axis=1) == labels).all()


@pytest.mark.parametrize("name", ["squeezenet1_1", "googlenet", "resnet18", "cifar_resnet20"])
@pytest.mark.parametrize("channels, size, classes", [(1, 40, 4), (3, 65, 10)])
def test_other_pictures(name: str, channels: int, size: int, classes: int) -> None:
    model = models.build(name, in_channels=channels, image_size=size, num_classes=classes)
    with no_grad():
        x = Tensor(np.zeros((2, channels, size, size), np.float32))
        assert model.eval()(x).shape == (2, classes)


@pytest.mark.parametrize("name", models.NAMES)
def test_settings_are_what_the_class_takes(name: str) -> None:
    known = models.settings(name)
    assert not {"in_channels", "num_classes", "image_size", "depth"} & set(known)
    with pytest.raises(
        ValueError,
        match=f"{name} has no colour to set; it has {known[0]}" if known else "it has nothing",
    ):
        models.build(name, colour=1)
    assert ("width" in known) == ("resnet" in name)


def test_what_a_network_is_published_for() -> None:
    assert models.input_shape("lenet5") == (1, 28, 28)
    assert models.input_shape("cifar_resnet20") == (3, 32, 32)
    assert models.input_shape("resnet18") == (3, 224, 224)


def test_senseless_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="model 'resnet' is unknown; expected one of two"):
        models.build("resnet")
    with pytest.raises(ValueError, match="model '' is unknown"):
        models.input_shape("")
    with pytest.raises(ValueError, match="MLP: activation 'step', expected one of sigmoid, tanh"):
        models.MLP(activation="step")
    with pytest.raises(ValueError, match="VGG: depth 12, expected one of"):
        models.VGG(12)
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


def test_the_layers_of_an_mlp() -> None:
    core.seed(0)
    model = models.MLP(4, (3, 2), activation="relu", batch_norm=True, dropout=0.5)
    hidden = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert [type(layer).__name__ for layer in model.layers] == [*hidden, *hidden, "Linear"]
    two_layer = models.build("two_layer_net").state_dict()
    assert two_layer["layers.0.weight"].std() == pytest.approx(0.01, rel=0.02)
    deep = models.build("deep_mlp").state_dict()
    assert deep["layers.2.weight"].std() == pytest.approx(np.sqrt(2 / 100), rel=0.02)


def test_the_shortcut_without_parameters_takes_every_other_pixel() -> None:
    x = np.random.default_rng(0).random((2, 4, 5, 5)).astype(np.float32)
    y = models.cifar_resnet.PaddedShortcut(4, 8, 2)(Tensor(x)).numpy()
    np.testing.assert_array_equal(y[:, 2:6], x[:, :, ::2, ::2])
    assert not y[:, :2].any() and not y[:, 6:].any()


def test_the_auxiliary_classifiers_of_googlenet() -> None:
    core.seed(0)
    x = Tensor(np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32))
    model = models.build("googlenet", num_classes=5)
    outputs = model(x)
    assert outputs._fields == ("logits", "aux_logits2", "aux_logits1")
    assert [y.shape for y in outputs] == [(2, 5)] * 3
    loss = outputs.cross_entropy(np.array([1, 3]))
    last, second, first = (F.cross_entropy(y, np.array([1, 3])).item() for y in outputs)
    assert loss.item() == pytest.approx(last + 0.3 * (first + second), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval()(x).shape == (2, 5)
    with nn.init.skip_draws():
        plain = models.build("googlenet", aux_logits=False)
        published = models.build("googlenet_published", aux_logits=False)
    assert plain.num_parameters() == 6_624_904
    assert published.num_parameters() == 6_998_552


def test_the_published_googlenet_takes_224_pixels() -> None:
    core.seed(0)
    x = Tensor(np.zeros((1, 3, 224, 224), np.float32))
    with no_grad():
        outputs = models.build("googlenet_published", num_classes=5)(x)
    assert [y.shape for y in outputs] == [(1, 5)] * 3


def test_googlenet_brings_normalised_pictures_to_its_own_range() -> None:
    core.seed(0)
    model = models.build("googlenet", num_classes=2, aux_logits=False, transform_input=True).eval()
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    white = ((1 - mean) / deviation).reshape(1, 3, 1, 1) * np.ones((1, 3, 64, 64))
    seen: list[Tensor] = []
    model.get_submodule("conv1").register_forward_hook(lambda _, args, y: seen.append(args[0]))
    with no_grad():
        model(Tensor(white.astype(np.float32)))
    np.testing.assert_allclose(seen[0].numpy(), 1, rtol=1e-5)


def test_alexnet_starts_as_published() -> None:
    core.seed(0)
    model = models.build("alexnet_published", hidden=8)
    state = model.state_dict()
    assert state["features.0.weight"].std() == pytest.approx(0.01, rel=0.02)
    biases = {name: set(a.tolist()) for name, a in state.items() if name.endswith("bias")}
    ones = ["features.4", "features.10", "features.12", "classifier.0", "classifier.3"]
    assert [name[:-5] for name, found in biases.items() if found == {1.0}] == ones
    assert all(found == {0.0} for name, found in biases.items() if name[:-5] not in ones)
