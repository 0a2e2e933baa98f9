"""Inner activations by name: values, gradients, how much runs, what is kept."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, models, nn, no_grad
from core.models import features


def small_vgg(**options: Any) -> models.VGG:
    core.seed(0)
    return models.VGG(11, channels=(4, 4, 8, 8, 8), hidden=8, num_classes=3, **options).eval()


def picture(size: int = 32, seed: int = 0) -> Tensor:
    x = np.random.default_rng(seed).standard_normal((2, 3, size, size))
    return Tensor(x.astype(np.float32), requires_grad=True)


def runs_of(model: nn.Module) -> list[str]:
    """The names of the layers without children that ran, from now on."""
    ran: list[str] = []
    for name, layer in model.named_modules():
        if not list(layer.children()):
            layer.register_forward_hook(lambda *_, name=name: ran.append(name))
    return ran


def test_activations_are_those_of_the_layers() -> None:
    model, x = small_vgg(), picture()
    taken = features(model, ["relu2_1", "pool1", "features.8", "classifier.6", ""])(x)
    assert list(taken) == ["relu2_1", "pool1", "features.8", "classifier.6", ""]
    for name, part in (("pool1", 3), ("relu2_1", 5), ("features.8", 9)):
        expected = model.features[:part](x).numpy()
        np.testing.assert_allclose(taken[name].numpy(), expected, rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(taken[""].numpy(), model(x).numpy())
    np.testing.assert_array_equal(taken["classifier.6"].numpy(), taken[""].numpy())


def test_names_that_papers_use() -> None:
    names = small_vgg().layer_names
    assert {n: names[n] for n in ("conv1_1", "relu3_2", "pool5")} == {
        "conv1_1": "features.0",
        "relu3_2": "features.9",
        "pool5": "features.20",
    }
    with_norm = small_vgg(batch_norm=True)
    assert with_norm.layer_names["relu2_1"] == "features.6"
    for model in (small_vgg(), with_norm):
        for name, path in model.layer_names.items():
            kind = {"conv": nn.Conv2d, "bn": nn.BatchNorm2d, "relu": nn.ReLU, "fc": nn.Linear}
            expected = kind.get(name.rstrip("_0123456789"), nn.MaxPool2d)
            assert type(model.get_submodule(path)) is expected, name


def test_gradients_flow_back_from_them() -> None:
    model, x = small_vgg().requires_grad_(False), picture()
    y = features(model, ["relu2_1"])(x)["relu2_1"]
    (y * y).sum().backward()
    assert x.grad is not None
    other = picture()
    z = model.features[:5](other)
    (z * z).sum().backward()
    assert other.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_nothing_behind_the_last_one_runs() -> None:
    model = small_vgg()
    taps = features(model, ["pool1", "relu2_1"])
    ran = runs_of(model)
    taps(picture())
    assert ran == [f"features.{i}" for i in range(5)]


def test_neighbours_still_run_as_one_node() -> None:
    taken = features(small_vgg(), ["relu1_1", "conv2_1"])(picture())
    assert taken["relu1_1"].node.name == "conv2d_relu"
    assert taken["conv2_1"].node.name == "conv2d"


def test_nothing_but_the_taps_is_kept_and_the_model_is_as_before() -> None:
    model, x = small_vgg(), picture()
    alive: list[weakref.ref[Tensor]] = []
    handles = [
        layer.register_output_hook(lambda _, y: alive.append(weakref.ref(y)))
        for layer in model.features
    ]
    gc.collect()
    gc.disable()
    try:
        with no_grad():
            taken = features(model, ["relu1_1", "pool2"])(x)
        kept = [y() for y in alive if y() is not None]
    finally:
        gc.enable()
    assert len(alive) == 6
    assert {id(y) for y in kept} == {id(y) for y in taken.values()}
    for handle in handles:
        handle.remove()
    assert not any(m._output_hooks or m._forward_hooks for m in model.modules())


def test_hooks_go_when_the_model_fails() -> None:
    model = small_vgg()
    with pytest.raises(ValueError, match="5 channels"):
        features(model, ["relu1_1"])(np.zeros((1, 5, 32, 32), np.float32))
    assert not any(m._output_hooks for m in model.modules())


def test_a_layer_that_is_replaced_or_copied_is_seen() -> None:
    model, x = small_vgg(), picture()
    taps = features(model, ["pool1"])
    model.features[2] = nn.AvgPool2d(2)
    expected = model.features[:3](x).numpy()
    np.testing.assert_array_equal(taps(x)["pool1"].numpy(), expected)
    twin = copy.deepcopy(taps)
    nn.init.zeros_(twin.model.get_submodule("features.0").weight)  # type: ignore[attr-defined]
    assert not np.array_equal(twin(x)["pool1"].numpy(), expected)
    np.testing.assert_array_equal(taps(x)["pool1"].numpy(), expected)


def test_a_layer_that_runs_twice_gives_its_first_result() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()
            self.last = nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.relu(self.relu(x) - 1))

    taken = features(Twice(), ["relu", "last"])(Tensor(np.array([3.0])))
    assert taken["relu"].item() == 3
    assert taken["last"].item() == np.tanh(2.0)


def test_networks_of_every_kind_are_seen_into() -> None:
    core.seed(0)
    for name, layers in (
        ("squeezenet1_1", ["features.3.squeeze_activation", "features.6"]),
        ("cifar_resnet20", ["layer1.0.relu1", "layer3"]),
        ("lenet5", ["c1_squash", "f6_squash"]),
        ("deep_convnet", ["features.1", "classifier.1"]),
    ):
        x = np.zeros((1, *(32 if n > 100 else n for n in models.input_shape(name))), np.float32)
        taken = features(models.build(name).eval(), layers)(x)
        assert [y.shape[0] for y in taken.values()] == [1, 1], name


def test_what_cannot_be_taken() -> None:
    model = small_vgg()
    with pytest.raises(ValueError, match="VGG has no layer 'relu9_1'; expected one such as relu"):
        features(model, ["relu1_1", "relu9_1"])
    with pytest.raises(ValueError, match="Linear has no layer 'x'"):
        features(nn.Linear(1, 1), ["x"])
    with pytest.raises(ValueError, match="no names given"):
        features(model, [])
    with pytest.raises(TypeError, match="names is the text 'relu1_1'"):
        features(model, "relu1_1")
    googlenet = models.build("googlenet", num_classes=2).eval()
    with pytest.raises(RuntimeError, match="features: GoogLeNet did not run aux1, aux2"):
        features(googlenet, ["aux1", "conv1", "aux2"])(picture(64))


def test_what_each_makes_is_given_and_the_activation_is_not_kept() -> None:
    kept: list[weakref.ref[Any]] = []

    def mean(name: str, tap: Tensor) -> float:
        kept.append(weakref.ref(tap))
        return float(tap.mean().item())

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sigmoid(), nn.Conv2d(4, 4, 3), nn.Sigmoid())
    x = Tensor(np.random.default_rng(0).random((1, 3, 8, 8), np.float32))
    plain = models.features(net, ["1", "3"])(x)
    made = models.features(net, ["1", "3"], mean)(x)
    assert made == {name: float(tap.mean().item()) for name, tap in plain.items()}
    assert [ref() for ref in kept] == [None, None]
