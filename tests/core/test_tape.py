"""The tape: what a node holds, what dies when, how gradients add up, what is refused."""

from __future__ import annotations

import functools
import gc
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import core
from core import Parameter, Tensor
from core import functional as F
from core.gradient_check import gradient_check
from core.kernels import layout, reference
from core.tensor import record
from tests.core import bench
from tests.core.bench import Case
from tests.core.cases import CASES

differentiable = pytest.mark.parametrize("case", [c for c in CASES if c.gradient], ids=str)

PLAIN = (
    type(None),
    bool,
    int,
    float,
    str,
    slice,
    range,
    type(...),
    np.ndarray,
    np.generic,
    np.dtype,
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    np.ufunc,
)


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Only reference counts free anything inside."""
    gc.disable()
    yield
    gc.enable()


def leaf(*shape: int, dtype: str = "float64", seed: int = 0) -> Tensor:
    values = np.random.default_rng(seed).standard_normal(shape)
    return Tensor(np.asarray(values, dtype), requires_grad=True)


def values_of(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.numpy()


# ---------------------------------------------------------------------------- what nodes hold


def reachable(value: Any, seen: set[int]) -> Iterator[Any]:
    """Everything that a closure keeps alive, itself included."""
    if id(value) in seen:
        return
    seen.add(id(value))
    yield value
    if isinstance(value, PLAIN):
        return
    if isinstance(value, types.FunctionType):
        parts: list[Any] = [cell.cell_contents for cell in value.__closure__ or ()]
        parts += list(value.__defaults__ or ()) + list((value.__kwdefaults__ or {}).values())
    elif isinstance(value, types.MethodType):
        parts = [value.__self__, value.__func__]
    elif isinstance(value, functools.partial):
        parts = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif isinstance(value, dict):
        parts = [*value, *value.values()]
    else:
        slots = [
            getattr(value, s)
            for k in type(value).__mro__
            for s in getattr(k, "__slots__", ())
            if s != "__weakref__" and hasattr(value, s)
        ]
        parts = slots + list(getattr(value, "__dict__", {}).values())
    for part in parts:
        yield from reachable(part, seen)


def is_foreign(value: Any) -> bool:
    """A tensor, a module, or something that a graph has no business with."""
    if isinstance(value, Tensor) or any(k.__name__ == "Module" for k in type(value).__mro__):
        return True
    callables = (types.FunctionType, types.MethodType, functools.partial)
    containers = (list, tuple, set, frozenset, dict)
    ours = type(value).__module__.startswith("core.")
    return not (ours or isinstance(value, (*PLAIN, *callables, *containers)))


@differentiable
def test_a_node_holds_arrays_and_nodes_only(case: Case) -> None:
    outputs = bench.flat(case.run(F, *bench.tensors_of(case, case.arrays("float32"))))
    nodes = bench.graph(*bench.floats(outputs))
    for node in nodes:
        foreign = [v for v in reachable(node, set()) if is_foreign(v)]
        assert not foreign, f"{node.name} holds {[type(v).__name__ for v in foreign]}"


def test_the_search_finds_a_tensor_that_hides() -> None:
    hidden = Tensor(np.zeros(3))
    inner = functools.partial(lambda x, y: x, [{"key": (hidden,)}])

    def backward(gy: Any) -> Any:
        return inner(gy)

    assert any(is_foreign(v) for v in reachable(backward, set()))


# ---------------------------------------------------------------------------- what dies when


def memory(tensor: Tensor) -> weakref.ref[Any]:
    """A weak reference to the array that owns the tensor's memory."""
    array = tensor.data
    return weakref.ref(array if array.base is None else array.base)


@pytest.mark.parametrize(
    "following",
    [
        lambda h: h + 1,
        lambda h: h - leaf(2, 3, 4, 4),
        lambda h: h * 2.0,
        lambda h: h.relu(),
        lambda h: h.tanh(),
        lambda h: h.softmax(1),
        lambda h: h.sum((2, 3)),
        lambda h: h.mean(),
        lambda h: h.reshape(2, -1).sum(),
        lambda h: h.exp(),
        lambda h: F.cat([h, h]),
        lambda h: F.pad(h, (1, 1)),
        lambda h: F.conv2d(h, np.ones((1, 3, 3, 3))),
        lambda h: F.linear(h.reshape(-1, 4), np.ones((2, 4))),
    ],
)
def test_an_activation_that_no_backward_needs_dies_in_the_forward_pass(
    following: Callable[[Tensor], Tensor], no_gc: None
) -> None:
    hidden = leaf(2, 3, 4, 4) + 1
    held = memory(hidden)
    y = following(hidden)
    del hidden
    assert held() is None
    y.backward(np.ones(y.shape))


def test_what_a_backward_needs_lives_until_then(no_gc: None) -> None:
    w = leaf(1, 3, 3, 3)
    hidden = leaf(2, 3, 4, 4) + 1
    held = memory(hidden)
    y = F.conv2d(hidden, w)
    del hidden
    assert held() is not None
    y.backward(np.ones(y.shape))
    assert held() is None


def test_activations_die_as_the_backward_pass_goes(no_gc: None) -> None:
    x = leaf(4, 5)
    hidden, refs, nodes = x, [], []
    for _ in range(6):
        hidden = hidden.sigmoid()
        refs.append(memory(hidden))
        nodes.append(weakref.ref(hidden.node))
    alive_at: list[int] = []
    for ref in nodes:
        node = ref()
        assert node is not None

        def counting(gy: Any, inner: Any = node.backward) -> Any:
            alive_at.append(sum(r() is not None for r in refs))
            return inner(gy)

        node.backward = counting
        del node
    loss = hidden.sum()
    del hidden, counting
    loss.backward()
    assert alive_at == [6, 5, 4, 3, 2, 1]
    assert all(r() is None for r in refs)


@differentiable
def test_a_graph_is_freed_without_the_garbage_collector(case: Case, no_gc: None) -> None:
    def build() -> list[Tensor]:
        tensors = bench.tensors_of(case, case.arrays("float32"))
        return bench.floats(bench.flat(case.run(F, *tensors)))

    outputs = build()
    kept: list[weakref.ref[Any]] = [weakref.ref(n) for n in bench.graph(*outputs)]
    kept += [memory(y) for y in outputs]
    del outputs
    assert all(ref() is None for ref in kept)


@pytest.mark.parametrize("walked", [True, False])
def test_a_chain_of_fifty_thousand_nodes(walked: bool) -> None:
    x = leaf(1)
    y = x
    for _ in range(50_000):
        y = y + 1
    if walked:
        y.backward()
        assert values_of(x.grad).tolist() == [1.0]
    del y


# ---------------------------------------------------------------------------- what is computed


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each convolution kernel ran."""
    counts = dict.fromkeys(
        ("convolve", "convolve_input_gradient", "convolve_weight_gradient", "bias_gradient"), 0
    )
    for name in counts:
        original = getattr(reference, name)

        def counting(*args: Any, _name: str = name, _original: Any = original) -> Any:
            counts[_name] += 1
            return _original(*args)

        monkeypatch.setattr(reference, name, counting)
    return counts


def test_frozen_weights_cost_nothing(calls: dict[str, int]) -> None:
    w, b = Parameter(np.ones((2, 3, 3, 3)), False), Parameter(np.ones(2), False)
    x = leaf(1, 3, 5, 5)
    F.conv2d(x, w, b).sum().backward()
    assert x.grad is not None and w.grad is None and b.grad is None
    assert calls["convolve_input_gradient"] == 1
    assert calls["convolve_weight_gradient"] == calls["bias_gradient"] == 0


def test_the_first_layer_computes_no_input_gradient(calls: dict[str, int]) -> None:
    w, b = Parameter(np.ones((2, 3, 3, 3))), Parameter(np.ones(2))
    F.conv2d(np.ones((1, 3, 5, 5)), w, b).sum().backward()
    assert w.grad is not None and b.grad is not None
    assert calls["convolve_input_gradient"] == 0
    assert calls["convolve_weight_gradient"] == calls["bias_gradient"] == 1


def test_a_branch_that_nobody_asked_for_is_not_walked(calls: dict[str, int]) -> None:
    frozen = Parameter(np.ones((3, 3, 1, 1)), False)
    features = F.conv2d(np.ones((1, 3, 4, 4)), frozen)
    assert features.node is None
    F.conv2d(features, leaf(1, 3, 1, 1)).sum().backward()
    assert calls["convolve_input_gradient"] == 0


def test_saved_channels_last_views_come_back_right() -> None:
    x = bench.channels_last(np.random.default_rng(0).standard_normal((2, 3, 5, 4)))
    w = bench.channels_last(np.random.default_rng(1).standard_normal((4, 3, 3, 3)))
    y = F.conv2d_relu(Tensor(x, requires_grad=True), Tensor(w, requires_grad=True), padding=1)
    assert y.node is not None
    saved = [v for v in reachable(y.node.backward, set()) if isinstance(v, np.ndarray)]
    for array in (x, w, y.data):
        assert any(s.strides == array.strides and np.shares_memory(s, array) for s in saved)
    assert layout.is_channels_last(x) and layout.is_channels_last(y.data)
    case = next(c for c in CASES if str(c) == "conv2d_relu")
    arrays = case.arrays("float64")
    expected = bench.run(case, arrays)[1]
    found = bench.run(case, [bench.channels_last(a) for a in arrays], bench.channels_last)[1]
    for f, e in zip(found, expected, strict=True):
        assert np.allclose(f, e, rtol=1e-12)


# ---------------------------------------------------------------------------- how it adds up


def test_a_leaf_used_twice() -> None:
    x = leaf(3)
    (x + x).sum().backward()
    assert values_of(x.grad).tolist() == [2, 2, 2]


def test_a_second_backward_accumulates() -> None:
    x = leaf(3)
    (x * 2).sum().backward()
    (x * 3).sum().backward()
    assert values_of(x.grad).tolist() == [5, 5, 5]


def test_a_shared_gradient_is_not_added_to_in_place() -> None:
    """`add` hands the same array to both parents; summing for one must not reach the other."""
    x = leaf(3)
    a, b = x * 1.0, x * 1.0
    a.retain_grad()
    b.retain_grad()
    total = ((a + b) + a) + a
    given = np.ones(3)
    total.backward(given)
    assert given.tolist() == [1, 1, 1]
    assert values_of(a.grad).tolist() == [3, 3, 3]
    assert values_of(b.grad).tolist() == [1, 1, 1]
    assert values_of(x.grad).tolist() == [4, 4, 4]


def test_two_leaves_never_share_a_gradient() -> None:
    x, y = leaf(3), leaf(3)
    given = np.ones(3)
    (x + y).backward(given)
    (x * 1.0).sum().backward()
    assert values_of(x.grad).tolist() == [2, 2, 2]
    assert values_of(y.grad).tolist() == [1, 1, 1]
    assert given.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("returned", "taken"),
    [
        (lambda made, kept: made, True),
        (lambda made, kept: made.reshape(3, 2).T, True),
        (lambda made, kept: kept, False),
        (lambda made, kept: kept[:], False),
        (lambda made, kept: np.zeros((4, 3))[:2], False),
        (lambda made, kept: np.broadcast_to(np.zeros(3), (2, 3)), False),
    ],
    ids=["new", "view of new", "kept", "view of kept", "part of new", "read-only"],
)
def test_a_leaf_takes_only_a_gradient_that_nobody_else_has(
    returned: Callable[[np.ndarray, np.ndarray], np.ndarray], taken: bool
) -> None:
    x, kept, address = leaf(2, 3), np.zeros((2, 3)), []

    def backward(gy: np.ndarray) -> tuple[np.ndarray]:
        gradient = returned(np.zeros((2, 3)), kept)
        address.append(gradient.ctypes.data)
        return (gradient,)

    F.sum(record(np.ones((2, 3)), (x,), backward)).backward()
    grad = x.node.grad if x.node else None
    assert grad is not None
    assert (grad.ctypes.data == address[0]) == taken
    assert grad.flags.writeable
    assert not np.shares_memory(grad, kept)


@pytest.mark.parametrize("dtype", bench.DTYPES)
def test_a_single_value_used_twice(dtype: str) -> None:
    """NumPy adds 0-d arrays to scalars, which are not arrays any more."""
    x = leaf(dtype=dtype)
    a = -x
    (a + a).backward()
    assert x.grad is not None and x.grad.item() == -2
    assert type(x.grad.data) is np.ndarray and x.grad.dtype == dtype


def test_a_sum_of_gradients_keeps_the_layout() -> None:
    x = Tensor(bench.channels_last(np.ones((2, 3, 4, 5))), requires_grad=True)
    a = x * 1.0
    (a * 2.0 + a * 3.0).backward(bench.channels_last(np.ones((2, 3, 4, 5))))
    assert layout.is_channels_last(values_of(x.grad))


@given(
    st.lists(
        st.tuples(st.sampled_from("+-*"), st.integers(0, 99), st.integers(0, 99)),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_graph_of_shared_values(steps: list[tuple[str, int, int]]) -> None:
    operations = {"+": F.add, "-": F.sub, "*": lambda x, y: F.tanh(F.mul(x, y))}

    def f(x: Tensor, y: Tensor) -> Tensor:
        values = [x, y]
        for symbol, i, j in steps:
            left, right = values[i % len(values)], values[j % len(values)]
            values.append(operations[symbol](left, right))
        return functools.reduce(F.add, values)

    rng = np.random.default_rng(0)
    gradient_check(f, rng.uniform(-0.5, 0.5, (2, 3)), rng.uniform(-0.5, 0.5, 3))


# ---------------------------------------------------------------------------- asking


def test_grad_leaves_grad_untouched() -> None:
    x, y = leaf(3), leaf(3)
    z = (x * y).sum()
    gx, gy = core.grad(z, (x, y))
    assert np.array_equal(gx.numpy(), y.numpy()) and np.array_equal(gy.numpy(), x.numpy())
    assert x.grad is None and y.grad is None
    assert np.array_equal(core.grad(z, x)[0].numpy(), y.numpy())


def test_grad_of_an_inner_value_and_with_a_gradient() -> None:
    x = leaf(3)
    inner = x * 2.0
    outer = inner * inner
    (g,) = core.grad(outer, inner, np.array([1.0, 0.0, 2.0]))
    assert np.allclose(g.numpy(), 2 * inner.numpy() * [1, 0, 2])


def test_grad_shares_no_memory() -> None:
    x, y, given = leaf(3), leaf(3), np.ones(3)
    gx, gy = core.grad(x + y, (x, y), given)
    assert not np.shares_memory(gx.data, gy.data) and not np.shares_memory(gx.data, given)


def test_grad_of_something_else_is_refused() -> None:
    x, other = leaf(3), leaf(3)
    with pytest.raises(RuntimeError, match=r"y does not depend on x number 1 \(shape \(3,\)\)"):
        core.grad(x.sum(), (x, other))


def test_retain_grad_keeps_an_inner_gradient() -> None:
    x = leaf(3)
    kept, dropped = x * 2.0, x * 3.0
    kept.retain_grad()
    (kept + dropped).sum().backward()
    assert values_of(kept.grad).tolist() == [1, 1, 1]
    assert dropped.grad is None


def test_backward_needs_one_value_or_a_gradient() -> None:
    x = leaf(2, 3)
    with pytest.raises(ValueError, match=r"backward: tensor has shape \(2, 3\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient has shape \(3,\), not \(2, 3\)"):
        (x * 2).backward(np.ones(3))


def test_backward_without_a_graph_is_refused() -> None:
    with pytest.raises(RuntimeError, match="nothing that made this tensor requires a gradient"):
        Tensor(np.zeros(1)).backward()


def test_a_freed_graph_says_so() -> None:
    y = leaf(3).exp().sum()
    y.backward()
    with pytest.raises(RuntimeError, match=r"freed by an earlier backward.*retain_graph=True"):
        y.backward()


def test_retain_graph_walks_again() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert np.allclose(values_of(x.grad), 4 * x.numpy())


def test_second_derivatives_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="second derivatives"):
        leaf(1).backward(create_graph=True)


def test_detach_shares_memory_and_no_graph() -> None:
    x = leaf(3)
    y = (x * 2.0).detach()
    assert not y.requires_grad and y.is_leaf
    assert np.shares_memory(x.detach().data, x.data)
    (x * y).sum().backward()
    assert np.array_equal(values_of(x.grad), y.numpy())


# ---------------------------------------------------------------------------- no_grad


def test_no_grad_records_nothing_and_ends() -> None:
    x = leaf(3)
    with core.no_grad():
        assert not core.is_grad_enabled()
        assert (x * 2).node is None
    with pytest.raises(KeyError), core.no_grad():
        raise KeyError
    assert core.is_grad_enabled() and (x * 2).requires_grad


def test_no_grad_as_a_decorator() -> None:
    @core.no_grad()
    def f(x: Tensor) -> Tensor:
        return x * 2

    assert not f(leaf(3)).requires_grad


def test_no_grad_is_for_its_own_thread() -> None:
    seen: list[bool] = []
    with core.no_grad():
        thread = threading.Thread(target=lambda: seen.append((leaf(3) * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


# ---------------------------------------------------------------------------- versions


@pytest.mark.parametrize("trained", [True, False])
def test_a_parameter_written_after_the_forward_pass_is_refused(trained: bool) -> None:
    w = Parameter(np.ones((2, 3)), requires_grad=trained)
    y = F.linear(leaf(4, 3), w).sum()
    w.copy_(np.zeros((2, 3)))
    with pytest.raises(RuntimeError, match=r"parameter of shape \(2, 3\) that linear used"):
        y.backward()


def test_a_parameter_written_before_the_forward_pass_is_fine() -> None:
    w = Parameter(np.ones((2, 3)))
    w.data = np.full((2, 3), 2.0)
    assert w.version == 1
    F.linear(leaf(4, 3), w).sum().backward()
    assert w.grad is not None


def test_writing_keeps_the_memory() -> None:
    w = Parameter(np.ones((2, 3), np.float32))
    view = w.data.reshape(-1)
    w.copy_(np.arange(6.0).reshape(2, 3))
    assert view.tolist() == [0, 1, 2, 3, 4, 5]
    assert w.dtype == np.float32
    with pytest.raises(ValueError, match=r"copy_: got shape \(3,\), expected \(2, 3\)"):
        w.copy_(np.zeros(3))


def test_only_leaves_are_written() -> None:
    with pytest.raises(RuntimeError, match="only leaves"):
        (leaf(3) * 2).copy_(np.zeros(3))


def test_a_backward_of_the_wrong_shape_is_found() -> None:
    from core.tensor import record

    x = leaf(3)
    y = record(np.zeros(3), (x,), lambda gy: (np.zeros(2),), "broken")
    with pytest.raises(RuntimeError, match=r"broken: backward returned .* \(2,\) for an .* \(3,\)"):
        y.backward(np.ones(3))
