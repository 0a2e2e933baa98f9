"""FCN: convolutionalised layers, where cells lie in the picture, and what skips start as."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, nn
from core.models import VGG
from segmentation.fcn import FCN, FCNBasic, Grid, convolutionalised, fuse, start_from_classifier

TINY: dict[str, Any] = {"width": 16, "channels": (4, 4, 4, 4, 4)}


def picture(height: int, width: int) -> Tensor:
    rng = np.random.default_rng(0)
    return Tensor(rng.standard_normal((1, 3, height, width)).astype(np.float32))


def test_a_convolutionalised_classifier_gives_the_same_scores() -> None:
    core.seed(0)
    vgg = VGG(16, num_classes=5, channels=TINY["channels"], hidden=16).eval()
    fcn = FCN("vgg16", 5, stride=32, padding=0, **TINY).eval()
    start_from_classifier(fcn, vgg)
    x = picture(224, 224)
    with core.no_grad():
        scores, maps = fcn.coarse(x)
        expected = vgg(x).numpy()
    # fc6 sees the whole 7x7 map from its middle cell.
    assert scores.shape == (1, 5, 7, 7) and not maps
    np.testing.assert_allclose(scores.numpy()[:, :, 3, 3], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected).max() > 0.01


def test_each_window_of_a_larger_map_is_classified() -> None:
    core.seed(0)
    linear = nn.Linear(2 * 3 * 3, 4)
    layer = convolutionalised(linear, 3)
    x = picture(5, 6)[:, :2]
    found = layer(x).numpy()
    assert found.shape == (1, 4, 3, 4)
    for row in range(3):
        for column in range(4):
            window = x[:, :, row : row + 3, column : column + 3].numpy().reshape(1, -1)
            np.testing.assert_allclose(
                found[:, :, row, column], linear(Tensor(window)).numpy(), rtol=1e-5, atol=1e-6
            )
    with pytest.raises(ValueError, match="18 inputs are no map of 7x7"):
        convolutionalised(linear, 7)


def test_other_heads_and_classes_are_told_apart() -> None:
    vgg = VGG(16, num_classes=5, channels=TINY["channels"], hidden=16)
    fcn = FCN("vgg16", 7, stride=32, **TINY)
    start_from_classifier(fcn, vgg)
    assert not fcn.score_fr.weight.numpy().any()
    with pytest.raises(ValueError, match="does not fit"):
        start_from_classifier(FCN("vgg16", 5, stride=32, width=8, channels=TINY["channels"]), vgg)
    with pytest.raises(ValueError, match="stride 4, expected one of vgg16, backbone and one of 32"):
        FCN("vgg16", stride=4)


def test_the_published_crops() -> None:
    # Offsets of the Caffe models' crop layers, with their 100 pixels of padding.
    coarse = Grid(32, 15.5 - 99).moved(3)
    assert -coarse.enlarged(32).origin == 19
    half = coarse.enlarged(2)
    pool4, pool3 = Grid(16, 7.5 - 99), Grid(8, 3.5 - 99)
    assert (half.origin - pool4.origin) / 16 == 5 and -half.enlarged(16).origin == 27
    quarter = half.enlarged(2)
    assert (quarter.origin - pool3.origin) / 8 == 9 and -quarter.enlarged(8).origin == 31


@pytest.mark.parametrize("encoder", ["vgg16", "backbone"])
@pytest.mark.parametrize("stride", [32, 16, 8])
def test_the_output_lies_on_the_input(encoder: str, stride: int, monkeypatch: Any) -> None:
    """Scores that are the positions of their cells are enlarged to the positions of the pixels."""
    fcn = FCN(encoder, 2, stride=stride, **TINY).eval()
    x = picture(129, 150)
    with core.no_grad():
        scores, maps = fcn.coarse(x)
        rows, columns = scores.shape[2:]
        origin = 15.5 if encoder == "backbone" else 12.5
        y, z = origin + 32 * np.arange(rows), origin + 32 * np.arange(columns)
        places = np.stack(np.meshgrid(y, z, indexing="ij"))[None].astype(np.float32)
        monkeypatch.setattr(fcn, "coarse", lambda x: (Tensor(places), maps))
        found = fcn(x).numpy()[0]
    inside = slice(32, 96)
    expected = np.mgrid[:129, :150][:, inside, inside]
    np.testing.assert_allclose(found[:, inside, inside], expected, atol=1e-3)


def test_fcn_basic_lies_on_its_input_too() -> None:
    """A bright square gives scores around its own middle."""
    core.seed(0)
    net = FCNBasic(1, width=4).eval()
    for layer in net.score[:-1]:
        for parameter in layer.parameters():
            parameter.copy_(np.zeros(parameter.shape, np.float32))
    for stage in net.encoder:
        (kernel,) = (p for p in stage.parameters() if p.ndim == 4)
        weight = np.zeros(kernel.shape, np.float32)
        weight[:, :, 3, 3] = 1
        kernel.copy_(weight)
    net.score[-1].weight.copy_(np.ones((1, 4, 1, 1), np.float32))
    x = np.zeros((1, 3, 96, 96), np.float32)
    x[:, :, 32:48, 48:64] = 1
    with core.no_grad():
        found = np.maximum(net(Tensor(x)).numpy()[0, 0], 0)
    where = np.mgrid[:96, :96]
    middle = (where * found).sum(axis=(1, 2)) / found.sum()
    np.testing.assert_allclose(middle, [39.5, 55.5], atol=0.1)


def test_maps_are_added_where_both_have_cells() -> None:
    ones, twos = (Tensor(np.full((1, 1, n, n), v, np.float32)) for n, v in ((4, 1), (6, 2)))
    total, grid = fuse(ones, Grid(8, 3.5), twos, Grid(8, -4.5))
    assert total.shape == (1, 1, 4, 4) and (total.numpy() == 3).all() and grid == Grid(8, 3.5)
    total, grid = fuse(ones, Grid(8, -4.5), twos, Grid(8, 3.5))
    assert total.shape == (1, 1, 3, 3) and grid == Grid(8, 3.5)


def test_stages_begin_where_the_one_before_ended() -> None:
    """A new skip starts at zero, so that FCN-16s begins with the scores of its FCN-32s."""
    core.seed(0)
    coarse = FCN("backbone", 3, stride=32, **TINY).eval()
    coarse.score_fr.weight.copy_(
        np.random.default_rng(0).standard_normal((3, 16, 1, 1)).astype(np.float32)
    )
    fine = FCN("backbone", 3, stride=16, **TINY).eval()
    own, known = fine.state_dict(), coarse.state_dict()
    fine.load_state_dict({name: known.get(name, own[name]) for name in own})
    x = picture(96, 96)
    with core.no_grad():
        inside = slice(40, 60)
        one, other = (net(x).numpy()[..., inside, inside] for net in (coarse, fine))
    # Twice bilinear by 2 and 16 is nearly once by 32.
    assert np.abs(one - other).mean() < 0.1 * np.abs(one).mean()


def test_all_at_once_scales_the_skips() -> None:
    core.seed(0)
    both = [
        FCN("backbone", 2, stride=16, at_once=at_once, **TINY).eval() for at_once in (False, True)
    ]
    ones = np.ones((2, 4, 1, 1), np.float32)
    for net in both:
        net.get_submodule("score_pool4").load_state_dict(
            {"weight": ones, "bias": np.zeros(2, np.float32)}
        )
        net.load_state_dict({**net.state_dict(), **both[0].state_dict()})
    with core.no_grad():
        plain, scaled = (net(picture(64, 64)).numpy() for net in both)
    np.testing.assert_allclose(scaled, plain * 0.01, rtol=1e-4, atol=1e-6)
