"""Memory layout: shapes are NCHW, memory may be channels-last."""

from __future__ import annotations

import numpy as np
import pytest

from core.kernels import layout
from tests.core import bench, fake_device


def pictures(n: int = 2, c: int = 3, h: int = 5, w: int = 4) -> np.ndarray:
    return np.arange(n * c * h * w, dtype=np.float32).reshape(n, c, h, w)


@pytest.mark.parametrize("shape", [(2, 3, 7), (2, 3, 5, 4), (2, 3, 2, 4, 5)])
def test_channels_last_and_back(shape: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape)
    assert layout.channels_last(x).shape == (shape[0], *shape[2:], shape[1])
    assert np.shares_memory(layout.channels_last(x), x)
    assert np.array_equal(layout.channels_first(layout.channels_last(x)), x)
    assert not layout.is_channels_last(x)
    assert layout.is_channels_last(bench.channels_last(x))


def test_axes_of_length_one_make_both_layouts_valid() -> None:
    for x in (pictures(c=1), pictures(h=1, w=1)):
        assert not layout.is_channels_last(x)
        assert np.shares_memory(layout.to_channels_last(x), x)


def test_strided_arrays_are_in_neither_layout() -> None:
    assert not layout.is_channels_last(bench.channels_last(pictures())[:, :, ::2])
    assert not layout.is_channels_last(np.zeros((3, 4)))


def test_to_channels_last_copies_only_where_it_must() -> None:
    x = bench.channels_last(pictures())
    assert np.shares_memory(layout.to_channels_last(x), x)
    assert not np.shares_memory(layout.to_channels_last(pictures()), pictures())
    assert layout.to_channels_last(pictures()).flags.c_contiguous


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 7, 2, 2)])
def test_empty_and_zeros_follow_their_model(shape: tuple[int, ...]) -> None:
    last = bench.channels_last(pictures())
    for make in (layout.empty, layout.zeros):
        assert layout.is_channels_last(make(shape, "float64", last))
        assert make(shape, "float64", pictures()).flags.c_contiguous
        assert make((3, 4), "float64", last).flags.c_contiguous
    assert not layout.zeros(shape, "float32", last).any()


def test_as_layout_of() -> None:
    first, last = pictures(), bench.channels_last(pictures())
    assert layout.is_channels_last(layout.as_layout_of(first, last))
    assert layout.as_layout_of(last, first).flags.c_contiguous
    assert layout.as_layout_of(first, first) is first
    for x in (layout.as_layout_of(first, last), layout.as_layout_of(last, first)):
        assert np.array_equal(x, pictures())


def test_ufunc_keeps_the_layout_of_the_operand_with_channels() -> None:
    last, bias = bench.channels_last(pictures()), np.ones((3, 1, 1), np.float32)
    for y in (
        layout.ufunc("add", last, bias),
        layout.ufunc("add", bias, last),
        layout.ufunc("multiply", last, 2.0),
        layout.ufunc("subtract", 1, last),
    ):
        assert layout.is_channels_last(y) and y.dtype == np.float32
    assert np.array_equal(layout.ufunc("add", last, bias), pictures() + bias)
    assert layout.ufunc("greater", last, 3, dtype=bool).dtype == bool
    assert layout.ufunc("add", pictures(), bias).flags.c_contiguous


def test_ufunc_gives_arrays_and_broadcasts() -> None:
    y = layout.ufunc("add", np.array(1.0), np.array(2.0))
    assert type(y) is np.ndarray and y.shape == ()
    assert layout.ufunc("add", np.ones((3, 1)), np.ones(4)).shape == (3, 4)


@pytest.mark.device
def test_ufunc_keeps_the_layout_on_another_device() -> None:
    fake_device.register()
    x = fake_device.from_host(bench.channels_last(pictures()))
    assert layout.is_channels_last(layout.ufunc("negative", x))
