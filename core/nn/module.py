"""Module: parameters, buffers and other modules under one name each (`torch.nn.Module`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from core import device as dev
from core.device import Array, DTypeLike
from core.tensor import Parameter, Tensor

T = TypeVar("T")
ForwardHook = Callable[["Module", tuple[Any, ...], Any], Any]
OutputHook = Callable[["Module", Any], None]

_LISTED = 6  # names of one kind that an error message lists


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict(strict=False)` could not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class RemovableHandle:
    """Takes a hook away again: by `remove()`, or at the end of a `with` block."""

    def __init__(self, hooks: dict[object, Any], key: object) -> None:
        self._hooks = hooks
        self._key = key

    def remove(self) -> None:
        """Take the hook away; a second call does nothing."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


class Module:
    """Base class of layers and networks (book, 5.7 and 7.5: a layer keeps its own parameters).

    A subclass calls `super().__init__()` first, assigns Parameters and Modules to attributes and
    defines `forward`. The attributes are the registry: what is assigned last under a name counts,
    in the order of first assignment. Names in `state_dict` are the dotted attribute paths.
    """

    training: bool

    def __init__(self) -> None:
        self.training = True
        self._buffers: dict[str, bool] = {}  # name -> whether state_dict has it
        self._forward_hooks: dict[object, ForwardHook] = {}
        self._output_hooks: dict[object, OutputHook] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._need_init()
        output = self.forward(*args, **kwargs)
        for hook in tuple(self._forward_hooks.values()):
            replaced = hook(self, args, output)
            output = output if replaced is None else replaced
        self.show_output(output)
        return output

    def show_output(self, output: Any) -> None:
        """Call the output hooks, for whoever computes this module's output without calling it."""
        for hook in tuple(self._output_hooks.values()):
            hook(self, output)

    # ------------------------------------------------------------------ registration

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter | Module):
            self._need_init()
        old = vars(self).get(name)
        if isinstance(old, Parameter) and not (value is None or isinstance(value, Parameter)):
            raise TypeError(
                f"{type(self).__name__}: cannot assign a {type(value).__name__} to the parameter "
                f"{name!r}; expected a Parameter or None (copy_ writes values)"
            )
        if name in vars(self).get("_buffers", ()) and not (
            value is None or isinstance(value, Tensor)
        ):
            raise TypeError(
                f"{type(self).__name__}: cannot assign a {type(value).__name__} to the buffer "
                f"{name!r}; expected a Tensor or None"
            )
        super().__setattr__(name, value)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add state that is not learned: moved and saved with the parameters.

        `tensor` is a Tensor, an array or None. One that is not `persistent` is left out of
        `state_dict`. Raises KeyError for a name that cannot be used.
        """
        self._check_name(name, Tensor)
        self._buffers[name] = persistent
        setattr(
            self, name, tensor if tensor is None or isinstance(tensor, Tensor) else Tensor(tensor)
        )

    def add_module(self, name: str, module: Module) -> None:
        """Add a module under a name that is made at run time ("0", "1").

        Raises KeyError for a name that cannot be used, TypeError for anything but a Module.
        """
        if not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: {name!r} is a {type(module).__name__}, expected a Module"
            )
        self._check_name(name, Module)
        setattr(self, name, module)

    def _check_name(self, name: str, kind: type) -> None:
        self._need_init()
        taken = hasattr(self, name) and not isinstance(getattr(self, name), kind)
        if not name or "." in name or taken:
            raise KeyError(
                f"{type(self).__name__}: {name!r} cannot name a {kind.__name__.lower()}: "
                "expected a free name without dots"
            )

    def _need_init(self) -> None:
        if "_forward_hooks" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__}: call super().__init__() before anything else in __init__"
            )

    # ------------------------------------------------------------------ what is inside

    def _own_modules(self) -> dict[str, Module]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Module)}

    def _own_parameters(self) -> dict[str, Parameter]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Parameter)}

    def _own_buffers(self, *, persistent: bool = False) -> dict[str, Tensor]:
        return {
            name: getattr(self, name)
            for name, saved in self._buffers.items()
            if (saved or not persistent) and getattr(self, name) is not None
        }

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the direct children; one met twice comes once."""
        return _unique(iter(self._own_modules().items()))

    def children(self) -> Iterator[Module]:
        """The direct children."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module) of this module and all inside; one met twice comes once."""
        return _unique(self._walk(prefix))

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        """As `named_modules`, with repeats."""
        yield prefix, self
        for name, module in self._own_modules().items():
            yield from module._walk(_join(prefix, name))

    def modules(self) -> Iterator[Module]:
        """This module and all inside."""
        return (module for _, module in self.named_modules())

    def get_submodule(self, target: str) -> Module:
        """The module under a dotted name; "" is this one. Raises AttributeError for none such."""
        module: Module = self
        for name in target.split(".") if target else ():
            found = module._own_modules().get(name)
            if found is None:
                raise AttributeError(
                    f"{type(self).__name__} has no module {target!r}: {type(module).__name__} "
                    f"has {_some(list(module._own_modules())) or 'none'}"
                )
            module = found
        return module

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), own ones first; one that is shared comes once."""
        modules = self._walk(prefix) if recurse else iter([(prefix, self)])
        return _unique(
            (_join(path, name), parameter)
            for path, module in modules
            for name, parameter in module._own_parameters().items()
        )

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, own ones first; one that is shared comes once."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """(dotted name, buffer), own ones first; one that is shared comes once."""
        modules = self._walk(prefix) if recurse else iter([(prefix, self)])
        return _unique(
            (_join(path, name), buffer)
            for path, module in modules
            for name, buffer in module._own_buffers().items()
        )

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, own ones first; one that is shared comes once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def num_parameters(self) -> int:
        """How many values all parameters hold, frozen ones included."""
        return sum(parameter.numel() for parameter in self.parameters())

    # ------------------------------------------------------------------ modes

    def train(self, mode: bool = True) -> Self:
        """Behave as in training (dropout, batch statistics), or not, all inside alike."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as in inference; the same as `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Learn all parameters, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            zero_gradient(parameter, set_to_none)

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module inside, children before their parent."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def register_forward_hook(self, hook: ForwardHook) -> RemovableHandle:
        """Call `hook(module, args, output)` after every forward; `remove()` the handle to stop.

        What the hook returns, unless it is None, replaces the output.
        """
        self._need_init()
        key = object()
        self._forward_hooks[key] = hook
        return RemovableHandle(self._forward_hooks, key)

    def register_output_hook(self, hook: OutputHook) -> RemovableHandle:
        """Call `hook(module, output)` after every forward; `remove()` the handle to stop.

        Unlike a forward hook it cannot change the output and does not see the input, so that a
        `Sequential` may still run the module and its neighbour as one node.
        """
        self._need_init()
        key = object()
        self._output_hooks[key] = hook
        return RemovableHandle(self._output_hooks, key)

    def to(self, target: DTypeLike) -> Self:
        """Move all parameters and buffers to a device ("cpu", "cuda") or a float dtype.

        The Parameter objects stay the same; integer buffers keep their dtype. An optimiser is made
        afterwards, since its state is not moved.
        """
        if isinstance(target, str) and target in ("cpu", "cuda"):
            return self._replace(lambda array: _moved(array, target))
        dtype = np.dtype(target)
        if dtype.kind != "f":
            raise TypeError(f"to: got dtype {dtype}, expected a float dtype or a device")
        return self._replace(
            lambda array: array.astype(dtype, copy=False) if array.dtype.kind == "f" else array
        )

    def float(self) -> Self:
        """All parameters and float buffers in float32."""
        return self.to(np.float32)

    def double(self) -> Self:
        """All parameters and float buffers in float64."""
        return self.to(np.float64)

    def half(self) -> Self:
        """All parameters and float buffers in float16."""
        return self.to(np.float16)

    def cpu(self) -> Self:
        """All parameters and buffers on the CPU."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """All parameters and buffers on the GPU."""
        return self.to("cuda")

    def _replace(self, convert: Callable[[Array], Array]) -> Self:
        for tensor in itertools.chain(self.parameters(), self.buffers()):
            gradient = tensor.grad
            tensor._data = convert(tensor.data)
            tensor.written()
            if gradient is not None:
                tensor.grad = convert(gradient.data)
        return self

    # ------------------------------------------------------------------ state

    def _named_state(self) -> dict[str, Tensor]:
        return {
            _join(path, name): tensor
            for path, module in self._walk("")
            for name, tensor in (
                module._own_parameters() | module._own_buffers(persistent=True)
            ).items()
        }

    def state_dict(self) -> dict[str, np.ndarray]:
        """Parameters and persistent buffers by dotted name, as NumPy arrays.

        As in PyTorch they share memory with the module (on the CPU): copy what has to stay as it
        is. A convolution's weight is not C-contiguous.
        """
        return {name: tensor.numpy() for name, tensor in self._named_state().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copy arrays or tensors by name into the memory of parameters and buffers.

        Everything is checked before anything is written. Raises RuntimeError, which lists what
        differs, for a value of another shape or kind and, when `strict`, for missing and
        unexpected names. As in PyTorch, the counts of batches may be missing, which older
        files do not have.
        """
        own = self._named_state()
        missing = [name for name in own if name not in state and not may_be_missing(name)]
        unexpected = [name for name in state if name not in own]
        wrong = [
            problem
            for name, tensor in own.items()
            if name in state and (problem := _mismatch(name, state[name], tensor))
        ]
        listed = [("wrong", wrong)]
        if strict:
            listed += [("missing", missing), ("unexpected", unexpected)]
        problems = [f"{kind}: {_some(names)}" for kind, names in listed if names]
        if problems:
            raise RuntimeError(
                f"load_state_dict: the state does not fit {type(self).__name__}: "
                + "; ".join(problems)
            )
        for name, tensor in own.items():
            if name in state:
                tensor.copy_(state[name])
        return IncompatibleKeys(missing, unexpected)

    # ------------------------------------------------------------------ printing

    def extra_repr(self) -> str:
        """The settings that `print(module)` shows between the parentheses."""
        return ""

    def __repr__(self) -> str:
        name, settings, children = type(self).__name__, self.extra_repr(), self._own_modules()
        if not children:
            return f"{name}({settings})"
        lines = [settings] if settings else []
        for key, module in children.items():
            lines.append(f"({key}): {module!r}".replace("\n", "\n  "))
        return "\n  ".join([f"{name}(", *lines]) + "\n)"


def may_be_missing(name: str) -> bool:
    """Whether a state dict without this name is complete all the same."""
    return name.rpartition(".")[2] == "num_batches_tracked"


def zero_gradient(tensor: Tensor, set_to_none: bool) -> None:
    """Forget a gradient, or fill it with zeros."""
    gradient = tensor.grad
    if set_to_none:
        tensor.grad = None
    elif gradient is not None:
        gradient.data[...] = 0


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _unique(named: Iterator[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Each object once, under its first name."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _moved(array: Array, device: str) -> Array:
    """`array` on `device`, its axes in the same order in memory.

    Weights of convolutions (K, C, *kernel) lie as (*kernel, C, K) on the CPU, as (K, *kernel, C)
    on a GPU: what the products there want.
    """
    if array.ndim > 2 and not array.flags.c_contiguous and dev.device_of(array) != device:
        kernel = range(2, array.ndim)
        order = [0, *kernel, 1] if device == "cuda" else [*kernel, 1, 0]
        back = [order.index(axis) for axis in range(array.ndim)]
        dense = dev.array_module(array).ascontiguousarray(array.transpose(order))
        array = dense.transpose(back)
    return dev.to_device(array, device)


def _mismatch(name: str, value: Any, tensor: Tensor) -> str:
    """Why `value` cannot be copied into `tensor`; empty when it can."""
    if not isinstance(value, Tensor | np.generic) and not dev.is_array(value):
        return f"{name} is a {type(value).__name__}, expected an array"
    if tuple(value.shape) != tensor.shape:
        return f"{name} has shape {tuple(value.shape)}, expected {tensor.shape}"
    if not np.can_cast(value.dtype, tensor.dtype, "same_kind"):
        return f"{name} has dtype {value.dtype}, expected {tensor.dtype}"
    return ""


def _some(names: list[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
