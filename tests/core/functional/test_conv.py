"""Convolutions: settings that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from core import functional as F

X, W = np.ones((1, 2, 5, 5), np.float32), np.ones((2, 2, 3, 3), np.float32)


@pytest.mark.parametrize(
    "setting", [{"padding": -1}, {"stride": 0}, {"dilation": 0}, {"groups": 0}]
)
def test_settings_out_of_range(setting: dict[str, Any]) -> None:
    for operation in (F.conv2d, F.conv_transpose2d):
        with pytest.raises(ValueError, match=f"^{operation.__name__}: .*expected stride"):
            operation(X, W, **setting)


def test_fractions_are_not_cut_off() -> None:
    with pytest.raises(TypeError, match="expected integers"):
        F.conv2d(X, W, stride=1.7)
