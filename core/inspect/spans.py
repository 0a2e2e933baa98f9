"""Time spent in each module of a network, forward and backward, while it runs as it always does.

A forward hook would switch off the fused steps of `nn.Sequential`. Here the methods that compute
(`forward`, and `forward_relu` and its like, which stand for a layer and the ones behind it) are
timed where they are called, and so are the `backward` closures of the nodes that they record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.nn import Module
from core.tape import Node
from core.tensor import Tensor


@dataclass
class Span:
    """What one module took by itself, without the modules inside it, in seconds."""

    name: str
    module: Module
    method: str
    forward: float = 0.0
    backward: float = 0.0

    @property
    def kind(self) -> str:
        """The module's class, and what ran with it: "Conv2d + relu"."""
        return type(self.module).__name__ + self.method.removeprefix("forward").replace("_", " + ")


class Spans:
    """The spans of some networks, filled while `recording`; `clear()` begins anew."""

    def __init__(self, *networks: Module) -> None:
        self._modules = [
            (f"{number}.{name}" if len(networks) > 1 else name, module)
            for number, network in enumerate(networks)
            for name, module in network.named_modules()
        ]
        self._spans: dict[tuple[str, str], Span] = {}
        # A call's nodes have numbers between those before and after it.
        self._calls: list[tuple[int, int, Span]] = []
        self._inner: list[float] = []

    def __iter__(self) -> Iterator[Span]:
        return iter(self._spans.values())

    def clear(self) -> None:
        """Forget the times; the spans stay, in the order of their first call."""
        for span in self:
            span.forward = span.backward = 0.0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Time every call inside the block; afterwards the networks are as before."""
        replaced: list[tuple[Module, str]] = []
        try:
            for name, module in self._modules:
                for method in _computing(type(module)):
                    if method not in vars(module):
                        timed = self._timed(name, module, method)
                        # Past Module's registration, as nothing is registered.
                        object.__setattr__(module, method, timed)
                        replaced.append((module, method))
            yield
        finally:
            for module, method in replaced:
                object.__delattr__(module, method)

    def _timed(self, name: str, module: Module, method: str) -> Callable[..., Any]:
        compute = getattr(module, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            span = self._spans.setdefault((name, method), Span(name, module, method))
            first = _now()
            self._inner.append(0.0)
            start = time.perf_counter()
            try:
                output = compute(*args, **kwargs)
            finally:
                seconds = time.perf_counter() - start
                span.forward += seconds - self._inner.pop()
            self._calls.append((first, _now(), span))
            if self._inner:
                self._inner[-1] += seconds
            else:
                self._time_backward(output, first)
                self._calls.clear()
            return output

        return call

    def _time_backward(self, output: Any, first: int) -> None:
        """Time the closures of all nodes that the outermost call recorded from `first` on."""
        for node in _recorded(output, first):
            # Inner calls end before the outer ones: the first that fits is the innermost.
            owner = next(span for low, high, span in self._calls if low < node.order < high)
            node.backward = _timed_backward(node, owner)


def _computing(kind: type[Module]) -> Iterator[str]:
    return (name for name in dir(kind) if name == "forward" or name.startswith("forward_"))


def _now() -> int:
    """A number between those of the nodes before and after."""
    return Node((), "now").order


def _recorded(output: Any, first: int) -> Iterator[Node]:
    """Each inner node behind `output` that is younger than `first`."""
    waiting = [tensor.node for tensor in tensors_in(output)]
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node.is_leaf or node.order < first or node in seen:
            continue
        seen.add(node)
        waiting += node.parents
        yield node


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for each in value:
            yield from tensors_in(each)


def _timed_backward(node: Node, span: Span) -> Callable[[Any], Any]:
    backward = node.backward
    assert backward is not None

    def timed(gy: Any) -> Any:
        start = time.perf_counter()
        try:
            return backward(gy)
        finally:
            span.backward += time.perf_counter() - start

    return timed
