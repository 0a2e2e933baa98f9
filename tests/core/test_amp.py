"""16-bit products with master weights, and the scaled loss."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, amp, kernels, nn, optim
from core import device as dev
from core import functional as F
from tests.core import fake_device


def network() -> nn.Sequential:
    core.seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 16, 10),
    )


def losses(dtype: str | None, on_device: bool) -> list[float]:
    """Of a few steps of training in this precision."""
    rng = np.random.default_rng(0)
    x: Any = rng.standard_normal((4, 3, 8, 8)).astype("f4")
    target: Any = rng.integers(0, 10, 4)
    net, scaler = network(), amp.GradScaler("cpu", init_scale=1024.0)
    if on_device:
        fake_device.register()
        net._replace(fake_device.from_host)
        x, target = fake_device.from_host(x), fake_device.from_host(target)
        scaler._state = fake_device.from_host(scaler._state)
        scaler._scaling = fake_device.from_host(scaler._scaling)
    rule, found = optim.Adam(net.parameters(), lr=0.01), []
    for _ in range(4):
        rule.zero_grad()
        with amp.autocast(dtype):
            loss = F.cross_entropy(net(Tensor(x)), target)
        assert loss.dtype == np.float32
        if dtype is None:
            loss.backward()
            rule.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(rule)
            scaler.update()
        found.append(float(np.asarray(dev.to_host(loss.data))))
    for p in net.parameters():
        assert p.grad is not None and p.dtype == p.grad.dtype == np.float32
    return found


@pytest.mark.parametrize("on_device", [False, True], ids=["cpu", "fake"])
def test_float16_learns_as_float32_does(on_device: bool) -> None:
    if on_device and (fake_device.ON_GPU or not fake_device.cuda_emulator.available()):
        pytest.skip("the strict device needs a C++ compiler to run the kernels")
    # The reference waits for a device's scale, which the strict one does not allow.
    with kernels.use("cpu") if on_device else nullcontext():
        exact = losses(None, on_device)
        found = losses("float16", on_device)
    assert exact[-1] < exact[0] / 2
    assert found == pytest.approx(exact, rel=0.02) and found != exact


def test_what_is_narrow_inside() -> None:
    x, w = Tensor(np.ones((2, 3), np.float32)), Tensor(np.ones((4, 3), np.float32))
    with amp.autocast("float16"):
        assert F.linear(x, w).dtype == np.float16
        assert (x @ w.transpose(0, 1)).dtype == np.float16
        assert F.mse_loss(F.linear(x, w), np.zeros((2, 4), np.float32)).dtype == np.float32
        with amp.autocast(None):
            assert F.linear(x, w).dtype == np.float32
    assert F.linear(x, w).dtype == np.float32 and amp.autocast_dtype() is None


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match="autocast: got 'int8', expected 'float16' or 'bfloat16'"):
        amp.autocast("int8").__enter__()


def test_the_scale_grows_and_shrinks() -> None:
    p = Tensor(np.ones(2, np.float32), requires_grad=True)
    rule = optim.SGD([p], lr=0.5)
    scaler = amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    scales, values = [], []
    for slope in (1.0, np.inf, 0.5, 0.5, np.nan):
        p.grad = Tensor(np.full(2, slope * scaler.get_scale(), np.float32))
        scaler.step(rule)
        scaler.update()
        scales.append(scaler.get_scale())
        values.append(p.tolist()[0])
    assert scales == [8.0, 4.0, 4.0, 8.0, 4.0]
    assert values == [0.5, 0.5, 0.25, 0.0, 0.0]


def test_the_scaler_is_saved_and_continued() -> None:
    scaler, other = amp.GradScaler("cpu", init_scale=64.0), amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.get_scale() == 64.0 and other.state_dict() == scaler.state_dict()
    with pytest.raises(ValueError, match=r"GradScaler: growth_factor 0\.5 and backoff_factor 0.5"):
        amp.GradScaler("cpu", growth_factor=0.5)


def test_unscaled_gradients_can_be_clipped() -> None:
    p = Tensor(np.zeros(1, np.float32), requires_grad=True)
    scaler, rule = amp.GradScaler("cpu", init_scale=4.0), optim.SGD([p], lr=1.0)
    p.grad = Tensor(np.full(1, 8.0, np.float32))
    scaler.unscale_(rule)
    assert p.grad is not None and p.grad.tolist() == [2.0]
    nn.utils.clip_grad_norm_([p], 1.0)
    scaler.step(rule)
    scaler.update()
    assert p.tolist()[0] == pytest.approx(-1.0, rel=1e-5) and scaler.get_scale() == 4.0


def test_another_optimiser_cannot_step_after_unscale() -> None:
    first, second = (Tensor(np.zeros(1, np.float32), requires_grad=True) for _ in range(2))
    rules = [optim.SGD([p], lr=1.0) for p in (first, second)]
    for p in (first, second):
        p.grad = Tensor(np.full(1, 8.0, np.float32))
    scaler = amp.GradScaler("cpu", init_scale=4.0)
    scaler.unscale_(rules[0])
    scaler.step(rules[0])
    with pytest.raises(RuntimeError, match="after unscale_ of one optimiser another cannot step"):
        scaler.step(rules[1])
    scaler.update()
    scaler.step(rules[1])
    assert first.tolist() == second.tolist() == [-2.0]
