"""The receptive field of every result, along all paths through a recorded network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from core import nn
from core.functional.operands import pair
from core.models.lenet import SparseConv2d, Subsampling
from core.tape import Node
from core.tensor import Tensor


@dataclass(frozen=True)
class Call:
    """One call of a layer: its (first) input and result."""

    name: str
    module: nn.Module
    input: Tensor
    output: Tensor


class Reach(NamedTuple):
    """What one pixel of a result sees of the input, and how far apart neighbours' views are."""

    field: tuple[int, int]
    jump: tuple[Fraction, Fraction]


class _Window(NamedTuple):
    """How many neighbours one axis of a layer reads, and its step (below 1: it enlarges)."""

    size: int
    step: Fraction


def reaches(calls: list[Call]) -> dict[Tensor, Reach]:
    """The reach of each call's result that depends on the input of the first call.

    A layer without a window passes on the largest reach among what it is made of.
    """
    known: dict[Node, Reach] = {}
    windows = {call.output.node: call for call in calls if _windows(call) is not None}
    found: dict[Tensor, Reach] = {}
    start = calls[0].input.node if calls else None
    if start is not None:
        known[start] = Reach((1, 1), (Fraction(1), Fraction(1)))
    for call in calls:
        for node in _in_order(call.output.node, known):
            source = windows.get(node)
            reach = _joined([known[p] for p in node.parents if p in known])
            if source is not None and source.input.node in known:
                reach = _through(source, known[source.input.node])
            if reach is not None:
                known[node] = reach
        if call.output.node in known:
            found[call.output] = known[call.output.node]
    return found


def _in_order(node: Node | None, known: dict[Node, Reach]) -> list[Node]:
    """The nodes behind `node` whose reach is not known yet, parents first."""
    waiting, seen = [node], set()
    while waiting:
        each = waiting.pop()
        if each is not None and each not in known and each not in seen:
            seen.add(each)
            waiting += each.parents
    return sorted(seen, key=lambda each: each.order)


def _joined(parts: list[Reach]) -> Reach | None:
    """The largest of several, axis by axis."""
    if not parts:
        return None
    (rows, columns), (down, right) = (zip(*each, strict=True) for each in zip(*parts, strict=True))
    return Reach((max(rows), max(columns)), (max(down), max(right)))


def _through(call: Call, before: Reach) -> Reach:
    """The reach of a window's result (Araujo et al. 2019, equation 2, read forwards)."""
    windows = _windows(call)
    assert windows is not None
    fields, jumps = [], []
    for field, jump, window in zip(before.field, before.jump, windows, strict=True):
        fields.append(field + math.ceil((window.size - 1) * jump))
        jumps.append(jump * window.step)
    return Reach((fields[0], fields[1]), (jumps[0], jumps[1]))


def _windows(call: Call) -> list[_Window] | None:
    """The window along height and width; None for a layer without one."""
    module = call.module
    if isinstance(module, nn.ConvTranspose2d):
        # A result lies under every `stride`th value of the kernel.
        return [
            _Window(math.ceil((d * (k - 1) + 1) / s), Fraction(1, s))
            for k, s, d in zip(module.kernel_size, module.stride, module.dilation, strict=True)
        ]
    if isinstance(module, SparseConv2d):
        return [_Window(k, Fraction(1)) for k in module.weight.shape[1:]]
    if isinstance(module, Subsampling):
        return [_Window(2, Fraction(2))] * 2
    if isinstance(module, nn.MaxUnpool2d):
        return [_Window(1, Fraction(1, s)) for s in pair(module.stride)]
    if isinstance(module, nn.AdaptiveAvgPool2d):
        sizes = zip(call.input.shape[2:], call.output.shape[2:], strict=True)
        return [_Window(_largest_bin(n, bins), Fraction(n, bins)) for n, bins in sizes]
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        dilation = getattr(module, "dilation", 1)
        settings = (module.kernel_size, module.stride, dilation)
        return [
            _Window(d * (k - 1) + 1, Fraction(s))
            for k, s, d in zip(*(pair(each) for each in settings), strict=True)
        ]
    return None


def _largest_bin(size: int, bins: int) -> int:
    """The longest stretch of `size` pixels that one of the adaptive `bins` averages."""
    ends = ((i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins))
    return max(end - start for start, end in ends)
