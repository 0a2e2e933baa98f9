"""Checkpoints: nested states come back exactly, other files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.io import weights
from core.training import checkpoint

STATE: dict[str, Any] = {
    "epoch": 3,
    "best": None,
    "lr": 0.1 + 0.2,
    "random": {"state": 2**127 + 1, "kind": "PCG64"},
    "optimizer": {
        "state": {0: {"step": np.array(4, np.int64), "m": np.ones((2, 3), np.float32)}, 7: {}},
        "param_groups": [{"betas": (0.9, 0.999), "params": [0, 7], "nesterov": True}],
    },
    "$odd": {"$array": "text, not a place"},
    "a": {"b": np.arange(2)},
    "a/b": np.arange(3),
}


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return bool(
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and (one == other).all()
        )
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True)
        return type(one) is type(other) and all(same(a, b) for a, b in pairs)
    return type(one) is type(other) and bool(one == other)


def test_a_nested_state_comes_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, STATE)
    assert same(checkpoint.load(path), STATE)


def test_the_arrays_have_speaking_names(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, STATE)
    assert {"optimizer/state/0/m", "a/b"} < set(weights.load(path)[0])


def test_what_cannot_be_stored_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="model/hook is a function"):
        checkpoint.save(tmp_path / "x", {"model": {"hook": same}})


@pytest.mark.parametrize(
    "header, message",
    [
        ({}, "is no checkpoint"),
        ({"checkpoint": "99", "state": "{}"}, "format '99', this version reads '1'"),
        ({"checkpoint": "1"}, "broken checkpoint"),
        ({"checkpoint": "1", "state": "{"}, "broken checkpoint"),
        ({"checkpoint": "1", "state": "[1]"}, "its state is a list"),
        ({"checkpoint": "1", "state": '{"x": {"$array": "nowhere"}}'}, "nowhere"),
        ({"checkpoint": "1", "state": '{"x": {"$items": 3}}'}, "broken checkpoint"),
        ({"checkpoint": "1", "state": "[" * 100_000}, "broken checkpoint"),
    ],
)
def test_other_files_are_refused(header: dict[str, str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    weights.save(path, {}, header)
    with pytest.raises(ValueError, match=message) as caught:
        checkpoint.load(path)
    assert "last.safetensors" in str(caught.value)
