"""Where the time of a network goes, layer by layer (book, 8.3.1, figure 8-14)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core import nn
from core.inspect.spans import Span, Spans, tensors_in
from core.inspect.table import table
from core.models.lenet import RadialBasis, SparseConv2d
from core.tape import no_grad
from core.tensor import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, SparseConv2d)
AFFINE = (nn.Linear, RadialBasis)

# Of a table of shares nobody reads what is below this.
_SHOWN = 0.001


@dataclass(frozen=True)
class LayerTime:
    """What one layer takes in one step, without the layers inside it, in milliseconds."""

    name: str
    kind: str
    """Its class, and what ran fused with it: "Conv2d + relu"."""

    family: str
    """ "convolution", "fully connected" or "other"."""

    forward: float
    backward: float


@dataclass(frozen=True)
class Profile:
    """The layers in the order of their first call, and a whole step, in milliseconds.

    `forward` and `backward` are the whole passes: what the layers do not account for (a loss,
    sums of gradients, Python between the layers) is the rest.
    """

    layers: tuple[LayerTime, ...]
    forward: float
    backward: float

    def share(self, *families: str) -> tuple[float, float]:
        """The share (0 to 1) of forward and of backward that layers of these families take."""
        chosen = [layer for layer in self.layers if layer.family in families]
        return (
            _ratio(sum(layer.forward for layer in chosen), self.forward),
            _ratio(sum(layer.backward for layer in chosen), self.backward),
        )

    def __str__(self) -> str:
        head = ("layer", "kind", "forward, ms", "share", "backward, ms", "share")
        rows = [self._row(layer) for layer in self.layers if self._is_shown(layer)]
        rest = [getattr(self, way) - sum(getattr(a, way) for a in self.layers) for way in _WAYS]
        rows.append(self._row(LayerTime("(the rest)", "", "", rest[0], rest[1])))
        rows.append(self._row(LayerTime("(all)", "", "", self.forward, self.backward)))
        lines = table(head, rows)
        for title, families in GROUPS:
            shares = " and ".join(
                f"{100 * share:.1f} % of {way}"
                for share, way in zip(self.share(*families), _WAYS, strict=True)
                if getattr(self, way)
            )
            lines.append(f"{title}: {shares}")
        return "\n".join(lines)

    def _is_shown(self, layer: LayerTime) -> bool:
        return layer.forward >= _SHOWN * self.forward or layer.backward > _SHOWN * self.backward

    def _row(self, layer: LayerTime) -> list[str]:
        cells = [layer.name, layer.kind]
        for way in _WAYS:
            milliseconds = getattr(layer, way)
            share = 100 * _ratio(milliseconds, getattr(self, way))
            cells += [f"{milliseconds:.3f}", f"{share:.1f} %"]
        return cells

    def figure(self, title: str = "") -> Figure:
        """Each layer's share of forward and backward, as bars (the book's figure 8-14)."""
        from core import viz

        shown = [layer for layer in self.layers if self._is_shown(layer)]
        ways = [way for way in _WAYS if getattr(self, way)]
        return viz.shares(
            [f"{layer.name}  {layer.kind}".strip() for layer in shown],
            {way: [_ratio(getattr(a, way), getattr(self, way)) for a in shown] for way in ways},
            [layer.family for layer in shown],
            title=title,
        )


_WAYS = ("forward", "backward")
GROUPS = (
    ("convolutions", ("convolution",)),
    ("with fully connected layers", ("convolution", "fully connected")),
)


def profile(
    model: nn.Module,
    *inputs: Any,
    loss: Callable[[Any], Tensor] | None = None,
    backward: bool = True,
    steps: int = 5,
) -> Profile:
    """The time of each layer of `model(*inputs)`, forward and backward.

    `loss` makes one value of the output, by default the sum of all its tensors. Of `steps` steps
    after one that warms up, the one of median length is shown. The model runs as it is, in
    its own mode and with its fused steps, and is left as it was but for what running changes
    (running statistics); gradients of its parameters are put back. Without `backward` nothing is
    recorded. `print` shows the table, `figure()` draws it. Book, figure 8-14. Raises ValueError
    for fewer than one step, or when nothing needs a gradient.
    """
    if steps < 1:
        raise ValueError(f"profile: {steps} steps, expected 1 or more")
    spans = Spans(model)
    kept = [parameter.grad for parameter in model.parameters()]
    # The kept arrays are nobody's to add to.
    model.zero_grad()
    try:
        with spans.recording():
            _step(model, inputs, loss, backward)
            measured = [_measured(spans, model, inputs, loss, backward) for _ in range(steps)]
    finally:
        for parameter, gradient in zip(model.parameters(), kept, strict=True):
            parameter.grad = gradient
    # One real step, whose parts add up; medians of the parts would not.
    times, whole = sorted(measured, key=lambda step: sum(step[1]))[(steps - 1) // 2]
    layers = (layer_time(span, *ms) for span, ms in zip(spans, times, strict=True))
    return Profile(tuple(layers), *whole)


def _measured(spans: Spans, *step: Any) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Milliseconds of each span, and of the two passes."""
    spans.clear()
    whole = _step(*step)
    return [(1e3 * span.forward, 1e3 * span.backward) for span in spans], whole


def _step(
    model: nn.Module, inputs: Iterable[Any], loss: Callable[[Any], Tensor] | None, backward: bool
) -> tuple[float, float]:
    """Milliseconds of the two passes."""
    start = time.perf_counter()
    if not backward:
        with no_grad():
            model(*inputs)
        return 1e3 * (time.perf_counter() - start), 0.0
    output = model(*inputs)
    middle = time.perf_counter()
    value = _sum(output) if loss is None else loss(output)
    turn = time.perf_counter()
    value.backward()
    end = time.perf_counter()
    model.zero_grad()
    return 1e3 * (middle - start), 1e3 * (end - turn)


def _sum(output: Any) -> Tensor:
    total: Any = 0.0
    for tensor in tensors_in(output):
        if tensor.requires_grad:
            total = total + tensor.sum()
    if not isinstance(total, Tensor):
        raise ValueError("profile: nothing that the model returns needs a gradient")
    return total


def layer_time(span: Span, forward: float, backward: float) -> LayerTime:
    """The row of a span, with its times in milliseconds."""
    return LayerTime(span.name, span.kind, _family(span.module), forward, backward)


def _family(module: nn.Module) -> str:
    if isinstance(module, CONVOLUTIONS):
        return "convolution"
    return "fully connected" if isinstance(module, AFFINE) else "other"


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
