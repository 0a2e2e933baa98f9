"""Sums and draws, by hand and against a plain running sum."""

import numpy as np
import pytest

from dqn.sum_tree import SumTree


def test_sums_and_places_by_hand() -> None:
    tree = SumTree(5)
    tree.set(np.array([0, 1, 2, 4]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert tree.total == 10
    found = tree.find(np.array([0.0, 0.99, 1.0, 2.99, 3.0, 5.9, 6.0, 9.99]))
    assert found.tolist() == [0, 0, 1, 1, 2, 2, 4, 4]
    tree.set(np.array([2]), 0.0)
    assert tree.total == 7 and tree[4] == 4
    assert tree.find(np.array([3.0])).tolist() == [4]


@pytest.mark.parametrize("capacity", [1, 2, 3, 17, 64])
def test_it_finds_what_a_running_sum_finds(capacity: int) -> None:
    rng = np.random.default_rng(capacity)
    tree, priorities = SumTree(capacity), np.zeros(capacity)
    for _ in range(20):
        places = rng.integers(capacity, size=4)
        values = rng.random(4) * (rng.random(4) < 0.7)
        tree.set(places, values)
        for place, value in zip(places, values, strict=True):
            priorities[place] = value
        assert tree.total == pytest.approx(priorities.sum())
        if priorities.sum() > 0:
            masses = rng.random(50) * tree.total
            expected = np.searchsorted(np.cumsum(priorities), masses, side="right")
            assert tree.find(masses).tolist() == expected.tolist()


def test_an_empty_place_is_never_found() -> None:
    tree = SumTree(8)
    tree.set(np.arange(4), 0.1)
    # 0.1 four times is not quite 0.4: the end of the range must not fall behind the last place.
    assert tree.find(np.array([np.nextafter(0.4, 0), tree.total]))[-1] == 3


def test_its_state_comes_back() -> None:
    tree, other = SumTree(6), SumTree(6)
    tree.set(np.arange(6), np.arange(6.0))
    other.load_state_dict(tree.state_dict())
    assert other.total == tree.total == 15
    with pytest.raises(ValueError, match=r"priorities of \(6,\), expected \(5,\)"):
        SumTree(5).load_state_dict(tree.state_dict())
    with pytest.raises(ValueError, match="capacity is 0"):
        SumTree(0)
