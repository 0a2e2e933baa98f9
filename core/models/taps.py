"""What a network computes on the way: named inner activations of any model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from core import nn


class _Complete(Exception):
    """Every activation asked for is there: the rest of the network need not run."""


class Features:
    """A model seen from inside: called like it, it gives activations by name (`features`).

    `paths` are the dotted paths of the layers, by name.
    """

    def __init__(
        self, model: nn.Module, names: Iterable[str], each: Callable[[str, Any], Any] | None = None
    ) -> None:
        if isinstance(names, str):
            raise TypeError(f"features: names is the text {names!r}, expected a list of names")
        self.model = model
        self.each = each
        self.names = tuple(names)
        self.paths = {name: _path(model, name) for name in self.names}
        if not self.paths:
            raise ValueError("features: no names given, expected at least one layer")

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the model as far as it is needed; the activations in the order of the names."""
        found: dict[str, Any] = {}
        with ExitStack() as stack:
            for name, path in self.paths.items():
                # Looked up here, so that a layer replaced since then is the one that is seen.
                layer = self.model.get_submodule(path)
                hook = partial(self._keep, found, name)
                stack.enter_context(layer.register_output_hook(hook))
            with suppress(_Complete):
                self.model(*args, **kwargs)
        missing = [name for name in self.paths if name not in found]
        if missing:
            raise RuntimeError(
                f"features: {type(self.model).__name__} did not run {', '.join(missing)}"
            )
        return {name: found[name] for name in self.paths}

    def _keep(self, found: dict[str, Any], name: str, layer: nn.Module, output: Any) -> None:
        if name not in found:
            found[name] = output if self.each is None else self.each(name, output)
        if len(found) == len(self.paths):
            raise _Complete

    def __repr__(self) -> str:
        return f"Features({type(self.model).__name__}, {list(self.names)})"


def features(
    model: nn.Module, names: Iterable[str], each: Callable[[str, Any], Any] | None = None
) -> Features:
    """A function from the model's input to {name: activation} for inner layers of any model.

    A name is a layer's dotted path ("features.3", "layer2.0.conv1"; "" is the result of the model
    itself) or one of the model's `layer_names` ("relu4_2" of a VGG). Nothing behind the last
    layer asked for runs, nothing else is kept, and neighbours that run as one node still do where
    only the last is asked for; gradients flow from the activations as from any result. A layer that
    runs several times gives its first result. The model stays as it is, shared with whoever else
    uses it: its mode, its weights and whether they learn count at each call.

    `each(name, activation)` makes what is given in place of an activation, as soon as it is there:
    a sum that takes less memory, or a loss, whose gradient then waits for its turn.

    Raises ValueError for no names and for those that the model does not have, and on a call
    RuntimeError for a layer that did not run.
    """
    return Features(model, names, each)


def _path(model: nn.Module, name: str) -> str:
    """The dotted path of a layer given by its path or by the name that papers use."""
    aliases: Mapping[str, str] = getattr(model, "layer_names", {})
    path = aliases.get(name, name)
    try:
        model.get_submodule(path)
    except AttributeError:
        known = [*aliases, *(path for path, _ in model.named_modules() if path)]
        near = difflib.get_close_matches(name, known) or known[:6]
        raise ValueError(
            f"features: {type(model).__name__} has no layer {name!r}; expected one such as "
            f"{', '.join(near)}"
        ) from None
    return path
