"""Tensor: an array, and its place in the graph (book, chapters 4 and 5).

Same names as PyTorch, same meaning. What an operation computes stands in `core.functional`;
the methods here only call it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from core import device as dev
from core.device import Array, DTypeLike
from core.kernels import layout
from core.tape import Backward, Node, is_grad_enabled, walk_backward


class Tensor:
    """An n-dimensional array whose operations are recorded, so that gradients can flow back.

    `data` is a NumPy or CuPy array (kept as it is, dtype too), another array-like, or Python
    numbers (floats become the default dtype, ints int64). Raises TypeError when a gradient is
    required of anything but floats.
    """

    __slots__ = ("__weakref__", "_data", "_node")
    # NumPy then leaves `array + tensor` to the tensor.
    __array_ufunc__ = None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        self._data: Array = as_array(data)
        self._node: Node | None = None
        if requires_grad:
            self.requires_grad_()

    # ------------------------------------------------------------------ the array

    @property
    def data(self) -> Array:
        """The array itself; writing into it directly is not seen by the version check."""
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self.copy_(value)

    def copy_(self, source: Any) -> Tensor:
        """Write `source` (same shape, any float dtype) into this leaf's memory.

        A backward pass that still needs the old values raises afterwards. Raises ValueError
        for another shape, RuntimeError for a tensor that an operation made.
        """
        if self._node is not None and not self._node.is_leaf:
            raise RuntimeError("copy_: only leaves (parameters, inputs) can be written")
        array = as_array(source)
        if array is not self._data:
            if array.shape != self.shape:
                raise ValueError(f"copy_: got shape {array.shape}, expected {self.shape}")
            module = dev.array_module(self._data)
            self._data[...] = module.asarray(array) if module is not np else dev.to_host(array)
        self.written()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A leaf of its own with the same values, memory order and gradient (`copy.deepcopy`)."""
        if not self.is_leaf:
            raise RuntimeError("deepcopy: only leaves can be copied; use detach() first")
        result = type(self).__new__(type(self))
        result._data, result._node = layout.copy(self._data), None
        if self._node is not None:
            result._node = Node(self.shape, self._node.name)
            result._node.requires_grad = self._node.requires_grad
            grad = self._node.grad
            result._node.grad = None if grad is None else layout.copy(grad)
        memo[id(self)] = result
        return result

    def written(self) -> None:
        """Say that `data` was written in place: raises the version that backward checks."""
        if self._node is not None:
            self._node.version += 1

    @property
    def version(self) -> int:
        """How often this leaf was written through the core."""
        return 0 if self._node is None else self._node.version

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._data.ndim

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype of the values."""
        return self._data.dtype

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        return dev.device_of(self._data)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the length of axis `dim`."""
        return self.shape if dim is None else self.shape[dim]

    def numel(self) -> int:
        """The number of values."""
        return int(self._data.size)

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array; it shares memory with a tensor on the CPU."""
        return dev.to_host(self._data)

    def item(self) -> Any:
        """The only value, as a Python number. Raises ValueError when there are more."""
        if self.numel() != 1:
            raise ValueError(f"item: tensor has shape {self.shape}, expected exactly one value")
        return self.numpy().item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return self.numpy().tolist()

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: a 0-d tensor has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise TypeError(f"index: tensor has dtype {self.dtype}, expected an integer")
        return int(self.item())

    def __repr__(self) -> str:
        body = np.array2string(self.numpy(), precision=4, separator=", ", prefix="tensor(")
        extras = [body]
        if self.dtype not in (dev.get_default_dtype(), dev.int64, np.dtype(bool)):
            extras.append(f"dtype={self.dtype}")
        if self.device != "cpu":
            extras.append(f"device={self.device!r}")
        if self._node is not None and not self._node.is_leaf:
            extras.append(f"from={self._node.name}")
        elif self.requires_grad:
            extras.append("requires_grad=True")
        return f"tensor({', '.join(extras)})"

    # ------------------------------------------------------------------ the graph

    @property
    def node(self) -> Node | None:
        """This tensor's node of the graph; None when nothing was recorded."""
        return self._node

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow back to this tensor."""
        return self._node is not None and self._node.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for (or stop) gradients of this leaf; operations already recorded do not change."""
        if self._node is not None and not self._node.is_leaf:
            raise RuntimeError("requires_grad_: only leaves can change; use detach() first")
        if requires_grad and not dev.is_float(self.dtype):
            raise TypeError(f"requires_grad_: dtype {self.dtype} has no gradient, expected a float")
        if self._node is None:
            if not requires_grad:
                return self
            self._node = Node(self.shape, type(self).__name__)
        self._node.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._node is None or self._node.is_leaf

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient of a leaf (or after `retain_grad`), or None."""
        if self._node is None or self._node.grad is None:
            return None
        return Tensor(self._node.grad)

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is None:
            if self._node is not None:
                self._node.grad = None
            return
        array = as_array(value)
        if self._node is None:
            raise RuntimeError("grad: this tensor requires no gradient")
        if array.shape != self.shape:
            raise ValueError(f"grad: got shape {array.shape}, expected {self.shape}")
        if array.dtype != self.dtype:
            raise TypeError(f"grad: got dtype {array.dtype}, expected {self.dtype}")
        self._node.grad = array

    def retain_grad(self) -> None:
        """Keep the gradient of this inner result in `.grad` (Grad-CAM, style transfer)."""
        if self._node is None:
            raise RuntimeError("retain_grad: this tensor requires no gradient")
        self._node.keeps_grad = True

    def detach(self) -> Tensor:
        """The same values outside the graph; they share memory."""
        return Tensor(self._data)

    def backward(
        self, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False
    ) -> None:
        """Add the gradients of this tensor to `.grad` of every leaf that it depends on.

        `gradient` has this tensor's shape and may be left out for a single value. Raises
        RuntimeError when nothing was recorded, or the graph was freed by an earlier call.
        """
        if create_graph:
            raise NotImplementedError("backward: second derivatives are not supported")
        node = self._need_node("backward")
        walk_backward(node, self._seed(gradient, "backward"), retain_graph=retain_graph)

    def _need_node(self, operation: str) -> Node:
        if self._node is None or not self._node.requires_grad:
            raise RuntimeError(f"{operation}: nothing that made this tensor requires a gradient")
        return self._node

    def _seed(self, gradient: Any, operation: str) -> Array:
        if gradient is None:
            if self.numel() != 1:
                raise ValueError(
                    f"{operation}: tensor has shape {self.shape}; pass a gradient of that shape "
                    "or reduce it to a single value first"
                )
            return dev.array_module(self._data).ones_like(self._data)
        array = as_array(gradient)
        if array.shape != self.shape:
            raise ValueError(f"{operation}: gradient has shape {array.shape}, not {self.shape}")
        return array.astype(self.dtype, copy=False)

    # ------------------------------------------------------------------ device and dtype

    def to(self, target: Any) -> Tensor:
        """This tensor on a device ("cpu", "cuda") or in a dtype; itself when it is there."""
        if isinstance(target, str) and target in ("cpu", "cuda"):
            return F.to_device(self, target)
        return F.cast(self, target)

    def cpu(self) -> Tensor:
        """This tensor on the CPU."""
        return self.to("cpu")

    def cuda(self) -> Tensor:
        """This tensor on the GPU."""
        return self.to("cuda")

    def float(self) -> Tensor:
        """This tensor in float32."""
        return F.cast(self, np.float32)

    def double(self) -> Tensor:
        """This tensor in float64."""
        return F.cast(self, np.float64)

    def half(self) -> Tensor:
        """This tensor in float16."""
        return F.cast(self, np.float16)

    def long(self) -> Tensor:
        """This tensor in int64."""
        return F.cast(self, np.int64)

    # ------------------------------------------------------------------ arithmetic

    def __add__(self, other: Any) -> Tensor:
        return F.add(self, other)

    def __radd__(self, other: Any) -> Tensor:
        return F.add(other, self)

    def __sub__(self, other: Any) -> Tensor:
        return F.sub(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return F.sub(other, self)

    def __mul__(self, other: Any) -> Tensor:
        return F.mul(self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return F.mul(other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return F.div(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return F.div(other, self)

    def __pow__(self, exponent: Any) -> Tensor:
        return F.pow(self, exponent)

    def __rpow__(self, base: Any) -> Tensor:
        return F.pow(base, self)

    def __and__(self, other: Any) -> Tensor:
        return F.logical_and(_mask("&", self), _mask("&", other))

    __rand__ = __and__

    def __or__(self, other: Any) -> Tensor:
        return F.logical_or(_mask("|", self), _mask("|", other))

    __ror__ = __or__

    def __invert__(self) -> Tensor:
        return F.logical_not(_mask("~", self))

    def __matmul__(self, other: Any) -> Tensor:
        return F.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return F.matmul(other, self)

    def __neg__(self) -> Tensor:
        return F.neg(self)

    def __abs__(self) -> Tensor:
        return F.abs(self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return F.eq(self, other)

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return F.ne(self, other)

    def __lt__(self, other: Any) -> Tensor:
        return F.lt(self, other)

    def __le__(self, other: Any) -> Tensor:
        return F.le(self, other)

    def __gt__(self, other: Any) -> Tensor:
        return F.gt(self, other)

    def __ge__(self, other: Any) -> Tensor:
        return F.ge(self, other)

    __hash__ = object.__hash__

    def exp(self) -> Tensor:
        """e to the power of each value."""
        return F.exp(self)

    def log(self) -> Tensor:
        """The natural logarithm of each value."""
        return F.log(self)

    def sqrt(self) -> Tensor:
        """The square root of each value."""
        return F.sqrt(self)

    def abs(self) -> Tensor:
        """The absolute value of each value."""
        return F.abs(self)

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Each value, at least `min` and at most `max`."""
        return F.clamp(self, min, max)

    def relu(self) -> Tensor:
        """See `core.functional.relu`."""
        return F.relu(self)

    def sigmoid(self) -> Tensor:
        """See `core.functional.sigmoid`."""
        return F.sigmoid(self)

    def tanh(self) -> Tensor:
        """See `core.functional.tanh`."""
        return F.tanh(self)

    def softmax(self, dim: int) -> Tensor:
        """See `core.functional.softmax`."""
        return F.softmax(self, dim)

    def log_softmax(self, dim: int) -> Tensor:
        """See `core.functional.log_softmax`."""
        return F.log_softmax(self, dim)

    # ------------------------------------------------------------------ reductions

    def sum(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The sum over `dim` (an axis, several, or all)."""
        return F.sum(self, dim, keepdim)

    def mean(self, dim: Any = None, keepdim: bool = False) -> Tensor:
        """The mean over `dim` (an axis, several, or all)."""
        return F.mean(self, dim, keepdim)

    def var(self, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
        """The variance over `dim`, divided by the count minus `correction`."""
        return F.var(self, dim, correction=correction, keepdim=keepdim)

    def std(self, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Tensor:
        """The standard deviation over `dim`."""
        return F.std(self, dim, correction=correction, keepdim=keepdim)

    def amax(self, dim: Any = (), keepdim: bool = False) -> Tensor:
        """The largest value over `dim`; ties share the gradient evenly."""
        return F.amax(self, dim, keepdim)

    def amin(self, dim: Any = (), keepdim: bool = False) -> Tensor:
        """The smallest value over `dim`; ties share the gradient evenly."""
        return F.amin(self, dim, keepdim)

    def max(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The largest value; with `dim` the pair (values, indices)."""
        return F.max(self, dim, keepdim)

    def min(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The smallest value; with `dim` the pair (values, indices)."""
        return F.min(self, dim, keepdim)

    def argmax(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The index of the largest value along `dim`, or in the flattened tensor."""
        return F.argmax(self, dim, keepdim)

    def argmin(self, dim: int | None = None, keepdim: bool = False) -> Tensor:
        """The index of the smallest value along `dim`, or in the flattened tensor."""
        return F.argmin(self, dim, keepdim)

    # ------------------------------------------------------------------ shape

    def __getitem__(self, index: Any) -> Tensor:
        return F.getitem(self, index)

    def reshape(self, *shape: Any) -> Tensor:
        """The values in another shape; one length may be -1."""
        return F.reshape(self, _ints(shape))

    def view(self, *shape: Any) -> Tensor:
        """The same as `reshape`: values are copied where the memory layout asks for it."""
        return F.reshape(self, _ints(shape))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Axes `start_dim` to `end_dim` joined, in C, H, W order."""
        return F.flatten(self, start_dim, end_dim)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Two axes exchanged."""
        return F.transpose(self, dim0, dim1)

    def permute(self, *dims: Any) -> Tensor:
        """The axes in another order."""
        return F.permute(self, _ints(dims))

    @property
    def T(self) -> Tensor:
        """A matrix with its two axes exchanged."""
        if self.ndim != 2:
            raise ValueError(f"T: tensor has shape {self.shape}, expected two axes")
        return F.transpose(self, 0, 1)

    def squeeze(self, dim: Any = None) -> Tensor:
        """Without the axes of length one (all, or `dim` where it is one)."""
        return F.squeeze(self, dim)

    def unsqueeze(self, dim: int) -> Tensor:
        """With a new axis of length one at `dim`."""
        return F.unsqueeze(self, dim)

    def expand(self, *sizes: Any) -> Tensor:
        """Axes of length one repeated to `sizes`; -1 keeps a length."""
        return F.expand(self, _ints(sizes))

    def split(self, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
        """Pieces along `dim`: of one size, or of the sizes listed."""
        return F.split(self, split_size_or_sections, dim)

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` pieces of equal size along `dim` (the last may be smaller)."""
        return F.chunk(self, chunks, dim)


class Parameter(Tensor):
    """A leaf that a model learns: it requires a gradient unless frozen (`torch.nn.Parameter`).

    Its `data` keeps one place in memory for ever, so that whoever holds a view of it (an
    optimiser's flat buffer) stays valid; `copy_` and the optimisers write into it.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data)
        # Frozen parameters have a node as well: their version is checked all the same.
        self._node = Node(self.shape, "Parameter")
        self.requires_grad_(requires_grad)


def as_array(data: Any) -> Array:
    """`data` as an array of its device; Python floats become the default dtype.

    Raises TypeError for what is no number, array or nested list of numbers.
    """
    if isinstance(data, Tensor):
        return data.data
    if dev.is_array(data):
        if data.dtype.kind not in "biuf" and not dev.is_float(data.dtype):
            raise TypeError(f"tensor: got an array of {data.dtype}, expected numbers")
        return data
    if isinstance(data, np.generic):
        return np.asarray(data)
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise TypeError(
            f"tensor: cannot make an array of this {type(data).__name__}: {error}"
        ) from None
    if array.dtype.kind not in "biuf" and not dev.is_float(array.dtype):
        raise TypeError(f"tensor: got a {type(data).__name__}, expected numbers or an array")
    if array.dtype == np.float64 and not hasattr(data, "__array__"):
        array = array.astype(dev.get_default_dtype())
    return array


def tensor(
    data: Any, *, dtype: DTypeLike = None, device: str = "cpu", requires_grad: bool = False
) -> Tensor:
    """A new leaf with a copy of `data` (`torch.tensor`)."""
    array = as_array(data)
    array = array.astype(array.dtype if dtype is None else np.dtype(dtype), copy=True)
    return Tensor(dev.to_device(array, device), requires_grad=requires_grad)


def requires_grad(*operands: Any) -> tuple[bool, ...]:
    """For each operand: whether a backward pass will want its gradient."""
    if not is_grad_enabled():
        return (False,) * len(operands)
    return tuple(isinstance(x, Tensor) and x.requires_grad for x in operands)


def record(y: Array, operands: Sequence[Any], backward: Backward, name: str = "") -> Tensor:
    """A tensor with the array `y`, made from `operands` by an operation with this `backward`.

    `backward` takes the gradient of `y`, which it must not write, and returns one array or
    None for each operand. It closes over arrays, never over tensors. Operands that need no
    gradient (numbers, arrays, frozen parameters) are remembered only to check their version.
    """
    needs = requires_grad(*operands)
    if not any(needs):
        return Tensor(y)
    nodes = [x.node if isinstance(x, Tensor) else None for x in operands]
    watched = tuple((n, n.version) for n in nodes if n is not None and n.is_leaf)
    parents = tuple(n if needed else None for n, needed in zip(nodes, needs, strict=True))
    name = name or backward.__qualname__.partition(".")[0]
    return from_node(y, Node(y.shape, name, parents, backward, watched))


def from_node(y: Array, node: Node) -> Tensor:
    """A tensor with the array `y` at a place in the graph that is there already."""
    result = Tensor(y)
    result._node = node
    return result


def grad(y: Tensor, xs: Tensor | Sequence[Tensor], gradient: Any = None) -> tuple[Tensor, ...]:
    """The gradients of `y` with respect to each of `xs`, leaving every `.grad` untouched.

    `y` is a single value unless `gradient`, of its shape, is given. The graph is kept, so
    that it can be asked again. Raises RuntimeError for an x that `y` does not depend on.
    """
    wanted = (xs,) if isinstance(xs, Tensor) else tuple(xs)
    nodes = [x._need_node("grad") for x in wanted]
    root = y._need_node("grad")
    found = walk_backward(root, y._seed(gradient, "grad"), retain_graph=True, targets=nodes)
    for i, node in enumerate(nodes):
        if node not in found:
            raise RuntimeError(f"grad: y does not depend on x number {i} (shape {node.shape})")
    return tuple(Tensor(found[node]) for node in nodes)


def _mask(operator: str, value: Any) -> Any:
    """`value` when it is a bool, or an array of bools: what masks are combined from."""
    got = getattr(value, "dtype", type(value).__name__)
    if got in ("bool", np.dtype(bool)):
        return value
    raise TypeError(f"{operator}: got {got}, expected bools")


def _ints(values: tuple[Any, ...]) -> tuple[int, ...]:
    if len(values) == 1 and isinstance(values[0], list | tuple):
        values = tuple(values[0])
    return tuple(int(v) for v in values)


from core import functional as F  # noqa: E402  (last: operations need Tensor to exist)
