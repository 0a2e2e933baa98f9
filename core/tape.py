"""The tape: nodes that remember how to turn a result's gradient into its inputs' gradients.

A node is not a tensor. It holds its parents (nodes) and one closure over arrays, so that an
activation which no backward pass needs dies in the forward pass, and all of them die while
the backward pass walks over them (book, chapter 5: the computational graph).

One node is unlike the others: that of `core.checkpoint` (recompute.py) holds the function that
made its result, and its backward records and walks a graph of its own, which nobody else sees.
"""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from core.device import Array
from core.kernels.layout import copy, ufunc, ufunc_into

Backward = Callable[[Any], "tuple[Array | None, ...]"]

_order = itertools.count()


class Node:
    """One value of the graph: a leaf (a parameter, an input) or the result of an operation."""

    __slots__ = (
        "__weakref__",
        "backward",
        "freed",
        "grad",
        "keeps_grad",
        "name",
        "order",
        "parents",
        "requires_grad",
        "shape",
        "version",
        "watched",
    )

    def __init__(
        self,
        shape: tuple[int, ...],
        name: str,
        parents: tuple[Node | None, ...] = (),
        backward: Backward | None = None,
        watched: tuple[tuple[Node, int], ...] = (),
    ) -> None:
        self.shape = shape
        self.name = name
        self.parents = parents
        self.backward = backward
        self.watched = watched
        self.order = next(_order)
        self.requires_grad = True
        self.keeps_grad = backward is None
        self.freed = False
        self.grad: Array | None = None
        self.version = 0

    @property
    def is_leaf(self) -> bool:
        return self.backward is None and not self.freed

    def local_gradients(self, gy: Array) -> tuple[Array | None, ...]:
        """Gradients of the parents for the gradient `gy` of this node's result."""
        if self.freed:
            raise RuntimeError(
                f"backward: the graph of {self.name} was freed by an earlier backward(); "
                "pass retain_graph=True to the first one to walk it twice"
            )
        for leaf, version in self.watched:
            if leaf.version != version:
                raise RuntimeError(
                    f"backward: a parameter of shape {leaf.shape} that {self.name} used was "
                    "written after the forward pass; run the forward pass again"
                )
        assert self.backward is not None
        return self.backward(gy)

    def free(self) -> None:
        """Drop the closure, and with it every array that it kept alive."""
        self.backward = None
        self.parents = ()
        self.watched = ()
        self.freed = True


class _GradMode(threading.local):
    enabled = True


_mode = _GradMode()


def is_grad_enabled() -> bool:
    """Whether operations are recorded in this thread (same meaning as in PyTorch)."""
    return _mode.enabled


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nothing inside: results need no gradient (same meaning as in PyTorch)."""
    with _grad_mode(False):
        yield


@contextmanager
def enable_grad() -> Iterator[None]:
    """Record inside, in a `no_grad` too (same meaning as in PyTorch)."""
    with _grad_mode(True):
        yield


@contextmanager
def _grad_mode(enabled: bool) -> Iterator[None]:
    before, _mode.enabled = _mode.enabled, enabled
    try:
        yield
    finally:
        _mode.enabled = before


class _Gradients:
    """Gradients on their way down: the first one is borrowed, a sum is owned and added to."""

    def __init__(self) -> None:
        self._arrays: dict[Node, Array] = {}
        self._owned: set[Node] = set()

    def add(self, node: Node, gradient: Array) -> bool:
        """Add `gradient` for `node`; whether it was the first."""
        if node not in self._arrays:
            self._arrays[node] = gradient
            return True
        if node in self._owned:
            ufunc_into(self._arrays[node], "add", self._arrays[node], gradient)
        else:
            # Not `+`: NumPy's turns 0-d arrays into scalars, CuPy's loses the layout.
            self._arrays[node] = ufunc("add", self._arrays[node], gradient)
            self._owned.add(node)
        return False

    def pop(self, node: Node) -> Array:
        self._owned.discard(node)
        return self._arrays.pop(node)


def walk_backward(
    root: Node,
    gy: Array,
    *,
    retain_graph: bool = False,
    targets: Sequence[Node] | None = None,
) -> dict[Node, Array]:
    """Walk from `root` to the leaves, newest node first, without recursion.

    Without `targets`, gradients are accumulated into the nodes that keep one (leaves, and
    inner nodes after `retain_grad`). With `targets`, they are returned for those nodes and
    no node's `.grad` is touched.
    """
    found: dict[Node, Array] = {}
    flowing = _Gradients()
    flowing.add(root, gy)
    # A parent is always older than its child, so "newest first" is a reverse topological order.
    waiting = [(-root.order, root)]
    while waiting:
        _, node = heapq.heappop(waiting)
        g = flowing.pop(node)
        if node.is_leaf:
            last = [g]
            del g
            if targets is None and node.keeps_grad:
                _accumulate(node, last)
            elif targets is not None and node in targets:
                found[node] = _own(last)
            continue
        if targets is not None and node in targets:
            found[node] = copy(g)
        if targets is None and node.keeps_grad:
            _accumulate(node, [g])
        parents = node.parents
        gradients = node.local_gradients(g)
        if not retain_graph:
            node.free()
        for parent, gradient in zip(parents, gradients, strict=True):
            if parent is None or gradient is None:
                continue
            if gradient.shape != parent.shape:
                raise RuntimeError(
                    f"{node.name}: backward returned a gradient of shape {gradient.shape} "
                    f"for an input of shape {parent.shape}"
                )
            if flowing.add(parent, gradient):
                heapq.heappush(waiting, (-parent.order, parent))
        del g, gradients, gradient, parents, parent  # so that a leaf can be the only owner
    return found


def _accumulate(node: Node, gradients: list[Array]) -> None:
    """Add the one gradient in the list, which is emptied: it owns the gradient, no name does."""
    if node.grad is not None:
        ufunc_into(node.grad, "add", node.grad, gradients.pop())
    else:
        node.grad = _own(gradients)


def _own(gradients: list[Array]) -> Array:
    """The one gradient in the list, which is emptied; a copy where somebody else may have it."""
    if _only_here(gradients):
        return gradients.pop()
    return copy(gradients.pop())


def _only_here(arrays: list[Array]) -> bool:
    """Whether nobody but this list knows its first array, or the memory that it is in."""
    array = arrays[0]
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        return False
    if not hasattr(array, "base") or sys.getrefcount(array) > _ALONE:
        return False
    base = array.base
    if base is None:
        return True
    whole = type(base) is type(array) and base.base is None and base.nbytes == array.nbytes
    return whole and sys.getrefcount(base) <= _ALONE


def _count_alone() -> int:
    """What `sys.getrefcount` says of an array in a list (or another array's base) and one name."""
    arrays = [np.empty(0)]
    array = arrays[0]
    return sys.getrefcount(array)


_ALONE = _count_alone()
