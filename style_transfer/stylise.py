"""One whole job: pictures in, a picture out, size by size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from core.data.images import Picture, resize
from style_transfer.colors import (
    Colors,
    InGrey,
    luminance,
    match_colors,
    match_luminance,
    with_colors_of,
)
from style_transfer.network import Network
from style_transfer.objective import FloatPicture, Losses, Objective, Weights, tensor_of
from style_transfer.optimise import Descent, descend

Init = Literal["content", "style", "noise"]
LEAST_SIDE = 32
"""Below, the deepest default layers have nothing to see."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a picture is made."""

    weights: Weights
    descent: Descent = field(default_factory=Descent)
    sizes: tuple[int, ...] = (512,)
    """The longer side, in pixels; several, rising, go from coarse to fine."""

    init: Init = "content"
    style_scale: float = 1.0
    """Length of a style picture's longer side, over that of the result's."""

    colors: Colors = "style"
    recompute: bool = False
    """Keep the activations of the named layers only, and compute the others again."""

    seed: int = 0


@dataclass
class Progress:
    """How far a job is; what a checkpoint holds."""

    level: int = 0
    """Which of the sizes is being worked on."""

    done: int = 0
    """Iterations at this size."""

    picture: FloatPicture | None = None
    """The last one."""

    best: FloatPicture | None = None
    best_loss: float = math.inf

    def keep(self, picture: FloatPicture, losses: Losses) -> None:
        """Take note of one more iteration."""
        self.done += 1
        self.picture = picture
        if losses.total < self.best_loss:
            self.best, self.best_loss = picture, losses.total


Watch = Callable[[Progress, Losses], bool]
"""Sees each iteration; says whether to stop."""


class Stylisation:
    """The pictures of one job and their losses.

    `content` is None for texture alone; `styles` have a weight each, `mask` (H, W) numbers the
    regions of the content from 0, one for each style. Raises ValueError for pictures that would
    be too narrow, for a mask of other proportions than the content's, and as `Objective` does.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        content: Picture | None,
        styles: Sequence[tuple[Picture, float]] = (),
        mask: NDArray[np.uint8] | None = None,
    ) -> None:
        if content is None and not styles:
            raise ValueError("stylise: no pictures, expected a content or a style")
        self.network = network
        self.settings = settings
        self._content = content
        self._styles = styles
        self._mask = mask
        # Without content, a texture has the shape of its first style.
        self._shaped = content if content is not None else styles[0][0]
        if mask is not None:
            _need_same_proportions(mask, self._shaped)

    def shape(self, size: int) -> tuple[int, int]:
        """Height and width of the result at a size."""
        return fitted(self._shaped, size)

    def objective(self, size: int) -> Objective:
        """The loss at a size."""
        content = self.content(size)
        styles = [(tensor_of(self._style(p, size)), weight) for p, weight in self._styles]
        regions = self._regions(size)
        target = None if content is None else tensor_of(self._seen(content))
        settings = self.settings
        return Objective(
            self.network, settings.weights, target, styles, regions, recompute=settings.recompute
        )

    def content(self, size: int) -> FloatPicture | None:
        """The content picture at a size."""
        return None if self._content is None else floats(self._content, self.shape(size))

    def start(self, size: int) -> FloatPicture:
        """What the first iteration sees."""
        init = self.settings.init
        if init == "noise":
            return self.noise(size)
        if init == "style" and self._styles:
            return self._recolored(floats(self._styles[0][0], self.shape(size)), size)
        content = self.content(size)
        if content is None:
            raise ValueError("nothing to start from: there is no such picture; use noise")
        return self._seen(content)

    def noise(self, size: int) -> FloatPicture:
        """White noise in 0..1, the same for the same seed."""
        rng = np.random.default_rng(self.settings.seed)
        return self._seen(rng.uniform(size=(*self.shape(size), 3)).astype(np.float32))

    def _seen(self, picture: FloatPicture) -> FloatPicture:
        """A picture as the network sees it: in grey where luminance alone is transferred."""
        return luminance(picture) if self.settings.colors == "luminance" else picture

    def finished(self, picture: FloatPicture) -> Picture:
        """A picture of the optimiser as it is shown: its colours, uint8."""
        if self.settings.colors == "luminance":
            content = self.content(max(picture.shape[:2]))
            if content is not None:
                picture = with_colors_of(picture, content)
        return pixels(picture)

    def compared(self, result: Picture) -> dict[str, Any]:
        """Content and style loss of the start, of noise, and of a result as it is saved."""
        size = self.settings.sizes[-1]
        objective = self.objective(size)
        shown = self._seen(result.astype(np.float32) / np.float32(255))
        measured = {
            "initial": objective.evaluate(self.start(size))[0],
            "noise": objective.evaluate(self.noise(size))[0],
            "final": objective.evaluate(shown)[0],
        }
        figures: dict[str, Any] = {}
        for kind in ("content", "style"):
            losses = {name: float(getattr(one, kind)) for name, one in measured.items()}
            figures[f"{kind} loss"] = losses | {
                f"final/{base}": losses["final"] / losses[base] if losses[base] else None
                for base in ("initial", "noise")
            }
        return figures

    def run(self, watch: Watch, progress: Progress | None = None) -> Progress:
        """Go through all sizes, on from `progress`; where it ended, at the last or stopped."""
        at = progress or Progress()
        stopped = False

        def see(picture: FloatPicture, losses: Losses) -> bool:
            nonlocal stopped
            at.keep(picture, losses)
            stopped = watch(at, losses)
            return stopped

        for level in range(at.level, len(self.settings.sizes)):
            size = self.settings.sizes[level]
            if level > at.level:
                at.level, at.done, at.best_loss = level, 0, math.inf
            start = self.start(size) if at.picture is None else self._grown(at, size)
            left = self.settings.descent.iterations - at.done
            how = replace(self.settings.descent, iterations=max(0, left))
            objective = self.objective(size)
            grey = self.settings.colors == "luminance"
            descend(InGrey(objective) if grey else objective, start, how, see)
            if at.picture is None or at.picture.shape != start.shape:
                # Nowhere to go down from there: all of one colour, say.
                at.picture = at.best = start
            if stopped:
                break
        return at

    def _grown(self, at: Progress, size: int) -> FloatPicture:
        """The picture so far at a size: the last one when it has it, else the best enlarged."""
        assert at.picture is not None
        if at.picture.shape[:2] == self.shape(size):
            return at.picture
        best = at.picture if at.best is None else at.best
        return floats(pixels(best), self.shape(size))

    def _style(self, style: Picture, size: int) -> FloatPicture:
        scale = max(1, round(size * self.settings.style_scale))
        return self._recolored(floats(style, fitted(style, scale)), size)

    def _recolored(self, picture: FloatPicture, size: int) -> FloatPicture:
        """A style with what it is to take of the content's colours."""
        content = self.content(size)
        if content is None or self.settings.colors == "style":
            return picture
        match = match_luminance if self.settings.colors == "luminance" else match_colors
        return match(picture, content)

    def _regions(self, size: int) -> list[NDArray[np.float32]]:
        if self._mask is None:
            return []
        labels = resize(self._mask, self.shape(size), "nearest")
        return [(labels == number).astype(np.float32) for number in range(len(self._styles))]


def _need_same_proportions(mask: NDArray[np.uint8], content: Picture) -> None:
    """Raise ValueError for a mask that would have to be stretched over the content."""
    (height, width), (rows, columns) = content.shape[:2], mask.shape
    wanted = columns * height / width
    # Either may have been scaled, and its sides rounded.
    if abs(rows - wanted) > max(1.0, 0.02 * wanted):
        raise ValueError(
            f"the mask has {columns}x{rows} pixels, the content {width}x{height}: expected the "
            "same proportions"
        )


def fitted(picture: Picture, size: int) -> tuple[int, int]:
    """(height, width) of a picture whose longer side is brought to `size`.

    Raises ValueError when the other side would be too short for a network.
    """
    height, width = picture.shape[:2]
    scale = size / max(height, width)
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    if min(shape) < LEAST_SIDE:
        raise ValueError(
            f"a picture of {width}x{height} would be {shape[1]}x{shape[0]}, expected at least "
            f"{LEAST_SIDE} pixels each way: choose a larger size, or crop it"
        )
    return shape


def floats(picture: Picture, shape: tuple[int, int]) -> FloatPicture:
    """A picture (H, W, 3) of `shape`, in 0..1."""
    return resize(picture, shape, "lanczos").astype(np.float32) / np.float32(255)


def pixels(picture: FloatPicture) -> Picture:
    """A picture in 0..1, and what is outside clipped, as uint8."""
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def regions_of(mask: Picture, count: int) -> NDArray[np.uint8]:
    """A mask picture as numbers of regions: its grey values, rising, are 0, 1, ...

    Raises ValueError for a mask with colours, and when there are not `count` values.
    """
    grey = mask if mask.ndim == 2 else mask[:, :, 0]
    if mask.ndim == 3 and np.ptp(mask, axis=2).any():
        raise ValueError("the mask has colours, expected grey values: one for each style")
    values, numbers = np.unique(grey, return_inverse=True)
    if len(values) != count:
        raise ValueError(
            f"the mask has {len(values)} grey values, expected {count}: one for each style"
        )
    return numbers.reshape(grey.shape).astype(np.uint8)
