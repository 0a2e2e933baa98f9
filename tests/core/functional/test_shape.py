"""Operations on shapes: what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from core import functional as F


def test_no_chunks() -> None:
    with pytest.raises(ValueError, match="chunk: chunks is 0"):
        F.chunk(np.ones(3), 0)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_one_hot_of_a_class_that_is_not_there(wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"one_hot: input .*{wrong}.*, expected 0\.\.2"):
        F.one_hot(np.array([1, wrong]), 3)
