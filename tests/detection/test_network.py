import numpy as np
import pytest

import core
from core import Tensor, optim
from core import functional as F
from detection.network import RegionNet, describe, pooled_size, to_input


@pytest.mark.parametrize("size", [15, 16, 31, 32, 47, 48, 64])
def test_shapes(size: int) -> None:
    net = RegionNet(3, size, width=20)
    x = Tensor(np.zeros((2, 3, size, size), np.float32))
    pooled = net.pooled(x)
    assert pooled.shape == (2, net.pooled_size) == (2, pooled_size(size))
    assert net.features(pooled).shape == (2, 20)
    assert net(x).shape == (2, 4)


def test_number_of_parameters() -> None:
    convolutions = 3 * 24 * 25 + 24 * 48 * 9 + 48 * 96 * 9 + 96 * 96 * 9
    norms = 2 * (24 + 48 + 96 + 96)
    dense = 96 * 6 * 6 * 256 + 256 + 256 * 4 + 4
    assert RegionNet(3, 48, 256).num_parameters() == convolutions + norms + dense


def test_input_is_centred_and_channels_come_first() -> None:
    crops = np.zeros((1, 4, 4, 3), np.uint8)
    crops[0, 1, 2] = (0, 128, 255)
    x = to_input(crops)
    assert x.shape == (1, 3, 4, 4) and x.numpy().dtype == np.float32
    np.testing.assert_array_equal(x.numpy()[0, :, 1, 2], [-2, 0, 127 / 64])


def test_describe_is_the_network_in_evaluation_whatever_the_batch() -> None:
    core.seed(0)
    net = RegionNet(2, 16, 8)
    crops = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3)).astype(np.uint8)
    parts = [np.concatenate(x) for x in zip(*describe(net, crops, batch=3), strict=True)]
    whole = [np.concatenate(x) for x in zip(*describe(net, crops), strict=True)]
    for part, one in zip(parts, whole, strict=True):
        assert len(part) == 7
        np.testing.assert_allclose(part, one, rtol=1e-4, atol=1e-5)
    net.eval()
    np.testing.assert_allclose(whole[2], net(to_input(crops)).numpy(), rtol=1e-5, atol=1e-6)
    assert list(describe(net, crops[:0])) == []


def test_it_can_memorise_a_handful() -> None:
    core.seed(0)
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    labels = np.arange(12) % 3
    net = RegionNet(2, 16, 32)
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(40):
        loss = F.cross_entropy(net(to_input(crops)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    logits = np.concatenate([part[2] for part in describe(net, crops)])
    np.testing.assert_array_equal(logits.argmax(axis=1), labels)
