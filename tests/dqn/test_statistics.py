"""The interquartile mean by hand, and what its interval holds."""

import numpy as np
import pytest

from dqn.statistics import bootstrap_interval, interquartile_mean


def test_the_middle_half_counts() -> None:
    assert interquartile_mean([100.0, 1.0, 2.0, 3.0, -50.0, 4.0, 5.0, 6.0]) == 3.5
    assert interquartile_mean([7.0]) == 7.0
    assert interquartile_mean([[1.0, 2.0], [3.0, 100.0]]) == 2.5
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])


def test_an_interval_holds_the_mean_and_narrows() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(10, 2, 20), rng.normal(10, 2, 2000)
    low, high = bootstrap_interval([few])
    assert low < interquartile_mean(few) < high
    closer = bootstrap_interval([many], draws=300)
    assert closer[0] < 10 < closer[1]
    assert closer[1] - closer[0] < (high - low) / 4


def test_trainings_that_differ_widen_it() -> None:
    alike = [np.full(50, 10.0)] * 4
    assert bootstrap_interval(alike) == (10.0, 10.0)
    low, high = bootstrap_interval([np.full(50, value) for value in (0.0, 5.0, 10.0, 20.0)])
    # Episodes of one training say nothing about the next one.
    assert high - low > 8
    with pytest.raises(ValueError, match="no returns"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="no returns"):
        bootstrap_interval([np.zeros(0)])


def test_the_same_seed_gives_the_same_interval() -> None:
    returns = [np.arange(30.0)]
    assert bootstrap_interval(returns, seed=3) == bootstrap_interval(returns, seed=3)
