"""`uniforms` is uniform, and a sample's numbers do not depend on its company."""

import numpy as np
import pytest

from core.data.rng import Draws, uniforms


def test_samples_do_not_depend_on_their_batch() -> None:
    alone = uniforms(3, 1, np.array([17]), 4)
    together = uniforms(3, 1, np.array([5, 17, 99]), 4)
    assert np.array_equal(alone[0], together[1])
    assert np.array_equal(uniforms(3, 1, np.array([17]), 2), alone[:, :2])


def test_every_part_of_the_key_counts() -> None:
    index = np.array([1])
    values = [
        uniforms(0, 0, index, 1),
        uniforms(1, 0, index, 1),
        uniforms(0, 1, index, 1),
        uniforms(0, 0, index, 1, stream=1),
        uniforms(0, 0, index + 1, 1),
    ]
    assert len({value.item() for value in values}) == 5


def test_known_values_stay() -> None:
    expected = [[0.47141043, 0.72475208, 0.3030309], [0.16806181, 0.17667247, 0.99777303]]
    assert np.allclose(uniforms(0, 0, np.arange(2), 3), expected, atol=1e-8)


@pytest.mark.parametrize("axis", ["index", "epoch", "stream", "count"])
def test_uniform_and_uncorrelated_along_each_axis(axis: str) -> None:
    n = 4096
    if axis == "index":
        values = uniforms(7, 0, np.arange(n), 1)[:, 0]
    elif axis == "count":
        values = uniforms(7, 0, np.array([0]), n)[0]
    elif axis == "epoch":
        values = np.array([uniforms(7, e, np.array([0]), 1).item() for e in range(n)])
    else:
        values = np.array([uniforms(7, 0, np.array([0]), 1, s).item() for s in range(n)])
    assert values.min() >= 0 and values.max() < 1
    observed = np.histogram(values, 16, (0, 1))[0]
    chi_square = ((observed - n / 16) ** 2 / (n / 16)).sum()
    assert chi_square < 37.7  # 0.1 % of uniform samples exceed this with 15 degrees of freedom
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 0.06


def test_draws_open_a_new_stream_each_call() -> None:
    draw = Draws(0, 2, np.array([4, 8]))
    first, second = draw(3), draw(3)
    assert np.array_equal(first, uniforms(0, 2, np.array([4, 8]), 3, stream=0))
    assert np.array_equal(second, uniforms(0, 2, np.array([4, 8]), 3, stream=1))


def test_empty_batch() -> None:
    assert uniforms(0, 0, np.array([], np.int64), 3).shape == (0, 3)


def test_refuses_what_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="vector of integers"):
        uniforms(0, 0, np.array([0.5]), 1)
    with pytest.raises(ValueError, match="seed must not be negative"):
        uniforms(-1, 0, np.array([0]), 1)
    with pytest.raises(ValueError, match="indices must not be negative"):
        uniforms(0, 0, np.array([-2]), 1)
