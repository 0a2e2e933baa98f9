"""The networks that look: their recipes, poolings, and normalised filters."""

from pathlib import Path

import numpy as np
import pytest

import core
from core import models, nn
from core.models.published import Pretrained
from style_transfer import network as module
from style_transfer.network import FAST_RECIPES, RECIPES, Network, load, normalise_activations
from style_transfer.objective import tensor_of
from tests.style_transfer.conftest import floats


def tensor(seed: int = 0) -> core.Tensor:
    return tensor_of(floats(seed, 60, 48))


def test_a_loaded_network_is_frozen_and_has_no_classifier(network: Network) -> None:
    assert network.name == "backbone" and network.recipe is RECIPES["backbone"]
    assert not any(p.requires_grad for p in network.model.parameters())
    assert [n for n, _ in network.model.named_parameters() if "classifier" in n] == []


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_names_layers_that_exist(name: str) -> None:
    with nn.init.skip_draws():
        model = models.build(name) if name in models.NAMES else models.backbone.Backbone()
    for recipe in (RECIPES[name], FAST_RECIPES[name]):
        models.features(model, [*recipe.content, *recipe.style])
        assert sum(recipe.content.values()) == pytest.approx(1)
        assert sum(recipe.style.values()) == pytest.approx(1)


def test_average_pooling(weights: Path) -> None:
    found = load("backbone", weights, pooling="average").model
    kinds = [type(layer) for layer in found.modules()]
    assert nn.MaxPool2d not in kinds and kinds.count(nn.AvgPool2d) == 4
    x = core.Tensor(np.arange(4.0, dtype=np.float32).reshape(1, 1, 2, 2))
    pool = next(layer for layer in found.modules() if isinstance(layer, nn.AvgPool2d))
    assert pool(x).item() == 1.5


def test_normalised_filters_fire_once_on_average(network: Network) -> None:
    names = [f"features.{n}" for n in (1, 8, 23)]
    before = network.features(tensor(), names)
    normalise_activations(network, [tensor(), tensor(1)])
    after = network.features(tensor(), names)
    other = network.features(tensor(1), names)
    for name in names:
        mean = (after[name].numpy().mean((2, 3)) + other[name].numpy().mean((2, 3))) / 2
        alive = before[name].numpy().max((0, 2, 3)) > 1e-3
        np.testing.assert_allclose(mean[0][alive], 1, rtol=1e-3)
        ratio = before[name].numpy()[:, alive] / np.maximum(after[name].numpy()[:, alive], 1e-9)
        fires = after[name].numpy()[:, alive] > 1e-2
        for channel, on in zip(ratio[0], fires[0], strict=True):
            # The same features, each in a unit of its own.
            assert np.ptp(channel[on]) < 1e-3 * channel[on].max()


def test_only_chains_can_be_normalised(network: Network) -> None:
    fire = Network("squeezenet1_0", models.build("squeezenet1_0"), network.mean, network.std)
    with pytest.raises(ValueError, match="squeezenet1_0 is no chain of convolutions"):
        normalise_activations(fire, [tensor()])


def test_what_cannot_look(tmp_path: Path, network: Network) -> None:
    with pytest.raises(FileNotFoundError, match="no such weights"):
        load("backbone", tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="takes 1 channels, expected RGB"):
        Network("digits", network.model, (0.0,), (1.0,))
    with pytest.raises(ValueError, match="backbone cannot see a picture of 5x4 pixels"):
        network.features(core.Tensor(np.zeros((1, 3, 4, 5), np.float32)), ["features.23"])


@pytest.mark.data
def test_squeezenet_with_published_weights(data_root: Path) -> None:
    found = load("squeezenet1_0", data_root=data_root)
    recipe = RECIPES["squeezenet1_0"]
    taps = found.features(tensor(), recipe.style)
    assert all(np.isfinite(tap.numpy()).all() for tap in taps.values())
    assert module.RECIPES[found.name] is recipe
    assert isinstance(models.pretrained("squeezenet1_0", data_root=data_root), Pretrained)


def test_recomputed_features_keep_the_named_layers_only(network: Network) -> None:
    # In another order than the layers', one of them twice, and one by its paper's name.
    names = ["features.16", "relu2_1", "features.6", "features.18"]
    x = tensor()
    x.requires_grad_()
    plain, again = (network.features(x, names, recompute=kept) for kept in (False, True))
    assert list(plain) == list(again) == names
    for name in names:
        assert (plain[name].numpy() == again[name].numpy()).all()
        node = again[name].node
        # A convolution with its ReLU keeps nothing else anyway.
        assert node is not None
        assert node.name == ("conv2d_relu" if name == "features.18" else "checkpoint")
        (gradient,), (wanted,) = (
            core.grad(found[name], x, np.ones(found[name].shape, np.float32))
            for found in (again, plain)
        )
        assert (gradient.numpy() == wanted.numpy()).all()


def test_only_layers_of_a_chain_can_be_recomputed(network: Network) -> None:
    model = models.build("resnet18", num_classes=10)
    residual = Network("resnet18", model, network.mean, network.std)
    assert len(residual.chain) == 0
    with pytest.raises(ValueError, match="recomputed up to layer1, no layer of a chain"):
        residual.features(tensor(), ["layer1"], recompute=True)
    fire = Network("squeezenet1_0", models.build("squeezenet1_0"), network.mean, network.std)
    found = fire.features(tensor(), ["features.4"], recompute=True)
    assert found["features.4"].shape[1] == 128
