"""Modules made of modules: chains, lists, shortcuts and branches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from core import functional as F
from core.nn.activation import ReLU
from core.nn.module import Module
from core.nn.norm import BatchNorm2d
from core.tensor import Tensor


class _Numbered(Module):
    """Modules in order, under names that are "0", "1", ... unless given."""

    def __len__(self) -> int:
        return len(self._own_modules())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._own_modules().values())

    def _name_at(self, index: int) -> str:
        names = list(self._own_modules())
        if not -len(names) <= index < len(names):
            raise IndexError(
                f"{type(self).__name__}: index {index} is out of range for {len(names)} modules"
            )
        return names[index]

    def __getitem__(self, index: int | slice) -> Any:
        """One module, or for a slice a container of the same kind (with the same names)."""
        own = self._own_modules()
        if not isinstance(index, slice):
            return own[self._name_at(index)]
        # A subclass may need arguments: its part is what it was made from.
        kind = next(base for base in type(self).__mro__ if _Numbered in base.__bases__)
        part = kind()
        for name in list(own)[index]:
            part.add_module(name, own[name])
        return part

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(self._name_at(index), module)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        own = self._own_modules()
        # A slice keeps its names, so that the next number may be taken.
        free = (name for name in map(str, itertools.count(len(own))) if name not in own)
        self.add_module(next(free), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self


class Sequential(_Numbered):
    """Modules one after another; made from modules, or from a mapping of names to modules.

    A convolution, a linear layer or a batch normalisation and the `ReLU` right behind it run as
    one node of the graph, which is faster and keeps less. Values, gradients and state-dict names
    are those of the modules by themselves; a forward hook on either of the two, or an output hook
    on the first, switches it off.
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, module)
            return
        for i, each in enumerate(modules):
            self.add_module(str(i), each)  # type: ignore[arg-type]

    def forward(self, input: Any) -> Any:
        return chain(input, *self)


def chain(input: Any, *modules: Module) -> Any:
    """What `Sequential(*modules)` computes, for modules that have their names elsewhere."""
    waiting: Module | None = None
    for module in modules:
        if waiting is not None and _fuses(waiting, module, "forward_relu"):
            input, waiting = waiting.forward_relu(input), None  # type: ignore[attr-defined]
            module.show_output(input)
            continue
        if waiting is not None:
            input = waiting(input)
        waiting = module
    return input if waiting is None else waiting(input)


def join(input: Any, norm: Module, shortcut: Any, relu: Module) -> Any:
    """`relu(norm(input) + shortcut)`, the end of a residual block (He et al. 2016, figure 2).

    input (N, C, H, W) and shortcut of one shape give that shape.
    One node where `norm` is a batch normalisation, `relu` a ReLU, and the shortcut is as the input;
    hooks that would see what is between switch it off, as in `Sequential`.
    """
    if (
        isinstance(norm, BatchNorm2d)
        and _fuses(norm, relu, "forward_add_relu")
        and isinstance(shortcut, Tensor)
        and (shortcut.shape, shortcut.dtype) == (input.shape, input.dtype)
    ):
        output = norm.forward_add_relu(input, shortcut)
        relu.show_output(output)
        return output
    return relu(norm(input) + shortcut)


def _fuses(module: Module, following: Module, method: str) -> bool:
    """Whether the two may run as this method of `module`."""
    return (
        type(following) is ReLU
        and _defines_both(type(module), method)
        # What is between the two is never there to be shown.
        and not (module._forward_hooks or module._output_hooks or following._forward_hooks)
    )


def _defines_both(kind: type[Module], method: str) -> bool:
    """Whether `method` goes with the `forward` in use, and not with an overridden one."""
    owner = next(base for base in kind.__mro__ if "forward" in vars(base))
    return method in vars(owner)


class ModuleList(_Numbered):
    """A list whose modules are registered; it is indexed and iterated over, not called."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)


class ModuleDict(Module):
    """A dictionary whose modules are registered; it is not called."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self.add_module(name, module)

    def __getitem__(self, name: str) -> Module:
        return self._own_modules()[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def __len__(self) -> int:
        return len(self._own_modules())

    def __iter__(self) -> Iterator[str]:
        return iter(self._own_modules())

    def __contains__(self, name: object) -> bool:
        return name in self._own_modules()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._own_modules().keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._own_modules().values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """(name, module) pairs."""
        return self._own_modules().items()


class Residual(Module):
    """activation(body(x) + shortcut(x)) (He et al. 2016, figure 2).

    A batch normalisation at the body's end, the sum and a ReLU run as one node (`join`). Without
    `shortcut` x itself is added, without `activation` nothing follows. Raises ValueError when the
    two sums have different shapes.
    """

    def __init__(
        self, body: Module, shortcut: Module | None = None, *, activation: Module | None = None
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, input: Any) -> Tensor:
        inner, norm = ([self.body], None) if self.activation is None else _apart(self.body)
        y = chain(input, *inner)
        x = input if self.shortcut is None else self.shortcut(input)
        if x.shape != y.shape:
            raise ValueError(
                f"Residual: the body gives shape {y.shape}, the shortcut {x.shape}; "
                "expected equal ones"
            )
        if self.activation is None:
            return y + x
        return self.activation(y + x) if norm is None else join(y, norm, x, self.activation)


def _apart(body: Module) -> tuple[list[Module], BatchNorm2d | None]:
    """What `body` runs, and the batch normalisation at its end if it has one of its own."""
    watched = body._forward_hooks or body._output_hooks
    if type(body) is Sequential and len(body) and not watched:
        *inner, last = body
        if isinstance(last, BatchNorm2d):
            return inner, last
    return [body], None


class Concat(_Numbered):
    """The branches' results for the same input, joined along the channels (Szegedy et al. 2015)."""

    def __init__(self, *branches: Module) -> None:
        super().__init__()
        self.extend(branches)

    def forward(self, input: Any) -> Tensor:
        return F.cat([branch(input) for branch in self], dim=1)
