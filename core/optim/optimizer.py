"""What all optimisers share: parameter groups, state and its saving (`torch.optim.Optimizer`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from core import device as dev
from core import kernels, replay
from core.device import Array
from core.kernels.reference.optim import Piece, unscaled
from core.nn.module import zero_gradient
from core.tensor import Tensor

Group = dict[str, Any]
Params = Iterable[Tensor] | Iterable[Mapping[str, Any]]
State = dict[str, Array]


class Optimizer:
    """Changes parameters in place, a step at a time, after their gradients (book, 6.1).

    `params` are leaves that require gradients, or mappings with such `params` and settings of
    their own; `defaults` are the settings of the rest. A subclass names the kernel of its `rule`,
    and what that is given. Arrays of the state lie in memory as their parameter does. Raises
    ValueError for no parameters, one given twice, or an unknown setting.
    """

    rule: str

    def __init__(self, params: Params, defaults: Group) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        for group in _as_groups(type(self).__name__, params):
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Take in more parameters, with settings of their own where `group` has some."""
        name = type(self).__name__
        given = group.get("params", ())
        params = [given] if isinstance(given, Tensor) else list(given)
        unknown = sorted(set(group) - {"params", "initial_lr"} - set(self.defaults))
        if unknown:
            raise ValueError(
                f"{name}: unknown setting {unknown[0]!r}, expected {', '.join(self.defaults)}"
            )
        known = {id(p) for own in self.param_groups for p in own["params"]}
        for param in params:
            _check_leaf(name, param)
            if id(param) in known:
                raise ValueError(f"{name}: a parameter of shape {param.shape} is given twice")
            known.add(id(param))
        settings = {**self.defaults, **group, "params": params}
        self._check(settings)
        self.param_groups.append(settings)

    def _check(self, group: Group) -> None:
        """Raise ValueError for settings that make no sense."""
        raise NotImplementedError

    def _numbers(self, state: State, group: Group) -> tuple[Any, ...]:
        """What one parameter's step is, for the kernel `rule`; counts it where that matters."""
        raise NotImplementedError

    def _averages(self, group: Group) -> Iterator[tuple[str, bool, float]]:
        """For each array of the state: its name, whether it is used, and the value it starts at."""
        raise NotImplementedError

    def step(self, scaling: Array | None = None) -> None:
        """One step of every parameter that has a gradient; all that step alike in one run.

        `scaling` is what `core.amp.GradScaler` gives: gradients are scaled back, or the step is
        left out.
        """
        for group in self.param_groups:
            runs: dict[tuple[Any, ...], tuple[list[Piece], list[State]]] = {}
            stepped = [param for param in group["params"] if param.grad is not None]
            for param in stepped:
                state, gradient = self.state.setdefault(param, {}), param.grad.data
                numbers = self._numbers(state, group)
                arrays = (self._array(param.data, state, *each) for each in self._averages(group))
                run = kernels.of(param.data, gradient), param.dtype, numbers
                pieces, states = runs.setdefault(run, ([], []))
                pieces.append((param.data, gradient, *arrays))
                states.append(state)
            for (backend, _, numbers), (pieces, states) in runs.items():
                self._run(backend, pieces, numbers, scaling)
                replay.on_replay(partial(self._numbers_again, states, group))
            for param in stepped:
                param.written()

    def _run(self, backend: Any, pieces: list[Piece], numbers: Any, scaling: Array | None) -> None:
        if scaling is not None and not hasattr(backend, "SCALED"):
            pieces, scaling = unscaled(pieces, scaling), None
        more = () if scaling is None else (scaling,)
        if pieces:
            getattr(backend, self.rule)(pieces, numbers, *more)

    def _numbers_again(self, states: Sequence[State], group: Group) -> tuple[Any, ...]:
        """The numbers of one more step of parameters that step alike."""
        numbers: tuple[Any, ...] = ()
        for state in states:
            numbers = self._numbers(state, group)
        return numbers

    def _array(
        self, param: Array, state: State, name: str, used: bool, first: float
    ) -> Array | None:
        """The array `name` of a parameter's state, made where it is missing; None where unused."""
        if not used:
            return None
        if name not in state:
            state[name] = zeros_like(param)
            state[name] += first
        return state[name]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, or fill them with zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                zero_gradient(param, set_to_none)

    # ------------------------------------------------------------------ saving

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {name: array}}, "param_groups": [...]}, parameters by number.

        Arrays are NumPy's and, as in PyTorch, share memory on the CPU; all of "param_groups" is
        plain JSON.
        """
        numbers = {param: i for i, param in enumerate(self._params())}
        state = {
            numbers[param]: {name: dev.to_host(array) for name, array in own.items()}
            for param, own in self.state.items()
        }
        groups = [
            {
                **{k: list(v) if isinstance(v, tuple) else v for k, v in group.items()},
                "params": [numbers[param] for param in group["params"]],
            }
            for group in self.param_groups
        ]
        return {"state": dict(sorted(state.items())), "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue where `state_dict()` was taken, with copies of its arrays.

        Raises ValueError, before anything changes, when the groups or shapes are not these.
        """
        name, params = type(self).__name__, self._params()
        sizes = [len(group["params"]) for group in state_dict["param_groups"]]
        own_sizes = [len(group["params"]) for group in self.param_groups]
        if sizes != own_sizes:
            raise ValueError(
                f"{name}: the state has groups of {sizes} parameters, expected {own_sizes}"
            )
        loaded: dict[Tensor, State] = {}
        for number, arrays in state_dict["state"].items():
            if not 0 <= int(number) < len(params):
                raise ValueError(f"{name}: the state has a parameter {number} of {len(params)}")
            param = params[int(number)]
            loaded[param] = {k: _state_array(name, k, v, param) for k, v in arrays.items()}
        groups = [
            self._loaded_group(own, saved)
            for own, saved in zip(self.param_groups, state_dict["param_groups"], strict=True)
        ]
        for param, state in loaded.items():
            # A recorded step goes on with the arrays that it was recorded with.
            old = self.state.get(param, {})
            for key, array in state.items():
                if key != "step" and key in old:
                    old[key][...] = array
                    state[key] = old[key]
            old.clear()
            old.update(state)
            loaded[param] = old
        self.state = loaded
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update(group)

    def _loaded_group(self, own: Group, saved: Mapping[str, Any]) -> Group:
        """The settings of `saved` in the types of `own`, checked."""
        wrong = (set(saved) ^ set(own)) - {"initial_lr"}
        if wrong:
            raise ValueError(
                f"{type(self).__name__}: the state's settings differ: {', '.join(sorted(wrong))}"
            )
        group = {
            k: tuple(v) if isinstance(own.get(k), tuple) else v
            for k, v in saved.items()
            if k != "params"
        }
        self._check(group)
        return group

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for i, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {i}")
            lines += [f"    {key}: {group[key]}" for key in sorted(group) if key != "params"]
        return "\n".join([*lines, ")"])


def next_step(state: State) -> int:
    """Count one more step in `state`; its number, from 1."""
    state["step"] = np.asarray(int(state.get("step", 0)) + 1, dev.int64)
    return int(state["step"])


def zeros_like(param: Array) -> Array:
    """Zeros in the shape, dtype and memory order of `param`."""
    return _shaped_as(param, dev.array_module(param).zeros(param.size, param.dtype))


def _shaped_as(like: Array, values: Array) -> Array:
    """A view of 1-d `values` in the shape and memory order of `like`."""
    order = sorted(range(like.ndim), key=lambda axis: -like.strides[axis])
    shape = tuple(like.shape[axis] for axis in order)
    return values.reshape(shape).transpose([order.index(axis) for axis in range(like.ndim)])


def need(condition: bool, name: str, setting: str, value: object, expected: str) -> None:
    """Raise ValueError unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name}: {setting} is {value}, expected {expected}")


def need_not_negative(name: str, group: Mapping[str, Any], *settings: str) -> None:
    """Raise ValueError for a setting below zero, or that is no number."""
    for setting in settings:
        need(group[setting] >= 0, name, setting, group[setting], "a number >= 0")


def _as_groups(name: str, params: Params) -> list[Mapping[str, Any]]:
    if isinstance(params, Tensor | Mapping):
        raise TypeError(
            f"{name}: params is a {type(params).__name__}, expected a list of parameters or groups"
        )
    given: list[Any] = list(params)
    if not given:
        raise ValueError(f"{name}: got no parameters")
    return given if isinstance(given[0], Mapping) else [{"params": given}]


def _check_leaf(name: str, param: object) -> None:
    if not isinstance(param, Tensor):
        raise TypeError(f"{name}: a parameter is a {type(param).__name__}, expected a Tensor")
    if not param.is_leaf:
        raise ValueError(
            f"{name}: a tensor of shape {param.shape} was made by an operation, expected a leaf"
        )


def _state_array(name: str, key: str, value: Any, param: Tensor) -> Array:
    """A copy of a saved array on the device and in the memory order of its parameter."""
    value = np.asarray(value)
    if key == "step":
        return value.astype(dev.int64)
    if value.shape != param.shape:
        raise ValueError(
            f"{name}: {key} has shape {value.shape}, its parameter {param.shape}; "
            "expected equal ones"
        )
    array = zeros_like(param.data)
    array[...] = dev.array_module(array).asarray(value)
    return array
