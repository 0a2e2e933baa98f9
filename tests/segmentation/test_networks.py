"""The networks: sizes, published parameter counts, and that each memorises a few pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, nn, optim
from core import functional as F
from core.models import VGG
from segmentation.networks import NAMES, build, encoder_of
from segmentation.unet import UNet

# What makes each network small.
SMALL: dict[str, dict[str, Any]] = {
    "unet": {"width": 8},
    "unet_squeezenet": {"width": 8},
    "unet_backbone": {"width": 8},
    "segnet": {"width": 8},
    "segnet_basic": {"width": 8},
    "fcn_basic": {"width": 8},
    **{
        f"fcn{stride}s_{encoder}": {"width": 32, "channels": (8, 8, 16, 16, 16)}
        for encoder in ("vgg16", "backbone")
        for stride in (32, 16, 8)
    },
}


def pictures(count: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 3, height, width)).astype(np.float32)


def test_every_network_is_tested() -> None:
    assert set(SMALL) == set(NAMES)


def count(name: str, classes: int, **options: Any) -> int:
    with nn.init.skip_draws():
        return build(name, classes, **options).num_parameters()


# VGG-16's convolutions: channels in times channels out times 9, and a bias for each channel out.
VGG_LAYERS = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 2, (256, 512)]
VGG_LAYERS += [(512, 512)] * 5
VGG_FEATURES = sum(9 * a * b + b for a, b in VGG_LAYERS)


def test_fcn8s_has_the_parameters_of_the_caffe_model() -> None:
    # voc-fcn8s/net.py of github.com/shelhamer/fcn.berkeleyvision.org, layer by layer:
    # the paper's table 1 says 134 M.
    fc6, fc7 = 7 * 7 * 512 * 4096 + 4096, 4096 * 4096 + 4096
    score_fr, score_pool4, score_pool3 = 4096 * 21 + 21, 512 * 21 + 21, 256 * 21 + 21
    upscore2 = upscore_pool4 = 21 * 21 * 4 * 4
    upscore8 = 21 * 21 * 16 * 16
    assert VGG_FEATURES == 14_714_688
    expected = sum((VGG_FEATURES, fc6, fc7, score_fr, score_pool4, score_pool3))
    expected += upscore2 + upscore_pool4 + upscore8
    assert expected == 134_489_759
    assert count("fcn8s_vgg16", 21) == expected


def test_segnets_have_the_published_parameters() -> None:
    # SegNet: VGG-16's convolutions, the same again back to front (64 to 11 for 3 to 64), and scale
    # and shift behind each but the last, as in the authors' segnet_train.prototxt: 29.4 M.
    mirrored = VGG_FEATURES - (9 * 3 * 64 + 64) + (9 * 64 * 11 + 11)
    mirrored += sum(a - b for a, b in VGG_LAYERS[1:])
    scales = 2 * sum(b for _, b in VGG_LAYERS) + 2 * sum(a for a, _ in VGG_LAYERS[1:])
    assert count("segnet", 11) == VGG_FEATURES + mirrored + scales == 29_449_355
    # segnet_basic_train.prototxt of github.com/alexgkendall/SegNet-Tutorial, 1.4 M: convolutions of
    # 7x7 with 64 filters, normalisation behind each, a classifier.
    layers = [(3, 64), *[(64, 64)] * 7]
    basic = sum(49 * a * b + b + 2 * b for a, b in layers) + 64 * 11 + 11
    assert count("segnet_basic", 11) == basic == 1_416_587
    # FCN-Basic: the encoder, a score for each of its maps, and four enlargements.
    encoder = sum(49 * a * b + b + 2 * b for a, b in layers[:4])
    assert count("fcn_basic", 11) == encoder + 4 * (64 * 11 + 11) + 4 * 11 * 11 * 16 == 622_892


def test_our_own_networks_have_the_parameters_they_say() -> None:
    assert count("unet", 11) == 475_275
    assert "475,275" in str(UNet.__doc__)


# One size is enough for the slow ones.
SIZES = [(name, (37, 53)) for name in NAMES]
SIZES += [(name, (64, 32)) for name in NAMES if "vgg16" not in name]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_any_size_gives_scores_of_that_size(name: str, size: tuple[int, int]) -> None:
    core.seed(0)
    net = build(name, 5, **SMALL[name]).eval()
    with core.no_grad():
        assert net(Tensor(pictures(1, *size))).shape == (1, 5, *size)


@pytest.mark.parametrize(
    "name", ["unet", "unet_squeezenet", "segnet", "segnet_basic", "fcn_basic", "fcn8s_backbone"]
)
def test_a_few_pictures_are_memorised(name: str) -> None:
    core.seed(0)
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 3, (2, 4, 4))
    labels = blocks.repeat(8, axis=1).repeat(8, axis=2)
    x = pictures(2, 32, 32) * np.float32(0.5) + labels[:, None].astype(np.float32)
    net = build(name, 3, **SMALL[name])
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    right = 0.0
    for _ in range(60):
        logits = net(Tensor(x))
        loss = F.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = float((logits.numpy().argmax(axis=1) == labels).mean())
        if right > 0.93:
            break
    assert right > 0.93


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match="model 'unot' is unknown; expected one of unet"):
        build("unot", 3)
    with pytest.raises(ValueError, match=r'segnet does not take the options \{"stride": 2\}'):
        build("segnet", 3, stride=2)
    assert encoder_of("unet_squeezenet") == "squeezenet1_0"
    with pytest.raises(ValueError, match="no trained weights for the encoder of segnet_basic"):
        encoder_of("segnet_basic")


def test_the_encoder_of_segnet_is_that_of_vgg16() -> None:
    vgg = VGG(16, batch_norm=True, channels=(2, 4, 8, 16, 16), hidden=4)
    net = build("segnet", 3, width=2)
    shapes = [
        [p.shape for p in part.parameters()]
        for part in (vgg.get_submodule("features"), net.get_submodule("encoder"))
    ]
    assert shapes[0] == shapes[1] and len(shapes[0]) == 13 * 4


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("unet", "depth", 0),
        ("unet", "depth", 100_000),
        ("unet", "width", 6000),
        ("segnet", "width", 0),
        ("unet", "stride", 0),
        ("fcn8s_backbone", "padding", 10**9),
        ("unet", "width", "16"),
    ],
)
def test_numbers_that_no_network_has_are_refused(name: str, option: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"model {name}: {option} is {value}, expected"):
        build(name, 3, **{option: value})


@pytest.mark.parametrize("channels", [[10**6] * 5, [8] * 1000, ["8"] * 5])
def test_channels_that_no_network_has_are_refused(channels: list[object]) -> None:
    with pytest.raises(ValueError, match="channels are no list of up to 8 numbers from 1 to 1024"):
        build("fcn8s_backbone", 3, channels=channels)
