"""What the agent learns from a batch, by hand and beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import core
from core import optim
from dqn.agent import Agent
from dqn.networks import Architecture, QNetwork, build
from dqn.replay import Batch
from tests.dqn.conftest import VECTOR


def table(values: list[list[float]]) -> QNetwork:
    """A network whose value of action a in the one-hot state s is values[s][a]."""
    from core import nn

    layer = nn.Linear(len(values), len(values[0]), bias=False)
    layer.weight.copy_(np.array(values, np.float32).T)
    return QNetwork(nn.Sequential(), nn.Sequential(layer))


def batch(
    states: list[int],
    actions: list[int],
    returns: list[float],
    discounts: list[float],
    following: list[int],
    weights: NDArray[np.float32] | None = None,
) -> Batch:
    one_hot = np.eye(3, dtype=np.float32)
    return Batch(
        one_hot[states],
        np.array(actions),
        np.array(returns, np.float32),
        np.array(discounts, np.float32),
        one_hot[following],
        np.arange(len(states)),
        weights,
    )


def agent(*, double: bool = False, lr: float = 1.0) -> Agent:
    online = table([[1.0, 2.0], [5.0, 3.0], [0.0, 4.0]])
    made = Agent(online, table([[0.0, 0.0]] * 3), optim.SGD(online.parameters(), lr), double=double)
    # A target network of its own: it likes the other action.
    made.target.head.load_state_dict(table([[9.0, 0.5], [1.0, 7.0], [2.0, 0.0]]).head.state_dict())
    return made


def test_targets_by_hand() -> None:
    given = batch([0, 1, 2], [0, 1, 1], [1.0, -2.0, 0.5], [0.9, 0.9, 0.0], [1, 0, 2])
    # r + gamma max Q of the target network; a terminal state adds nothing.
    wanted = np.array([1 + 0.9 * 7, -2 + 0.9 * 9, 0.5])
    learned = agent().learn(given)
    assert learned.errors == pytest.approx(wanted - [1, 3, 4], rel=1e-6)
    assert learned.q == pytest.approx(8 / 3)
    # Huber: d^2 / 2 up to 1, |d| - 1/2 beyond.
    assert learned.loss == pytest.approx((5.8 + 2.6 + 3.0) / 3, rel=1e-5)


def test_double_takes_the_value_of_its_own_choice() -> None:
    given = batch([0, 1], [0, 1], [0.0, 0.0], [1.0, 1.0], [1, 2])
    # The network in training prefers action 0 in state 1 and action 1 in state 2.
    assert agent(double=True).learn(given).errors == pytest.approx([1 - 1, 0 - 3])


def test_the_gradient_of_an_error_is_clipped() -> None:
    learner = agent(lr=0.5)
    learner.learn(batch([0, 1], [0, 0], [100.0, 5.5], [0.0, 0.0], [0, 0]))
    weight = learner.online.head.state_dict()["0.weight"].T
    # Errors of 99 and 0.5: steps of lr / 2 * 1 and lr / 2 * 0.5.
    assert weight[0, 0] == pytest.approx(1 + 0.25)
    assert weight[1, 0] == pytest.approx(5 + 0.125)
    assert weight[:, 1].tolist() == [2, 3, 4]


def test_weights_scale_the_loss() -> None:
    weights = np.array([0.0, 1.0], np.float32)
    learner = agent(lr=0.5)
    learned = learner.learn(batch([0, 1], [0, 0], [100.0, 5.5], [0, 0], [0, 0], weights))
    assert learned.loss == pytest.approx(0.125 / 2)
    assert learner.online.head.state_dict()["0.weight"][0, 0] == 1.0


def test_the_target_network_waits() -> None:
    learner = agent()
    before = learner.target.head.state_dict()["0.weight"].copy()
    learner.learn(batch([0], [0], [10.0], [0.0], [0]))
    assert np.array_equal(learner.target.head.state_dict()["0.weight"], before)
    learner.update_target()
    for online, target in zip(
        learner.online.parameters(), learner.target.parameters(), strict=True
    ):
        assert np.array_equal(online.numpy(), target.numpy())
        assert not target.requires_grad


@pytest.mark.peer
def test_updates_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    core.seed(0)
    rng = np.random.default_rng(0)
    online, target = (build(VECTOR, Architecture(hidden=(16, 16))) for _ in range(2))
    ours = Agent(online, target, optim.Adam(online.parameters(), lr=0.01), double=True)
    twins: list[Any] = []
    for network in (ours.online, ours.target):
        linear = [p.numpy().copy() for p in network.parameters()]
        layers: list[Any] = []
        for weight, bias in zip(linear[::2], linear[1::2], strict=True):
            layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
            layer.weight.data, layer.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)
            layers += [layer, torch.nn.ReLU()]
        twins.append(torch.nn.Sequential(*layers[:-1]))
    optimizer = torch.optim.Adam(twins[0].parameters(), lr=0.01)
    for _ in range(5):
        states, following = (rng.standard_normal((8, 4), np.float32) for _ in range(2))
        actions = rng.integers(2, size=8)
        returns, discounts = rng.standard_normal(8, np.float32), rng.random(8, np.float32)
        learned = ours.learn(
            Batch(states, actions, returns, discounts, following, np.arange(8), None)
        )
        with torch.no_grad():
            chosen = twins[0](torch.from_numpy(following)).argmax(1, keepdim=True)
            best = twins[1](torch.from_numpy(following)).gather(1, chosen)[:, 0]
            wanted = torch.from_numpy(returns) + torch.from_numpy(discounts) * best
        q = twins[0](torch.from_numpy(states)).gather(1, torch.from_numpy(actions)[:, None])[:, 0]
        loss = torch.nn.functional.huber_loss(q, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert learned.loss == pytest.approx(loss.item(), rel=1e-4)
    for parameter, twin in zip(online.parameters(), twins[0].parameters(), strict=True):
        assert parameter.numpy() == pytest.approx(twin.detach().numpy(), abs=1e-5)
