"""What a trained network has learned: its maps, its favourite pictures, where it looks.

A layer is named as for `core.models.features`. Inputs x are what the network takes, float
(N, C, H, W), already normalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import core
from core import device as dev
from core import nn, optim
from core.models import features
from core.tape import no_grad
from core.tensor import Tensor

Array = NDArray[np.float32]


def feature_maps(model: nn.Module, x: Array, layers: Sequence[str]) -> dict[str, Array]:
    """The outputs of `layers` for one picture x (C, H, W): name -> (C', H', W') (book, 7.6.2).

    Raises ValueError for a name that the model does not have, or of a layer without maps.
    """
    with no_grad():
        taps = _taps(model, input_of(model, x[None]), layers)
    for name, tap in taps.items():
        _check_maps(tap, name)
    return {name: tap.numpy()[0] for name, tap in taps.items()}


def layers_with_maps(model: nn.Module, x: Array, kind: type[nn.Module]) -> list[str]:
    """The names of the layers of a kind that give maps for x (N, C, H, W), as they run."""
    found: list[str] = []

    def note(name: str, module: nn.Module, output: Any) -> None:
        if output.ndim == 4 and name not in found:
            found.append(name)

    with ExitStack() as stack, no_grad():
        for name, module in model.named_modules():
            if isinstance(module, kind):
                stack.enter_context(module.register_output_hook(partial(note, name)))
        _taps(model, input_of(model, x), [""])
    return found


class Crop(NamedTuple):
    """A part of a picture that a channel answers to: rows top..bottom, columns left..right."""

    picture: int
    value: float
    top: int
    bottom: int
    left: int
    right: int


def strongest_crops(
    model: nn.Module, x: Array, layer: str, channel: int, count: int = 9, batch_size: int = 64
) -> list[Crop]:
    """The parts of the pictures x (N, C, H, W) that a channel of `layer` answers to most.

    One for each picture, the strongest first. A part is what the channel's highest value depends
    on: where its gradient for the picture is not zero (Zeiler and Fergus 2014, section 4, show the
    same patches). Raises ValueError for an unknown layer or channel.
    """
    highest = np.concatenate(
        [
            _channel(model, x[i : i + batch_size], layer, channel).max(axis=(1, 2))
            for i in range(0, len(x), batch_size)
        ]
    )
    best = np.argsort(-highest, kind="stable")[:count]
    return [_crop(model, x, int(i), layer, channel) for i in best]


def _channel(model: nn.Module, x: Array, layer: str, channel: int) -> Array:
    with no_grad():
        tap = _taps(model, input_of(model, x), [layer])[layer]
    _check_channel(tap, layer, channel)
    return tap.numpy()[:, channel]


def _crop(model: nn.Module, x: Array, index: int, layer: str, channel: int) -> Crop:
    picture = input_of(model, x[index : index + 1], requires_grad=True)
    values = _taps(model, picture, [layer])[layer][0, channel]
    place = np.unravel_index(int(values.numpy().argmax()), values.shape)
    (gradient,) = core.grad(values[place], [picture])
    seen = np.abs(gradient.numpy()[0]).max(axis=0) > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    edges = [0, 0, 0, 0]
    if rows.size:
        edges = [int(e) for e in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)]
    return Crop(index, float(values[place].item()), *edges)


def maximise(
    model: nn.Module,
    layer: str,
    channel: int,
    shape: tuple[int, int, int],
    *,
    steps: int = 200,
    lr: float = 0.05,
    smoothness: float = 0.1,
    jitter: int = 4,
) -> Array:
    """A picture (C, H, W) that drives the mean of a channel up, by gradient ascent from noise.

    Erhan et al. 2009. Adam climbs; each step shifts the picture by up to `jitter` pixels, around
    the edges, and pulls neighbouring pixels together (`smoothness`), without which the picture
    stays noise (Mordvintsev et al. 2015). Raises ValueError for an unknown layer or channel.
    """
    rng = dev.random.host
    picture = core.Parameter(rng.standard_normal(shape, np.float32)[None] * np.float32(0.1))
    optimizer = optim.Adam([picture], lr=lr)
    for _ in range(steps):
        shifts = tuple(int(s) for s in rng.integers(-jitter, jitter + 1, 2))
        moved = input_of(model, np.roll(picture.numpy(), shifts, (2, 3)), requires_grad=True)
        tap = _taps(model, moved, [layer])[layer]
        _check_channel(tap, layer, channel)
        (gradient,) = core.grad(tap[:, channel].mean(), [moved])
        step = gradient.numpy()
        step = np.roll(step / (np.abs(step).mean() + 1e-12), (-shifts[0], -shifts[1]), (2, 3))
        picture.grad = Tensor(smoothness * _roughness_gradient(picture.numpy()) - step)
        optimizer.step()
    return picture.numpy()[0]


def _roughness_gradient(x: Array) -> Array:
    """The gradient of half the squared differences of neighbours, in units of their mean."""
    total = np.zeros_like(x)
    for axis in (2, 3):
        difference = np.diff(x, axis=axis)
        before, behind = [(0, 0)] * 4, [(0, 0)] * 4
        before[axis], behind[axis] = (1, 0), (0, 1)
        total += np.pad(difference, before) - np.pad(difference, behind)
    return total / (np.abs(total).mean() + np.float32(1e-12))


def grad_cam(model: nn.Module, x: Array, layer: str, target: int | None = None) -> Array:
    """Where in one picture x (C, H, W) `layer` finds a class: (H', W'), 0 to 1.

    The maps of the layer, weighted by the mean gradient of the class's logit and cut at zero
    (Selvaraju et al. 2017, equations 1 and 2). `target` is by default the likeliest class. Raises
    ValueError for an unknown layer, one without maps, or a class that the model does not have.
    """
    taps = _taps(model, input_of(model, x[None], requires_grad=True), [layer, ""])
    maps, logits = taps[layer], taps[""]
    _check_maps(maps, layer)
    classes = logits.shape[1]
    if target is None:
        target = int(logits.numpy()[0].argmax())
    if not 0 <= target < classes:
        raise ValueError(f"grad_cam: target {target}, expected a class in 0..{classes - 1}")
    (gradient,) = core.grad(logits[0, target], [maps])
    weights = gradient.numpy()[0].mean(axis=(1, 2), keepdims=True)
    heat = np.maximum((weights * maps.numpy()[0]).sum(axis=0), 0)
    return heat / heat.max() if heat.max() > 0 else heat


def embedding(features: Array, *, perplexity: float = 30.0, seed: int = 0) -> Array:
    """Points (N, 2) that keep the neighbourhoods of features (N, D): scikit-learn's t-SNE.

    van der Maaten and Hinton 2008. Raises ValueError when there are not more samples than
    `perplexity`.
    """
    if len(features) <= perplexity:
        raise ValueError(
            f"embedding: {len(features)} samples, expected more than the perplexity {perplexity}"
        )
    from sklearn.manifold import TSNE

    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)


def _taps(model: nn.Module, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """`core.models.features` in evaluation; the model's mode stays as it was."""
    tapped = features(model, layers)
    was_training = model.training
    model.eval()
    try:
        return tapped(x)
    finally:
        model.train(was_training)


def input_of(model: nn.Module, x: Array, requires_grad: bool = False) -> Tensor:
    """The tensor of x where the model is."""
    device = next(model.parameters()).device
    return Tensor(dev.to_device(np.ascontiguousarray(x), device), requires_grad=requires_grad)


def _check_maps(tap: Tensor, layer: str) -> None:
    if tap.ndim != 4:
        raise ValueError(f"layer {layer} has no maps: its output has shape {tap.shape}")


def _check_channel(tap: Tensor, layer: str, channel: int) -> None:
    _check_maps(tap, layer)
    if not 0 <= channel < tap.shape[1]:
        raise ValueError(f"{layer}: no channel {channel} in an output of shape {tap.shape}")
