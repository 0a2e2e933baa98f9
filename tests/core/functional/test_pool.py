"""Pooling against hand-computed cases and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import core
from core import functional as F
from core.tensor import Tensor
from tests.core.functional.peer import agree, close, values

SHAPES = [(2, 3, 7, 9), (1, 1, 5, 4), (3, 2, 6, 6)]
# kernel_size, stride, padding, ceil_mode: odd ones, stride > kernel, ceil_mode with padding.
WINDOWS = [
    (2, None, 0, False),
    (3, 2, 1, False),
    (3, 2, 1, True),
    ((2, 3), (3, 1), (1, 0), True),
    (2, 3, 1, True),
    (2, 4, 0, False),
    (1, 1, 0, False),
]
DIVISORS: list[dict[str, Any]] = [{}, {"count_include_pad": False}, {"divisor_override": 3}]


def picture(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)[None, None]


def test_max_pool_takes_the_largest_and_sends_the_gradient_there() -> None:
    x = Tensor(picture([1, 5, 2, 0], [3, 4, 8, 1]), requires_grad=True)
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    close(y, picture([5, 8]))
    assert indices.tolist() == [[[[1, 6]]]]
    assert indices.dtype == np.int64
    y.backward(picture([10, 20]))
    close(x.grad, picture([0, 10, 0, 0], [0, 0, 20, 0]))


def test_padding_never_wins() -> None:
    close(F.max_pool2d(-np.ones((1, 1, 2, 2)), 3, 2, 1), [[[[-1]]]])
    with core.no_grad():
        close(F.max_pool2d(-np.ones((1, 1, 2, 2)), 3, 1, 1), -np.ones((1, 1, 2, 2)))


def test_overlapping_windows_add_their_gradients() -> None:
    x = Tensor(picture([0, 9, 0]), requires_grad=True)
    F.max_pool2d(x, (1, 2), 1).backward(picture([1, 2]))
    close(x.grad, picture([0, 3, 0]))


@pytest.mark.parametrize("needs", [False, True])
def test_nan_is_the_largest(needs: bool) -> None:
    x = Tensor(picture([1, np.nan, 3, 4]), requires_grad=needs)
    y = F.max_pool2d(x, (1, 2)).numpy()
    assert np.isnan(y[0, 0, 0, 0]) and y[0, 0, 0, 1] == 4


def test_a_window_of_minus_infinity_points_into_the_input() -> None:
    _, indices = F.max_pool2d(np.full((1, 1, 3, 3), -np.inf), 3, 2, 1, return_indices=True)
    assert indices.tolist() == [[[[0, 1], [3, 4]]]]


def test_avg_pool_counts_padding_or_not() -> None:
    x = np.ones((1, 1, 2, 2))
    close(F.avg_pool2d(x, 2, 2, 1), np.full((1, 1, 2, 2), 0.25))
    close(F.avg_pool2d(x, 2, 2, 1, count_include_pad=False), np.ones((1, 1, 2, 2)))
    close(F.avg_pool2d(x, 2, divisor_override=8), [[[[0.5]]]])


def test_adaptive_bins_overlap_when_sizes_do_not_divide() -> None:
    x = Tensor(picture([1, 2, 4]), requires_grad=True)
    y = F.adaptive_avg_pool2d(x, (None, 2))
    close(y, picture([1.5, 3]))
    y.backward(picture([2, 4]))
    close(x.grad, picture([1, 3, 2]))
    close(F.adaptive_avg_pool2d(x, 1), picture([7 / 3]))


def test_unpooling_puts_values_back() -> None:
    x = picture([1, 5, 2, 0], [3, 4, 8, 1])
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    close(F.max_unpool2d(y, indices, 2), picture([0, 5, 0, 0], [0, 0, 8, 0]))


@pytest.mark.parametrize(
    "size, expected", [((3, 5), (3, 5)), ((1, 1, 2, 4), (2, 4)), (None, (2, 4))]
)
def test_unpooling_takes_an_output_size(
    size: tuple[int, ...] | None, expected: tuple[int, ...]
) -> None:
    y = F.max_unpool2d(np.ones((1, 1, 1, 2)), np.array([[[[0, 3]]]]), 2, output_size=size)
    assert y.shape[2:] == expected


def test_inputs_are_not_written_and_dtype_is_kept() -> None:
    x = values(1, 2, 5, 5).astype(np.float32)
    before = x.copy()
    y, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    for result in (
        y,
        F.avg_pool2d(x, 2),
        F.adaptive_avg_pool2d(x, 3),
        F.max_unpool2d(y, indices, 3, 2, 1),
    ):
        assert result.dtype == np.float32
    assert (x == before).all()


ERRORS: list[tuple[Callable[[np.ndarray], Any], str]] = [
    (lambda x: F.max_pool2d(x[0], 2), "max_pool2d: input has shape .2, 4, 4., expected 4 axes"),
    (lambda x: F.max_pool2d(x, 5), "kernel_size .5, 5. does not fit"),
    (lambda x: F.max_pool2d(x, 2, padding=2), "more than half"),
    (lambda x: F.max_pool2d(x, 0), "expected padding >= 0"),
    (lambda x: F.avg_pool2d(x, 2, stride=0), "avg_pool2d: .*expected padding >= 0"),
    (lambda x: F.avg_pool2d(x, 2, divisor_override=0), "divisor_override is 0"),
    (lambda x: F.adaptive_avg_pool2d(x, 0), "output_size 0, expected"),
    (lambda x: F.adaptive_avg_pool2d(x, (1, 2, 3)), "expected one or two"),
    (lambda x: F.max_unpool2d(x, np.zeros((1, 2, 4, 3), int), 2), "expected integers of shape"),
    (lambda x: F.max_unpool2d(x, np.full(x.shape, 64), 2), "64..64, expected 0..63"),
    (lambda x: F.max_unpool2d(x, np.zeros(x.shape, int), 2, output_size=(10, 8)), "give or take"),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors_say_what_was_expected(call: Callable[[np.ndarray], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call(np.zeros((1, 2, 4, 4)))
    assert "\n" not in str(caught.value)


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match="avg_pool2d: input has dtype int64"):
        F.avg_pool2d(np.zeros((1, 1, 4, 4), np.int64), 2)


@pytest.mark.peer
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel, stride, padding, ceil", WINDOWS)
def test_pooling_as_in_pytorch(
    shape: tuple[int, ...], kernel: Any, stride: Any, padding: Any, ceil: bool
) -> None:
    torch = pytest.importorskip("torch")
    peer, x = torch.nn.functional, values(*shape)
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "ceil_mode": ceil}
    agree(
        lambda x: F.max_pool2d(x, kernel, **settings),
        lambda x: peer.max_pool2d(x, kernel, **settings),
        x,
    )
    ours = F.max_pool2d(x, kernel, **settings, return_indices=True)
    theirs = peer.max_pool2d(torch.tensor(x), kernel, **settings, return_indices=True)
    close(ours[0], theirs[0])
    assert (ours[1].numpy() == theirs[1].numpy()).all()
    for more in DIVISORS:
        agree(
            lambda x, more=more: F.avg_pool2d(x, kernel, **settings, **more),
            lambda x, more=more: peer.avg_pool2d(x, kernel, **settings, **more),
            x,
        )


@pytest.mark.peer
@pytest.mark.parametrize("kernel, padding, dilation", [(2, 0, 2), ((3, 2), (1, 1), (2, 3))])
def test_dilated_max_pool_as_in_pytorch(kernel: Any, padding: Any, dilation: Any) -> None:
    torch = pytest.importorskip("torch")
    agree(
        lambda x: F.max_pool2d(x, kernel, 2, padding, dilation),
        lambda x: torch.nn.functional.max_pool2d(x, kernel, 2, padding, dilation),
        values(2, 3, 8, 7),
    )


@pytest.mark.peer
def test_ties_and_nan_as_in_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).integers(0, 3, (2, 2, 6, 6)).astype(np.float64)
    x[0, 0, 2:4, 2:4] = np.nan
    y, indices = F.max_pool2d(x, 3, 1, 1, return_indices=True)
    expected = torch.nn.functional.max_pool2d(torch.tensor(x), 3, 1, 1, return_indices=True)
    np.testing.assert_array_equal(y.numpy(), expected[0])
    np.testing.assert_array_equal(indices.numpy(), expected[1])


@pytest.mark.peer
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 2, (3, None), (4, 5), (9, 11)])
def test_adaptive_pooling_as_in_pytorch(shape: tuple[int, ...], size: Any) -> None:
    torch = pytest.importorskip("torch")
    agree(
        lambda x: F.adaptive_avg_pool2d(x, size),
        lambda x: torch.nn.functional.adaptive_avg_pool2d(x, size),
        values(*shape),
    )


@pytest.mark.peer
@pytest.mark.parametrize("kernel, stride, size", [(2, None, None), (2, 2, (7, 9)), (3, 3, None)])
def test_unpooling_as_in_pytorch(
    kernel: int, stride: int | None, size: tuple[int, ...] | None
) -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor(values(2, 3, 7, 9))
    pooled, indices = torch.nn.functional.max_pool2d(x, kernel, stride, return_indices=True)
    shape = size or tuple(n // kernel * kernel for n in x.shape[2:])
    if size is None:
        row, column = indices // 9, indices % 9
        indices = row * shape[1] + column
    agree(
        lambda y: F.max_unpool2d(y, indices.numpy(), kernel, stride, output_size=size),
        lambda y: torch.nn.functional.max_unpool2d(y, indices, kernel, stride, output_size=size),
        pooled.numpy(),
    )


def test_the_global_average_of_no_pictures() -> None:
    assert F.adaptive_avg_pool2d(np.ones((0, 3, 4, 4)), 1).shape == (0, 3, 1, 1)
