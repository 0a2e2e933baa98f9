"""The network of the fast form: shapes, parameters, files."""

from pathlib import Path

import numpy as np
import pytest

import core
from core import optim
from core.io.weights import Card, save_model
from core.models import build
from core.tensor import Tensor
from style_transfer import transform
from style_transfer.transform import TransformNet, card_of, load


def test_parameters_as_published() -> None:
    # Layer by layer: convolutions without bias but for the last, two numbers a normalised channel.
    assert TransformNet(32).num_parameters() == 1_677_635
    assert TransformNet(16).num_parameters() == 424_099


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (32, 21)])
def test_a_picture_keeps_its_size_and_stays_in_range(size: tuple[int, int]) -> None:
    net = TransformNet(4, 1)
    made = net(Tensor(np.random.default_rng(0).random((2, 3, *size), np.float32))).numpy()
    assert made.shape == (2, 3, *size)
    assert made.min() > 0 and made.max() < 1


def test_contrast_and_brightness_of_the_content_do_not_matter() -> None:
    # What instance normalisation is there for (Ulyanov et al. 2016).
    net = TransformNet(4, 1)
    picture = np.random.default_rng(0).random((1, 3, 16, 16), np.float32)
    one, other = (net(Tensor(x)).numpy() for x in (picture, 0.5 * picture + np.float32(0.25)))
    np.testing.assert_allclose(one, other, atol=5e-3)


def test_it_memorises_two_pictures() -> None:
    core.seed(0)
    net = TransformNet(8, 1)
    rng = np.random.default_rng(0)
    pictures = Tensor(rng.random((2, 3, 12, 12), np.float32))
    colors = rng.random((2, 3, 1, 1), np.float32)
    wanted = Tensor(np.broadcast_to(colors, pictures.shape).copy())
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = ((net(pictures) - wanted) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


def test_a_file_says_how_to_build_its_network(tmp_path: Path) -> None:
    net = TransformNet(4, 2)
    save_model(net, tmp_path / "net.safetensors", card_of(net, "wave", seed=3))
    found, style = load(tmp_path / "net.safetensors")
    assert (found.width, found.blocks, style, found.training) == (4, 2, "wave", False)
    picture = Tensor(np.random.default_rng(0).random((1, 3, 16, 16), np.float32))
    assert (found(picture).numpy() == net(picture).numpy()).all()


def test_other_files_are_refused(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ValueError, match=r"small\.safetensors holds backbone, expected transform"):
        load(weights)
    broken = tmp_path / "broken.safetensors"
    digits = build("simple_convnet")
    for options in (
        "{",
        "[]",
        '{"width": -1}',
        '{"depth": 3}',
        '{"width": 1e9}',
        '{"blocks": 99}',
    ):
        card = Card(architecture=transform.ARCHITECTURE, extra={"options": options})
        save_model(digits, broken, card)
        with pytest.raises(ValueError, match=r"broken\.safetensors: its header does not say how"):
            load(broken)
    save_model(digits, broken, card_of(TransformNet(4, 1), "wave"))
    with pytest.raises(ValueError, match=r"broken\.safetensors does not fit TransformNet"):
        load(broken)
    with pytest.raises(FileNotFoundError, match=r"no\.safetensors: no such file"):
        load(tmp_path / "no.safetensors")
