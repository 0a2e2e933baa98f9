"""Normalisation against hand-computed cases and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from core import functional as F
from core.kernels.reference.norm import channel_sums
from core.tensor import Tensor
from tests.core.functional.peer import agree, channels_last, close, values

SHAPES = [(4, 3), (2, 3, 5), (3, 4, 5, 7), (1, 1, 3, 2), (2, 2, 3, 2, 3)]


def test_one_instance_alone_is_as_in_a_batch() -> None:
    x, w, b = values(2, 3, 4, 5), values(3), values(3, seed=1)
    found = []
    for part in (x, x[:1], x[1:]):
        tensors = [Tensor(a, requires_grad=True) for a in (part, w, b)]
        running = np.zeros(3), np.ones(3)
        one, weight, bias = tensors
        y = F.instance_norm(one, running[0], running[1], weight, bias)
        (y**3).sum().backward()
        gradients = [np.asarray(t.grad) for t in tensors]
        found.append([y.numpy(), *gradients, *running])
    for both, one, other in zip(*(part[:2] for part in found), strict=True):
        close(both, np.concatenate([one, other]))
    for both, one, other in zip(*(part[2:4] for part in found), strict=True):
        close(both, one + other)
    for both, one, other in zip(*(part[4:] for part in found), strict=True):
        close(both, (one + other) / 2)


def test_batch_norm_centres_and_scales_each_channel() -> None:
    x = np.array([[1.0, 10], [3, 30]])
    y = F.batch_norm(x, None, None, np.array([2.0, 1]), np.array([5.0, 0]), training=True, eps=0.0)
    close(y, [[3, -1], [7, 1]])


def test_running_statistics_move_in_place_with_the_unbiased_variance() -> None:
    x = np.array([[1.0, 10], [3, 30]])
    mean, var = np.zeros(2), Tensor(np.ones(2))
    F.batch_norm(x, mean, var, training=True, momentum=0.5)
    close(mean, [1, 10])
    close(var, [1.5, 100.5])
    F.batch_norm(x, mean, var)
    close(mean, [1, 10])


def test_evaluation_uses_the_running_statistics() -> None:
    x = Tensor(np.array([[1.0, 10]]), requires_grad=True)
    y = F.batch_norm(x, np.array([1.0, 8]), np.array([4.0, 4]), eps=0.0)
    close(y, [[0, 1]])
    y.backward(np.array([[1.0, 4]]))
    close(x.grad, [[0.5, 2]])


def test_later_training_does_not_change_a_recorded_evaluation() -> None:
    x = Tensor(values(3, 2), requires_grad=True)
    mean, var = np.zeros(2), np.ones(2)
    y = F.batch_norm(x, mean, var, eps=0.0)
    F.batch_norm(x, mean, var, training=True)
    y.backward(np.ones((3, 2)))
    close(x.grad, np.ones((3, 2)))


def test_fused_relu_is_the_composition() -> None:
    x, w, b = values(3, 4, 5, 2), values(4, seed=1), values(4, seed=2)
    fused = [Tensor(a, requires_grad=True) for a in (channels_last(x), w, b)]
    apart = [Tensor(a, requires_grad=True) for a in (x, w, b)]
    y = F.batch_norm_relu(fused[0], None, None, fused[1], fused[2], training=True)
    z = F.relu(F.batch_norm(apart[0], None, None, apart[1], apart[2], training=True))
    close(y, z)
    for result in (y, z):
        result.backward(values(*x.shape, seed=3))
    for one, other in zip(fused, apart, strict=True):
        close(one.grad, other.grad)


def test_a_shortcut_must_be_as_the_input() -> None:
    x = values(3, 4, 5, 2)
    with pytest.raises(
        ValueError, match=r"batch_norm_relu: shortcut has shape \(3, 4, 5, 1\), expected \(3, 4"
    ):
        F.batch_norm_relu(x, None, None, training=True, shortcut=x[..., :1])
    with pytest.raises(TypeError, match="shortcut has dtype float32, expected float64"):
        F.batch_norm_relu(x, None, None, training=True, shortcut=x.astype(np.float32))


def test_statistics_of_many_large_values_are_precise() -> None:
    x = (values(2, 3, 300, 300) + 100).astype(np.float32)
    for layout_of in (np.ascontiguousarray, channels_last):
        expected = x.sum((0, 2, 3), dtype=np.float64)
        np.testing.assert_allclose(channel_sums(layout_of(x)), expected, rtol=1e-7)
        y = F.batch_norm(layout_of(x), None, None, training=True, eps=0.0).numpy()
        np.testing.assert_allclose(y.var((0, 2, 3), dtype=np.float64), 1, rtol=1e-5)
        assert np.abs(y.mean((0, 2, 3), dtype=np.float64)).max() < 1e-5


def test_only_what_is_needed_is_computed() -> None:
    x, w = Tensor(values(3, 2, 4, 4)), Tensor(np.ones(2), requires_grad=True)
    F.batch_norm(x, None, None, w, training=True).sum().backward()
    F.layer_norm(x, (4, 4), Tensor(np.ones((4, 4)), requires_grad=True)).sum().backward()
    assert x.grad is None and w.grad is not None


def test_layer_norm_standardises_each_row() -> None:
    close(F.layer_norm(np.array([[1.0, 3], [10, 30]]), (2,), eps=0.0), [[-1, 1], [-1, 1]])


def test_local_response_norm_divides_by_the_neighbours() -> None:
    x = np.array([1.0, 2, 3]).reshape(1, 3, 1)
    y = F.local_response_norm(x, 3, alpha=3.0, beta=1.0, k=1.0)
    close(y.numpy().ravel(), [1 / 6, 2 / 15, 3 / 14])


ERRORS: list[tuple[Callable[[np.ndarray], Any], str]] = [
    (lambda x: F.batch_norm(x[:1, :, 0, 0], None, None, training=True), "has 1 value.s. per"),
    (lambda x: F.batch_norm(x, None, None), "needed without training"),
    (lambda x: F.batch_norm(x, np.zeros(3), None), "give both running_mean and running_var"),
    (lambda x: F.batch_norm(x, np.zeros(2), np.zeros(3)), "running_mean has shape .2,., expected"),
    (lambda x: F.batch_norm(x, None, None, np.ones(2), training=True), "weight has shape .2,."),
    (lambda x: F.batch_norm(x[0, 0, 0], None, None, training=True), "expected .N, C. or"),
    (lambda x: F.layer_norm(x, (5, 4)), "layer_norm: input has shape .*expected"),
    (lambda x: F.layer_norm(x, (4,), np.ones(3)), "layer_norm: weight has shape"),
    (lambda x: F.group_norm(x, 2), "3 channels do not divide into 2"),
    (lambda x: F.instance_norm(x[..., :1, :1]), "fewer than 2 values"),
    (lambda x: F.local_response_norm(x[0, 0], 3), "local_response_norm: input has shape"),
    (lambda x: F.local_response_norm(x, 0), "size is 0"),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors_say_what_was_expected(call: Callable[[np.ndarray], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(np.zeros((2, 3, 4, 4)))
    assert "\n" not in str(caught.value)


def test_mixed_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="input has dtype float32, weight float64"):
        F.batch_norm(np.ones((2, 3), np.float32), None, None, np.ones(3), training=True)


@pytest.mark.peer
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training, stats", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_batch_norm_as_in_pytorch(
    shape: tuple[int, ...], training: bool, affine: bool, stats: bool, relu: bool
) -> None:
    torch = pytest.importorskip("torch")
    c = shape[1]
    running: list[Any] = [values(c, seed=3), values(c, seed=4) ** 2] if stats else [None, None]
    peer_running = [torch.tensor(s) if stats else None for s in running]
    parameters = [values(c, seed=5), values(c, seed=6)] if affine else []
    buffers: list[Any] = []
    options: dict[str, Any] = {"training": training, "momentum": 0.3, "eps": 1e-3}
    ours: Callable[..., Tensor] = F.batch_norm_relu if relu else F.batch_norm

    def peer(x: Any, *affine: Any) -> Any:
        y = torch.nn.functional.batch_norm(x, *peer_running, *affine, **options)
        return torch.relu(y) if relu else y

    def run(x: Any, *affine: Any) -> Tensor:
        # `agree` runs us twice, for two layouts: each time from the same statistics.
        buffers[:] = [s.copy() if stats else None for s in running]
        return ours(x, *buffers, *affine, **options)

    agree(run, peer, values(*shape), *parameters)
    for buffer, peer_buffer in zip(buffers, peer_running, strict=True):
        if stats:
            close(buffer, peer_buffer)


@pytest.mark.peer
@pytest.mark.parametrize("shape, normalized", [((4, 3), (3,)), ((2, 3, 5, 4), (5, 4))])
@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_as_in_pytorch(
    shape: tuple[int, ...], normalized: tuple[int, ...], affine: bool
) -> None:
    torch = pytest.importorskip("torch")
    parameters = [values(*normalized, seed=1), values(*normalized, seed=2)] if affine else []
    agree(
        lambda x, *p: F.layer_norm(x, normalized, *p),
        lambda x, *p: torch.nn.functional.layer_norm(x, normalized, *p),
        values(*shape),
        *parameters,
    )


@pytest.mark.peer
@pytest.mark.parametrize("shape", [(2, 6, 3), (3, 4, 5, 7), (1, 2, 3, 2), (2, 4)])
@pytest.mark.parametrize("affine", [True, False])
def test_group_and_instance_norm_as_in_pytorch(shape: tuple[int, ...], affine: bool) -> None:
    torch = pytest.importorskip("torch")
    c = shape[1]
    parameters = [values(c, seed=1), values(c, seed=2)] if affine else []
    agree(
        lambda x, *p: F.group_norm(x, 2, *p),
        lambda x, *p: torch.nn.functional.group_norm(x, 2, *p),
        values(*shape),
        *parameters,
    )
    if len(shape) > 2:
        agree(
            lambda x, *p: F.instance_norm(x, None, None, *p),
            lambda x, *p: torch.nn.functional.instance_norm(x, None, None, *p),
            values(*shape),
            *parameters,
        )


@pytest.mark.peer
@pytest.mark.parametrize("use_input_stats", [True, False])
def test_running_statistics_of_instances_as_in_pytorch(use_input_stats: bool) -> None:
    torch = pytest.importorskip("torch")
    x, ours = values(3, 4, 5, 2), [np.zeros(4), np.ones(4)]
    theirs = [torch.zeros(4).double(), torch.ones(4).double()]
    y = F.instance_norm(x, ours[0], ours[1], use_input_stats=use_input_stats)
    expected = torch.nn.functional.instance_norm(
        torch.tensor(x), *theirs, use_input_stats=use_input_stats
    )
    close(y, expected)
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)


@pytest.mark.peer
@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (1, 1, 2, 2), (2, 5, 3)])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_local_response_norm_as_in_pytorch(shape: tuple[int, ...], size: int) -> None:
    torch = pytest.importorskip("torch")
    agree(
        lambda x: F.local_response_norm(x, size, 0.5, 0.6, 1.5),
        lambda x: torch.nn.functional.local_response_norm(x, size, 0.5, 0.6, 1.5),
        values(*shape),
    )
