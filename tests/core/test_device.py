"""Devices, dtypes and random state; and that the strict device is strict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, device
from core import functional as F
from tests.core.fake_device import FakeArray, fake, from_host, needs_strict, register, to_host

pytestmark = needs_strict


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    register()


# ---------------------------------------------------------------------------- the strict device

HOST = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: np.asarray(x),
        lambda x: np.add(x, 1),
        lambda x: np.sum(x),
        lambda x: np.concatenate([x, x]),
        lambda x: np.add.at(x, 0, 1),
        lambda x: float(x[0, 0]),
        lambda x: int(x[0, 0]),
        lambda x: bool(x[0, 0]),
        lambda x: [10][x[0, 0]],
        lambda x: list(x),
        lambda x: 1.0 in x,
        lambda x: x if x.any() else None,
        lambda x: x + HOST,
        lambda x: HOST + x,
        lambda x: HOST @ x,
        lambda x: x == HOST,
        lambda x: fake.add(HOST, HOST),
        lambda x: fake.add(x, 1, out=HOST),
        lambda x: fake.where(HOST > 0, x, x),
        lambda x: x[np.array([0, 1])],
        lambda x: x[[0, 1]],
        lambda x: x.__setitem__(0, HOST[0]),
        lambda x: x.__setitem__(0, [1, 2, 3]),
        lambda x: HOST.__setitem__(0, x[0]),
        lambda x: HOST[x],
        lambda x: x.reshape(-1).sum(out=HOST),
        lambda x: fake.add.at(x.astype("int64"), 0, 1),
    ],
)
def test_the_strict_device_refuses(use: Callable[[FakeArray], Any]) -> None:
    with pytest.raises((TypeError, IndexError)):
        use(from_host(np.ones((2, 3), np.float32)))


def test_the_strict_device_has_only_what_cupy_has() -> None:
    with pytest.raises(AttributeError, match="no nditer"):
        _ = fake.nditer
    with pytest.raises(NotImplementedError, match="no multiply"):
        fake.multiply.at(from_host(HOST), 0, 1)
    with pytest.raises(TypeError):
        fake.add(from_host(HOST), 1, where=True)


def test_the_strict_device_loses_layouts_without_out() -> None:
    x: Any = from_host(np.ones((2, 3, 4, 5)).transpose(0, 3, 1, 2))
    assert (x + 1).flags.c_contiguous
    out = from_host(np.ones((2, 3, 4, 5)).transpose(0, 3, 1, 2))
    assert not fake.add(x, 1, out=out).flags.c_contiguous


def test_the_strict_device_gives_0d_arrays() -> None:
    x: Any = from_host(HOST)
    for y in (x.sum(), x[0, 0], x.max(), fake.mean(x), x.sum() + x.sum()):
        assert type(y) is FakeArray and y.shape == ()


# ---------------------------------------------------------------------------- arrays and devices


def test_array_module() -> None:
    assert device.array_module(HOST, 2.0) is np
    assert device.array_module(2.0) is np
    assert device.array_module(3, from_host(HOST)) is fake
    with pytest.raises(TypeError, match="arrays of two devices meet: numpy and fake"):
        device.array_module(HOST, from_host(HOST))


def test_operands_of_two_devices_are_refused() -> None:
    for call in (
        lambda: Tensor(HOST) + Tensor(from_host(HOST)),
        lambda: F.linear(from_host(HOST), HOST),
        lambda: F.where(HOST > 0, from_host(HOST), 0.0),
    ):
        with pytest.raises(TypeError, match="device"):
            call()


def test_device_names_and_transfers() -> None:
    x = from_host(HOST)
    assert device.device_of(HOST) == "cpu" and device.device_of(x) == "fake"
    assert np.array_equal(device.to_host(x), HOST)
    assert device.to_host(HOST) is HOST and device.to_device(HOST, "cpu") is HOST
    assert np.array_equal(device.to_device(x, "cpu"), HOST)
    assert Tensor(x).tolist() == HOST.tolist()
    assert "device='fake'" in repr(Tensor(x))


def test_to_device_brings_the_gradient_back(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Tensor(from_host(HOST), requires_grad=True)
    monkeypatch.setattr(
        device, "to_device", lambda a, name: to_host(a) if name == "cpu" else from_host(a)
    )
    here = F.to_device(there, "cpu")
    assert here.device == "cpu" and here.requires_grad
    (here * 3).sum().backward()
    assert there.grad is not None and (to_host(there.grad.data) == 3).all()
    assert F.to_device(here, "cpu") is here


def test_unknown_and_missing_devices() -> None:
    with pytest.raises(ValueError, match="device 'gpu' is unknown; expected 'cpu' or 'cuda'"):
        device.to_device(HOST, "gpu")


def test_cuda_says_what_is_missing() -> None:
    try:
        import cupy  # noqa: F401
    except ImportError:
        with pytest.raises(RuntimeError, match="device 'cuda' needs CuPy, which is not installed"):
            Tensor(HOST).cuda()
    else:
        pytest.skip("CuPy is installed")


# ---------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        ((HOST, 2), "float32"),
        ((HOST, 1e300), "float32"),
        ((HOST, np.float64(1)), "float32"),
        ((HOST.astype("u1"), 255), "uint8"),
        ((HOST.astype("u1"), 0.5), "float32"),
        ((HOST.astype("i4"), HOST.astype("u1")), "int32"),
        ((HOST.astype("?"), True), "bool"),
        ((HOST.astype("f2"), HOST.astype("i8")), "float16"),
        ((HOST.astype("i4"), np.array(1.0)), "float64"),
        ((np.array(1, "i4"), np.array(1, "i8")), "int64"),
        ((True, 2, 0.5), "float32"),
    ],
)
def test_result_type(operands: tuple[Any, ...], expected: str) -> None:
    assert device.result_type(*operands) == expected
    assert device.result_type(*reversed(operands)) == expected


def test_result_type_of_nothing() -> None:
    with pytest.raises(TypeError, match="no operands"):
        device.result_type()


# ---------------------------------------------------------------------------- random state


def test_the_seed_decides_everything() -> None:
    def draw() -> tuple[float, list[float]]:
        return device.random.host.random(), F.dropout(np.ones(50, np.float32), 0.5).tolist()

    core.seed(7)
    first, second = draw(), draw()
    core.seed(7)
    assert (first, second) == (draw(), draw())
    assert first[1] != second[1]


def test_random_state_continues() -> None:
    core.seed(1)
    device.random.host.random()
    F.dropout(np.ones(5, np.float32))
    state = device.random.state_dict()
    expected = device.random.host.random(), device.random.take(3)
    core.seed(2)
    device.random.load_state_dict(state)
    assert (device.random.host.random(), device.random.take(3)) == expected


@pytest.mark.parametrize("value", [-1, 1.5, "x", 2**128])
def test_a_seed_is_a_natural_number(value: Any) -> None:
    with pytest.raises(ValueError, match="expected a non-negative int"):
        core.seed(value)


def test_dropout_keeps_its_share_whatever_the_device() -> None:
    core.seed(0)
    here = F.dropout(np.ones((100, 100), np.float32), 0.3)
    core.seed(0)
    there = F.dropout(from_host(np.ones((100, 100), np.float32)), 0.3)
    assert np.array_equal(here.numpy(), to_host(there.data))
    assert abs((here.numpy() == 0).mean() - 0.3) < 0.02
    assert abs(here.numpy().mean() - 1) < 0.03
