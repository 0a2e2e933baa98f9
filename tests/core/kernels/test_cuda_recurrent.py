"""The CUDA backend's recurrent layers, on the strict device, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core.kernels import cuda, reference
from tests.core import fake_device

pytestmark = fake_device.needs_kernels

TOLERANCE = {"float16": 5e-3, "float32": 5e-6, "float64": 1e-13}
T, N, H = 4, 3, 5
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


@pytest.fixture(autouse=True, scope="module")
def strict_device() -> None:
    fake_device.register()


def operands(name: str, dtype: str, masked: bool, bias: bool) -> tuple[Any, ...]:
    """What the input makes of the gates, weights, bias, first states, mask, gradient."""
    rng, width = np.random.default_rng(len(name)), GATES[name] * H
    states = 2 if name == "lstm" else 1
    active = (np.arange(T)[:, None] < [2, T, 0])[:, :, None] if masked else None
    return (
        rng.standard_normal((T, N, width)).astype(dtype),
        (rng.standard_normal((width, H)) / 2).astype(dtype),
        rng.standard_normal(width).astype(dtype) if bias else None,
        [rng.standard_normal((N, H)).astype(dtype) for _ in range(states)],
        active,
        rng.standard_normal((T + states, N, H)).astype(dtype),
    )


def results(kernels: Any, name: str, given: tuple[Any, ...], reverse: bool, *relu: bool) -> list:
    projected, w, bias, states, active, gy = given
    out, saved = getattr(kernels, name)(projected, w, bias, states, active, reverse, *relu)
    back = getattr(kernels, f"{name}_backward")(gy, saved, w, active, reverse, *relu)
    return [out, kernels.states_before(saved, reverse), back[0], back[1], *back[2]]


def arrays(given: tuple[Any, ...], convert: Any) -> tuple[Any, ...]:
    """The operands with `convert` applied to each array."""
    return tuple(
        [convert(a) for a in g] if isinstance(g, list) else None if g is None else convert(g)
        for g in given
    )


def agree(name: str, given: tuple[Any, ...], reverse: bool, relu: tuple[bool, ...]) -> None:
    dtype = str(given[0].dtype)
    found = results(cuda, name, arrays(given, fake_device.from_host), reverse, *relu)
    exact = arrays(given, lambda a: a.astype("f8") if a.dtype.kind == "f" else a)
    for ours, wanted in zip(found, results(reference, name, exact, reverse, *relu), strict=True):
        host = fake_device.to_host(ours)
        assert (host.shape, str(host.dtype)) == (wanted.shape, dtype)
        close = TOLERANCE[dtype] * max(np.abs(wanted).max(initial=0), 1)
        np.testing.assert_allclose(host, wanted, rtol=TOLERANCE[dtype], atol=close)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["rnn", "rnn relu", "lstm", "gru"])
def test_agrees_with_the_reference(name: str, masked: bool, reverse: bool, dtype: str) -> None:
    name, *rest = name.split()
    relu = (bool(rest),) if name == "rnn" else ()
    for bias in (False, True):
        agree(name, operands(name, dtype, masked, bias), reverse, relu)


@pytest.mark.parametrize("name", GATES)
def test_operands_with_gaps_and_a_single_step(name: str) -> None:
    projected, w, bias, states, active, gy = operands(name, "float32", True, True)
    relu = (False,) if name == "rnn" else ()
    turned = np.ascontiguousarray(w.T).T, np.repeat(bias, 2)[::2], [s[::-1] for s in states]
    agree(name, (projected, *turned, active[::-1], gy[:, :, ::-1]), True, relu)
    agree(name, (projected[:1], *turned, None, gy[: 1 + len(states)]), False, relu)


@pytest.mark.parametrize("name", GATES)
def test_no_step_at_all(name: str) -> None:
    projected, w, bias, states, _, gy = operands(name, "float32", False, True)
    relu = (False,) if name == "rnn" else ()
    agree(name, (projected[:0], w, bias, states, None, gy[: len(states)]), False, relu)
