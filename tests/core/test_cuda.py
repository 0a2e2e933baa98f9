"""What only a GPU can show: recorded steps, 16 bits, memory, and whole networks beside the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, amp, models, nn, optim
from core import device as dev
from core import functional as F
from core.kernels.layout import channels_first, is_channels_last, to_channels_last
from core.replay import graphed
from core.training.step import TrainingStep, scaler_of
from core.training.trainer import classification


def _missing() -> str:
    try:
        dev.cuda_module()
    except RuntimeError as error:
        return str(error)
    return ""


pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(bool(_missing()), reason=_missing() or "there is a GPU"),
]


def network() -> nn.Sequential:
    core.seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(8 * 16, 10),
    )


def batch(n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 3, 8, 8), np.float32), rng.integers(0, 10, n)


def training(recorded: bool, optimizer: Callable[..., Any], steps: int = 7) -> list[float]:
    """Losses of a network with dropout and a schedule, its steps recorded or not."""
    net = network().to("cuda")
    x, target = (dev.to_device(a, "cuda") for a in batch())
    rule = optimizer(net.parameters())
    schedule = optim.CosineAnnealingLR(rule, steps)
    core.seed(3)

    def step() -> Tensor:
        rule.zero_grad()
        loss = F.cross_entropy(net(Tensor(x)), target)
        loss.backward()
        rule.step()
        return loss

    run, losses = graphed(step) if recorded else step, []
    for _ in range(steps):
        losses.append(run().item())
        schedule.step()
    return losses


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: optim.Adam(p, 0.01),
        lambda p: optim.AdamW(p, 0.01),
        lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=1e-4),
        lambda p: optim.RMSprop(p, 0.001, momentum=0.5),
    ],
    ids=["adam", "adamw", "sgd", "rmsprop"],
)
def test_a_recorded_step_does_what_the_step_does(optimizer: Callable[..., Any]) -> None:
    expected = training(False, optimizer)
    assert training(True, optimizer) == pytest.approx(expected, rel=1e-5)
    assert len(set(expected)) == len(expected)


def test_a_step_that_reads_back_cannot_be_recorded() -> None:
    x = Tensor(dev.to_device(np.ones(3, np.float32), "cuda"))
    run = graphed(lambda: (x * 2).sum().item())
    assert run() == run() == 6
    with pytest.raises(Exception, match=r"(?i)captur|not permitted"):
        run()


def test_training_recorded_and_not() -> None:
    losses = []
    for graph in (False, True):
        net = network().to("cuda")
        core.seed(3)
        step = TrainingStep(net, optim.Adam(net.parameters()), classification, graph=graph)
        # The last batch is a smaller one.
        losses.append([step(batch(n))["loss"] for n in (8, 8, 8, 8, 8, 5)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("name", ["cifar_resnet20", "deep_convnet"])
def test_a_network_beside_the_cpu(name: str) -> None:
    gradients = []
    for device in ("cpu", "cuda"):
        core.seed(0)
        options = {"num_classes": 10} if name == "cifar_resnet20" else {"dropout": 0.0}
        net = models.build(name, **options).double().to(device)
        rng = np.random.default_rng(0)
        shape = (4, 3, 32, 32) if name == "cifar_resnet20" else (4, 1, 28, 28)
        x = dev.to_device(rng.standard_normal(shape), device)
        loss = F.cross_entropy(net(Tensor(x)), dev.to_device(np.arange(4), device))
        loss.backward()
        gradients.append([loss.numpy(), *(np.asarray(p.grad) for p in net.parameters())])
    for host, card in zip(*gradients, strict=True):
        np.testing.assert_allclose(card, host, rtol=1e-7, atol=1e-9 * np.abs(host).max())


def test_layouts_through_a_block() -> None:
    x = np.random.default_rng(0).standard_normal((2, 8, 6, 6)).astype(np.float32)
    y = Tensor(dev.to_device(channels_first(to_channels_last(x)), "cuda"), requires_grad=True)
    conv, norm = nn.Conv2d(8, 8, 3, padding=1).to("cuda"), nn.BatchNorm2d(8).to("cuda")
    for part in (conv, norm, F.relu, lambda z: z + y):
        z = part(y)
        assert is_channels_last(z.data), part
    (F.relu(norm(conv(y))) + y).sum().backward()
    assert y.grad is not None and is_channels_last(y.grad.data)
    assert conv.weight.grad is not None
    assert conv.weight.grad.data.strides == conv.weight.data.strides


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits(dtype: str) -> None:
    losses = []
    for chosen in (None, dtype):
        net = network().to("cuda")
        core.seed(3)
        with amp.autocast(chosen):
            rule, scaler = optim.Adam(net.parameters()), scaler_of(net)
            step = TrainingStep(net, rule, classification, graph=True, scaler=scaler)
            losses.append([step(batch())["loss"] for _ in range(6)])
        assert all(p.dtype == np.float32 for p in net.parameters())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_the_scale_after_an_overflow() -> None:
    x = Tensor(dev.to_device(np.ones(4, np.float32), "cuda"), requires_grad=True)
    rule, scaler = optim.SGD([x], 0.5), amp.GradScaler("cuda", init_scale=4.0, growth_interval=2)
    for factor, scale, value in ((np.inf, 2.0, 1.0), (1.0, 2.0, 0.5), (1.0, 4.0, 0.0)):
        rule.zero_grad()
        scaler.scale((x * factor).sum()).backward()
        scaler.step(rule)
        scaler.update()
        assert scaler.get_scale() == scale
        assert x.numpy().tolist() == [value] * 4


def test_weights_to_the_card_and_back() -> None:
    net = network()
    before = {name: (p.numpy().copy(), p.data.strides) for name, p in net.named_parameters()}
    net.to("cuda")
    assert is_channels_last(net[0].weight.data)
    net.to("cpu")
    for name, p in net.named_parameters():
        np.testing.assert_array_equal(p.numpy(), before[name][0])
        assert p.data.strides == before[name][1]


def test_no_room() -> None:
    module = dev.cuda_module()
    total = module.cuda.runtime.memGetInfo()[1]
    row = Tensor(module.zeros((1, 1 << 20), np.float32))
    with pytest.raises(RuntimeError, match=r"mul: the GPU has no room for .* MiB more"):
        F.expand(row, (total // (1 << 22) + 1, 1 << 20)) * 1.0
