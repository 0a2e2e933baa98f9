"""Optimisers beside PyTorch's, step for step; groups, memory, saving, errors."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core import nn, optim
from core.tensor import Parameter, Tensor
from tests.core import fake_device

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.01}),
    ("Adagrad", {"initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "weight_decay": 0.01}),
    ("RMSprop", {"centered": True, "alpha": 0.9, "momentum": 0.5, "eps": 1e-3}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.99), "weight_decay": 0.01}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-3}),
]
SHAPES = [(4, 3, 3, 3), (4,), (5, 2)]


def draw(dtype: str, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


def own_parameters(
    dtype: str, convert: Callable[[np.ndarray], Any] = np.asarray
) -> list[Parameter]:
    """The first one lies in memory as a convolution's weight does."""
    first, *rest = draw(dtype)
    packed = np.ascontiguousarray(first.transpose(2, 3, 1, 0))
    return [
        Parameter(convert(packed).transpose(3, 2, 0, 1)),
        *(Parameter(convert(a)) for a in rest),
    ]


def give(params: list[Parameter], dtype: str, step: int, convert: Any = np.asarray) -> None:
    """Gradients of this step, in C order; the second parameter has none at the first step."""
    for i, (p, g) in enumerate(zip(params, draw(dtype, 100 + step), strict=True)):
        p.grad = None if i == 1 and step == 0 else convert(g)


def groups(params: list[Any], **second: Any) -> list[dict[str, Any]]:
    """The first parameter by itself, the others with settings of their own."""
    return [{"params": params[:1]}, {"params": params[1:], **second}]


@pytest.mark.peer
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_twenty_steps_agree_with_pytorch(
    name: str, settings: dict[str, Any], dtype: str, tolerance: float
) -> None:
    torch = pytest.importorskip("torch")
    own = own_parameters(dtype)
    peers = [torch.tensor(a, requires_grad=True) for a in draw(dtype)]
    second = {"lr": 0.03, "weight_decay": 0.1}
    ours = getattr(optim, name)(groups(own, **second), **settings)
    theirs = getattr(torch.optim, name)(groups(peers, **second), **settings)
    for step in range(20):
        give(own, dtype, step)
        for p, t in zip(own, peers, strict=True):
            t.grad = None if p.grad is None else torch.tensor(p.grad.numpy())
        ours.step()
        theirs.step()
    for p, t in zip(own, peers, strict=True):
        np.testing.assert_allclose(p.numpy(), t.detach(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_a_step_writes_in_place_and_in_memory_order(name: str, settings: dict[str, Any]) -> None:
    params = own_parameters("float32")
    arrays = [(p.data, p.data.strides) for p in params]
    optimizer = getattr(optim, name)(params, **settings)
    for step in range(2):
        give(params, "float32", step)
        before = [None if p.grad is None else p.grad.numpy().copy() for p in params]
        optimizer.step()
        for p, gradient in zip(params, before, strict=True):
            assert (p.grad is None) == (gradient is None)
            if gradient is not None:
                np.testing.assert_array_equal(np.asarray(p.grad), gradient)
    for p, (array, strides) in zip(params, arrays, strict=True):
        assert p.data is array
        assert p.data.strides == strides
        for key, value in optimizer.state[p].items():
            assert key == "step" or (value.strides, value.dtype) == (strides, p.dtype)
    # The second parameter had no gradient at the first step.
    assert [p.version for p in params] == [2, 1, 2]


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_a_resumed_run_continues_exactly(name: str, settings: dict[str, Any]) -> None:
    make = getattr(optim, name)
    params = own_parameters("float32")
    optimizer = make(groups(params, weight_decay=0.2), **settings)
    for step in range(3):
        give(params, "float32", step)
        optimizer.step()
    state = optimizer.state_dict()
    json.dumps(state["param_groups"])
    saved = copy.deepcopy({"state": state["state"]})
    saved["param_groups"] = json.loads(json.dumps(state["param_groups"]))
    resumed = [copy.deepcopy(p) for p in params]
    # Other settings: those of the state count.
    again = make(groups(resumed), lr=7.0)
    again.load_state_dict(saved)
    for step in range(3, 6):
        for own, stepped in ((params, optimizer), (resumed, again)):
            give(own, "float32", step)
            stepped.step()
    for p, q in zip(params, resumed, strict=True):
        np.testing.assert_array_equal(p.numpy(), q.numpy())
        assert q.data.strides == p.data.strides
    assert again.param_groups[1]["weight_decay"] == 0.2


@pytest.mark.device
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_no_value_goes_to_the_host(name: str, settings: dict[str, Any]) -> None:
    fake_device.register()
    transfers = fake_device.fake.transfers
    own = own_parameters("float64", fake_device.from_host)
    host = own_parameters("float64")
    ours, expected = (getattr(optim, name)(params, **settings) for params in (own, host))
    for step in range(3):
        give(own, "float64", step, fake_device.from_host)
        give(host, "float64", step)
        ours.step()
        expected.step()
    assert fake_device.fake.transfers == transfers
    for p, q in zip(own, host, strict=True):
        np.testing.assert_allclose(fake_device.to_host(p.data), q.numpy(), rtol=1e-12)


@pytest.mark.skipif(
    not (fake_device.ON_GPU or fake_device.cuda_emulator.available()),
    reason="the strict device needs a C++ compiler to run the kernels",
)
def test_parameters_of_two_dtypes_on_the_card() -> None:
    fake_device.register()
    params = [
        Tensor(fake_device.placed(np.ones(4, dtype)), requires_grad=True)
        for dtype in ("float32", "float64", "float32")
    ]
    for p in params:
        p.grad = Tensor(fake_device.placed(np.ones(4, p.dtype)))
    optim.SGD(params, lr=0.1).step()
    for p in params:
        np.testing.assert_allclose(fake_device.to_host(p.data), 0.9, rtol=1e-6)


@pytest.mark.skipif(
    not (fake_device.ON_GPU or fake_device.cuda_emulator.available()),
    reason="the strict device needs a C++ compiler to run the kernels",
)
@pytest.mark.parametrize("rule", [optim.SGD, optim.Adam])
def test_a_parameter_with_gaps_on_the_card(rule: Any) -> None:
    fake_device.register()
    found: list[Any] = []
    for place in (fake_device.placed, lambda a: a):
        whole = np.arange(12.0).reshape(3, 4)
        p = Tensor(place(whole)[:, ::2], requires_grad=True)
        optimizer = rule([p], lr=0.1)
        for _ in range(3):
            p.grad = Tensor(place(whole)[::-1, ::2])
            nn.utils.clip_grad_norm_([p], 1.0)
            optimizer.step()
        found.append(fake_device.to_host(p.data) if not found else p.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_loading_keeps_the_arrays_that_are_there() -> None:
    params = own_parameters("float32")
    optimizer = optim.Adam(params, lr=0.1)
    give(params, "float32", 1)
    optimizer.step()
    before = {p: dict(optimizer.state[p]) for p in params}
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.step()
    optimizer.load_state_dict(saved)
    for p, arrays in zip(params, saved["state"].values(), strict=True):
        for key, value in arrays.items():
            np.testing.assert_array_equal(optimizer.state[p][key], value)
            assert key == "step" or optimizer.state[p][key] is before[p][key]


def test_zero_grad() -> None:
    params = own_parameters("float32")
    give(params, "float32", 1)
    optimizer = optim.SGD(params, lr=0.1)
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad is not None and not p.grad.numpy().any() for p in params)
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


def test_a_stale_parameter_is_noticed_in_backward() -> None:
    layer = nn.Linear(2, 1)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    loss = layer(np.ones((1, 2), np.float32)).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="was written after the forward pass"):
        loss.backward()


def test_groups_can_be_added() -> None:
    params = own_parameters("float32")
    optimizer = optim.Adam(params[:1], lr=0.5)
    optimizer.add_param_group({"params": params[1:], "lr": 0.25})
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.25]
    assert optimizer.param_groups[1]["betas"] == (0.9, 0.999)
    assert "lr: 0.25" in repr(optimizer)


P = Parameter(np.ones(2))
GROUPS: list[Any] = [{"params": [P]}, {"params": P}]
ARRAYS: list[Any] = [np.ones(2)]
MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: optim.SGD([]), ValueError, "got no parameters"),
    (lambda: optim.SGD(P), TypeError, "params is a Parameter, expected a list"),
    (lambda: optim.SGD(ARRAYS), TypeError, "a parameter is a ndarray"),
    (lambda: optim.SGD([P, P]), ValueError, r"shape \(2,\) is given twice"),
    (lambda: optim.SGD(GROUPS), ValueError, "given twice"),
    (lambda: optim.SGD([P * 2]), ValueError, "expected a leaf"),
    (lambda: optim.SGD([{"params": [P], "rate": 1}]), ValueError, "unknown setting 'rate'"),
    (lambda: optim.SGD([P], lr=-1), ValueError, "SGD: lr is -1, expected a number >= 0"),
    (lambda: optim.SGD([P], nesterov=True), ValueError, "nesterov needs a momentum"),
    (lambda: optim.SGD([P], momentum=0.9, dampening=2), ValueError, "dampening is 2"),
    (lambda: optim.Adam([P], betas=(1.0, 0.9)), ValueError, "betas is"),
    (lambda: optim.AdamW([P], weight_decay=-1), ValueError, "AdamW: weight_decay is -1"),
    (lambda: optim.RMSprop([P], alpha=-1), ValueError, "alpha is -1"),
    (lambda: optim.Adagrad([P], eps=float("nan")), ValueError, "eps is nan"),
    (lambda: optim.Adam([P], amsgrad=True), TypeError, "amsgrad"),  # type: ignore[call-arg]
]


@pytest.mark.parametrize(("call", "kind", "message"), MISTAKES)
def test_mistakes_are_named(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    params = own_parameters("float32")
    optimizer = optim.Adam(params, lr=0.1)
    give(params, "float32", 1)
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    wrong = copy.deepcopy(before)
    wrong["state"][2]["exp_avg_sq"] = np.ones(3)
    with pytest.raises(ValueError, match=r"exp_avg_sq has shape \(3,\), its parameter \(5, 2\)"):
        optimizer.load_state_dict(wrong)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, expected \[3\]"):
        optimizer.load_state_dict(optim.Adam(params[:1]).state_dict())
    with pytest.raises(ValueError, match="settings differ: betas, dampening"):
        optimizer.load_state_dict(optim.SGD(params).state_dict())
    with pytest.raises(ValueError, match="a parameter 3 of 3"):
        optimizer.load_state_dict({**before, "state": {3: {}}})
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, arrays in before["state"].items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(after["state"][number][key], value)


def test_a_tensor_that_is_no_parameter_can_be_optimised() -> None:
    picture = Tensor(np.array([3.0]), requires_grad=True)
    optimizer = optim.SGD([picture], lr=0.25)
    for _ in range(20):
        optimizer.zero_grad()
        (picture * picture).sum().backward()
        optimizer.step()
    assert abs(picture.item()) < 1e-5
