"""Checkpoints: a nested state (numbers, text, arrays) in one safetensors file, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from core import device as dev
from core.io import weights

FORMAT = "1"
_ARRAY, _ITEMS, _TUPLE = "$array", "$items", "$tuple"


def save(path: str | os.PathLike[str], state: Mapping[str, Any]) -> None:
    """Write `state` whole or not at all; `load` gives it back exactly.

    `state` is nested mappings, lists and tuples of arrays and of JSON's values. Arrays are
    stored under the path that leads to them ("model/features.0.weight"), everything else as
    JSON in the file's header; NumPy's scalars come back as Python's numbers. Raises TypeError
    for anything else.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = _pack(state, "", arrays)
    weights.save(path, arrays, {"checkpoint": FORMAT, "state": json.dumps(tree)})


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The state that `save` wrote. Raises ValueError naming the file when it is no checkpoint."""
    arrays, header = weights.load(path)
    if "checkpoint" not in header:
        raise ValueError(f"{path} is no checkpoint: it holds weights alone")
    if header["checkpoint"] != FORMAT:
        raise ValueError(
            f"{path}: checkpoint format {header['checkpoint']!r}, this version reads {FORMAT!r}"
        )
    try:
        state = _unpack(json.loads(header["state"]), arrays)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: broken checkpoint: {error!r}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: broken checkpoint: its state is a {type(state).__name__}")
    return state


def _pack(value: Any, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """`value` for JSON; its arrays go to `arrays` and leave their place behind."""
    if isinstance(value, np.generic):
        return value.item()
    if dev.is_array(value):
        while place in arrays:
            place += "'"
        arrays[place] = dev.to_host(value)
        return {_ARRAY: place}
    if isinstance(value, Mapping):
        packed = [
            (key, _pack(item, f"{place}/{key}".lstrip("/"), arrays)) for key, item in value.items()
        ]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in packed):
            return dict(packed)
        # JSON's keys are text; optimisers number their parameters.
        return {_ITEMS: packed}
    if isinstance(value, list | tuple):
        items = [_pack(item, f"{place}/{i}".lstrip("/"), arrays) for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"checkpoint: {place} is a {type(value).__name__}, which cannot be stored")


def _unpack(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return arrays[value[_ARRAY]]
    if _TUPLE in value:
        return tuple(_unpack(item, arrays) for item in value[_TUPLE])
    if _ITEMS in value:
        return {key: _unpack(item, arrays) for key, item in value[_ITEMS]}
    return {key: _unpack(item, arrays) for key, item in value.items()}
