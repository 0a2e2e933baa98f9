"""Time for memory: activations that the backward pass computes again instead of keeping them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from core import device as dev
from core.device import Array
from core.tape import Node, enable_grad, is_grad_enabled, walk_backward
from core.tensor import Tensor, from_node, requires_grad

Watched = tuple[tuple[Node, int], ...]


def checkpoint(function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`function(*inputs)`, whose inner activations are not kept (`torch.utils.checkpoint`).

    The graph gets one node, which holds the inputs' arrays; its backward runs `function` again
    and walks that second graph (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
    Gradients reach the inputs and every parameter that `function` uses, and are those of
    `function(*inputs)` bit for bit: random numbers are drawn alike both times. What else the
    function changes it changes twice, such as the running statistics of batch normalisation.

    `function` gives one tensor, and depends on nothing that was computed outside but its inputs.
    Raises TypeError and ValueError when it does not.
    """
    if not is_grad_enabled():
        return function(*inputs)
    needed = requires_grad(*inputs)
    # A tensor without its graph, which would live as long as this node.
    kept = [Tensor(x.data) if isinstance(x, Tensor) else x for x in inputs]
    random = dev.random.state_dict()

    def run() -> tuple[Tensor, list[Node]]:
        pairs = list(zip(kept, needed, strict=True))
        own = [Tensor(x.data, requires_grad=True) if wanted else x for x, wanted in pairs]
        result = function(*own)
        if not isinstance(result, Tensor):
            raise TypeError(f"checkpoint: the function gave {type(result).__name__}, not a tensor")
        return result, _nodes(own, needed)

    start = Node((), "checkpoint").order
    result, own = run()
    if result.node is None or not result.requires_grad:
        return result
    outside, watched = _used(result.node, own, start)

    def backward(gy: Array) -> tuple[Array | None, ...]:
        before = dev.random.state_dict()
        dev.random.load_state_dict(random)
        try:
            with enable_grad():
                again, leaves = run()
        finally:
            dev.random.load_state_dict(before)
        root = again.node
        assert root is not None
        # Its array goes when the walk is past it.
        del again
        ends = [*leaves, *outside]
        found = walk_backward(root, gy, targets=ends)
        return tuple(found.get(end) for end in ends)

    given = _nodes(inputs, needed)
    leaves = [x.node for x in inputs if isinstance(x, Tensor) and x.node and x.node.is_leaf]
    watched += tuple((leaf, leaf.version) for leaf in leaves)
    node = Node(result.shape, "checkpoint", (*given, *outside), backward, watched)
    return from_node(result.data, node)


def _nodes(values: Sequence[Any], needed: Sequence[bool]) -> list[Node]:
    """The nodes of those whose gradient is needed."""
    return [x.node for x, wanted in zip(values, needed, strict=True) if wanted]


def _used(root: Node, own: list[Node], start: int) -> tuple[list[Node], Watched]:
    """The leaves that need a gradient below `root` but for its `own`, and what its graph watches.

    Raises ValueError for what an operation made before `start`.
    """
    leaves: list[Node] = []
    watched: dict[tuple[Node, int], None] = {}
    waiting, seen = [root], {root, *own}
    while waiting:
        node = waiting.pop()
        if node.is_leaf:
            leaves += [] if node in own else [node]
        elif node.order < start:
            raise ValueError(
                f"checkpoint: the function uses a result of {node.name} from outside; "
                "make it one of the inputs"
            )
        watched.update((pair, None) for pair in node.watched if pair[0] not in own)
        for parent in node.parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return leaves, tuple(watched)
