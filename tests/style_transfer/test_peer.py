"""The same loss, gradient and descent as an implementation in PyTorch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from style_transfer import stylise
from style_transfer.demo import photographs
from style_transfer.network import Network, load
from style_transfer.objective import FloatPicture, Losses, Objective, Weights, tensor_of
from style_transfer.optimise import Descent, descend
from tests.style_transfer.conftest import floats

torch = pytest.importorskip("torch")
# Threads that wait for work in tiny products take longer than the products.
torch.set_num_threads(1)
pytestmark = pytest.mark.peer

WEIGHTS = Weights(
    content={"features.18": 1.0},
    style=dict.fromkeys(("features.1", "features.6", "features.11", "features.16"), 0.2),
    style_weight=20.0,
    tv_weight=2.0,
)


@dataclass
class Peer:
    """Gatys et al. in PyTorch, for the backbone's weights."""

    network: Network
    content: FloatPicture
    style: FloatPicture

    def __post_init__(self) -> None:
        self.layers = [self._layer(layer) for layer in getattr(self.network.model, "features")]  # noqa: B009
        self.wanted = self.taps(self._input(self.content))
        self.grams = [self.gram(tap) for tap in self.taps(self._input(self.style)).values()]

    def _layer(self, layer: Any) -> Any:
        if type(layer).__name__ != "Conv2d":
            return torch.nn.ReLU() if type(layer).__name__ == "ReLU" else torch.nn.MaxPool2d(2)
        ours = layer.state_dict()
        theirs = torch.nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)
        theirs.load_state_dict({name: torch.tensor(a.copy()) for name, a in ours.items()})
        return theirs.requires_grad_(False)

    def _input(self, one: FloatPicture) -> Any:
        return torch.tensor(one.transpose(2, 0, 1)[None].copy())

    def taps(self, x: Any) -> dict[str, Any]:
        mean, std = (
            torch.tensor(v).reshape(1, 3, 1, 1) for v in (self.network.mean, self.network.std)
        )
        x, found = (x - mean) / std, {}
        for number, layer in enumerate(self.layers):
            x = layer(x)
            found[f"features.{number}"] = x
        return {name: found[name] for name in (*WEIGHTS.style, *WEIGHTS.content)}

    def gram(self, tap: Any) -> Any:
        rows = tap[0].flatten(1)
        return rows @ rows.T / rows.numel()

    def evaluate(self, one: FloatPicture) -> tuple[Losses, FloatPicture]:
        x = self._input(one).requires_grad_()
        *taps, deep = self.taps(x).values()
        target = self.wanted["features.18"]
        content = ((deep - target) ** 2).sum() / (target**2).sum()
        style = sum(
            0.2 * ((self.gram(tap) - wanted) ** 2).sum() / (wanted**2).sum()
            for tap, wanted in zip(taps, self.grams[:-1], strict=True)
        )
        tv = (x.diff(dim=2) ** 2).mean() + (x.diff(dim=3) ** 2).mean()
        total = content + 20 * style + 2 * tv
        total.backward()
        parts = [float(part.detach()) for part in (total, content, style, tv)]
        return Losses(parts[0], parts[1], parts[2], parts[3], {}), x.grad[0].numpy().transpose(
            1, 2, 0
        )


SIZE = 80, 96


def sides(network: Network, content: FloatPicture, style: FloatPicture) -> tuple[Objective, Peer]:
    ours = Objective(network, WEIGHTS, tensor_of(content), [(tensor_of(style), 1.0)])
    return ours, Peer(network, content, style)


def test_loss_and_gradient(network: Network) -> None:
    both = sides(network, floats(0, *SIZE), floats(1, *SIZE))
    (ours, slope), (theirs, wanted) = (side.evaluate(floats(2, *SIZE)) for side in both)
    for name in ("total", "content", "style", "tv"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-4)
    assert np.abs(slope - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_a_hundred_iterations_of_lbfgs() -> None:
    # The trained network and photographs: where neighbours are equal a pooling has no derivative,
    # and which way rounding then goes decides where a random network ends.
    content, style = (stylise.floats(photograph, SIZE) for photograph in photographs())
    ends = []
    both = sides(load("backbone"), content, style)
    for side in both:
        courses: list[Losses] = []

        def watch(one: FloatPicture, losses: Losses, to: list[Losses] = courses) -> bool:
            to.append(losses)
            return False

        descend(side, content, Descent(iterations=100), watch)
        assert len(courses) == 100
        ends.append(courses[-1])
    for name in ("total", "content", "style"):
        assert getattr(ends[0], name) == pytest.approx(getattr(ends[1], name), rel=0.02)
    assert ends[0].total < 0.2 * both[0].evaluate(content)[0].total
