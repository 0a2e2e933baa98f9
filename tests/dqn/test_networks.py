"""The networks: published counts of parameters, shapes, and that they memorise."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import core
from core import Tensor, optim
from core import functional as F
from dqn.environments import Signature
from dqn.networks import Architecture, build, to_input
from tests.dqn.conftest import SCREEN, VECTOR


def atari(actions: int) -> Signature:
    return Signature((84, 84), 4, tuple(map(str, range(actions))))


@pytest.mark.parametrize(("actions", "parameters"), [(4, 1686180), (6, 1687206), (18, 1693362)])
def test_the_published_network(actions: int, parameters: int) -> None:
    network = build(atari(actions), Architecture())
    assert network.num_parameters() == parameters
    shapes = [p.shape for name, p in network.named_parameters() if name.endswith("weight")]
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136), (actions, 512)]


def test_dueling_and_noisy_networks_have_the_published_parts() -> None:
    # Two streams of 512 (Wang et al. 2016, section 4.2); means and deviations of the last layers.
    assert build(atari(6), Architecture(dueling=True)).num_parameters() == 1687206 + 1606657
    assert build(atari(6), Architecture(noisy=True)).num_parameters() == 1687206 + 1609222


@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("signature", [VECTOR, SCREEN])
def test_values_for_every_action(signature: Signature, dueling: bool, noisy: bool) -> None:
    network = build(signature, Architecture(width=2, hidden=(8, 6), dueling=dueling, noisy=noisy))
    states = np.zeros((5, *((signature.stack,) if signature.is_screen else ()), *signature.frame))
    states = states.astype(np.uint8 if signature.is_screen else np.float32)
    assert network(to_input(states)).shape == (5, len(signature.actions))


def test_a_dueling_network_adds_advantages_of_mean_zero() -> None:
    core.seed(0)
    network = build(VECTOR, Architecture(hidden=(8,), dueling=True))
    x = Tensor(np.ones((3, 4), np.float32))
    assert network.value is not None
    value = network.value(network.trunk(x)).numpy()[:, 0]
    assert network(x).numpy().mean(1) == pytest.approx(value, abs=1e-6)


def test_screens_become_numbers_from_0_to_1_that_lie_channels_last() -> None:
    states = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 6), dtype=np.uint8)
    x = to_input(states)
    assert x.dtype == np.float32 and x.numpy() == pytest.approx(states / 255)
    assert x.numpy().transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("signature", [VECTOR, SCREEN])
def test_it_memorises_a_handful_of_states(signature: Signature) -> None:
    core.seed(0)
    rng = np.random.default_rng(0)
    states: NDArray[Any]
    if signature.is_screen:
        states = rng.integers(0, 256, (6, signature.stack, *signature.frame), dtype=np.uint8)
    else:
        states = rng.standard_normal((6, *signature.frame), np.float32)
    wanted = rng.standard_normal((6, len(signature.actions)), np.float32)
    network = build(signature, Architecture(width=4, hidden=(32,)))
    optimizer = optim.Adam(network.parameters(), lr=0.01)
    for _ in range(300):
        loss = F.huber_loss(network(to_input(states)), Tensor(wanted))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3


def test_a_plain_background_is_nothing_to_a_new_network() -> None:
    network = build(atari(6), Architecture(width=4, hidden=(32,)))
    for grey in (0, 87, 255):
        states = np.full((1, 4, 84, 84), grey, np.uint8)
        assert network(to_input(states)).numpy() == pytest.approx(0, abs=1e-4)


def test_it_learns_from_a_ball_of_two_pixels_on_grey() -> None:
    # What Pong shows. With PyTorch's first weights the loss stays that of a constant, 0.125.
    core.seed(0)
    rng = np.random.default_rng(0)
    network = build(atari(6), Architecture(width=16, hidden=(256,)))
    optimizer = optim.Adam(network.parameters(), lr=0.0005, eps=1e-5)
    losses = []
    for _ in range(150):
        states = np.full((32, 4, 84, 84), 87, np.uint8)
        across, down = rng.integers(0, 79, 32), rng.integers(0, 83, 32)
        for state, x, y in zip(states, across, down, strict=True):
            for age, frame in enumerate(state):
                frame[y : y + 2, x + age : x + age + 2] = 236
        wanted = np.where(across < 40, -1, 0).astype(np.float32)
        loss = F.huber_loss(network(to_input(states))[:, 0], Tensor(wanted))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-20:]) < 0.05


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"screens of \(35, 84\); expected sides of 36 or more"):
        build(Signature((35, 84), 4, ("a",)), Architecture())
    with pytest.raises(ValueError, match=r"--hidden is \(\)"):
        Architecture(hidden=())
    with pytest.raises(ValueError, match="--width is 0"):
        Architecture(width=0)
