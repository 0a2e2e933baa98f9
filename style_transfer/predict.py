"""Paint your own picture in the style of others, make a texture, or see what layers keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from core import viz
from core.cli import resolve_device, run_command
from core.data.images import Picture, read_image, save_image
from core.options import refuse_idle
from core.training.run import METRICS, Run, read_metrics
from style_transfer import fast, pictures, transform
from style_transfer.colors import Colors
from style_transfer.network import Network, normalise_activations
from style_transfer.objective import tensor_of
from style_transfer.optimise import Descent, Optimizer
from style_transfer.options import LossOptions, require
from style_transfer.reconstruct import LAYERS, by_layer
from style_transfer.session import folder_of, picture_of, work
from style_transfer.stylise import (
    Init,
    Settings,
    Stylisation,
    fitted,
    floats,
    regions_of,
)

Task = Literal["transfer", "texture", "reconstruct", "fast"]
# The options that painting in one pass heeds, and those that other tasks do not.
_FAST = ("pictures", "task", "size", "weights", "device", "out", "data_root", "seed")
_IDLE = {
    "transfer": (),
    "texture": ("content_layers", "content_weight", "colors", "mask"),
    "reconstruct": (
        *("content_weight", "style_weight", "blend", "mask", "colors", "init"),
        *("save_every", "resume"),
    ),
}
_NORMALISED = 256  # pixels of the pictures that --normalise-activations looks at


@dataclass(frozen=True, kw_only=True)
class Options(LossOptions):
    """Optimise a picture until it has one picture's content and others' style."""

    pictures: tuple[Path, ...]
    """The content, then one or more styles (JPEG, PNG, WebP, GIF); for a texture, styles alone; to
    reconstruct, a content, and a style if you like; fast, any pictures and folders of them."""

    task: Task = "transfer"
    """Transfer a style, synthesise its texture alone, reconstruct pictures layer by layer, or paint
    fast, in one pass of a network that was trained for one style (--weights; one ships)."""

    size: tuple[int, ...] = (512,)
    """Longer side of the result, in pixels; several, rising, go from coarse to fine."""

    iterations: int = 200
    """Iterations at each size."""

    optimizer: Optimizer = "lbfgs"
    """L-BFGS, or Adam, which needs less memory and more iterations."""

    lr: float = Descent.lr
    """Adam's step; pictures are in 0..1."""

    history: int = Descent.history
    """Steps that L-BFGS remembers."""

    recompute: bool = False
    """Keep the activations of the named layers alone, and compute those between them again."""

    normalise_gradients: bool = False
    """Give each layer's gradient its weight as its size; with Adam."""

    blend: tuple[float, ...] = ()
    """Weights of several styles; by default all the same."""

    mask: Path | None = None
    """A picture with one grey value for each style, from dark to bright: its region."""

    style_scale: float = 1.0
    """Size of a style picture over that of the result: smaller gives finer strokes."""

    colors: Colors = "style"
    """Take the style's colours, or keep the content's: luminance alone, or matched histograms."""

    init: Init | None = None
    """What to start from; by default the content, or noise for a texture."""

    normalise_activations: bool = False
    """Scale the filters to a mean activation of 1, as in the paper; for VGG and the backbone."""

    save_every: int = 0
    """Keep a picture every so many iterations, and make an animation of them."""

    resume: bool = False
    """Continue the run in the folder that Ctrl-C stopped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_float16()
        require(1, iterations=self.iterations, history=self.history, size=min(self.size, default=1))
        require(0, save_every=self.save_every)
        iterations = self.iterations * len(self.size)
        if self.save_every > iterations:
            raise ValueError(f"--save-every is {self.save_every}, of {iterations} iterations")
        if not self.size or list(self.size) != sorted(set(self.size)):
            raise ValueError(f"--size is {self.size}; expected one size, or several that rise")
        positive = {"lr": self.lr, "style-scale": self.style_scale}
        for name, number in positive.items():
            if not 0 < number < float("inf"):
                raise ValueError(f"--{name} is {number}; expected more than 0")
        if self.normalise_gradients and self.optimizer == "lbfgs":
            raise ValueError(
                "--normalise-gradients makes a gradient that is none of the loss, which L-BFGS "
                "cannot follow: add --optimizer adam"
            )
        if self.task == "fast":
            others = {one.name for one in fields(self)} - set(_FAST)
            refuse_idle(self, others, "with --task fast")
            if len(self.size) > 1:
                raise ValueError(f"--size is {self.size}; fast takes one size")
            return
        refuse_idle(self, _IDLE[self.task], f"with --task {self.task}")
        refuse_idle(
            self,
            ("lr",) if self.optimizer == "lbfgs" else ("history",),
            f"with --optimizer {self.optimizer}",
        )
        if self.mask is not None:
            refuse_idle(self, ("blend",), "with --mask, which gives each style a region")


def main(options: Options) -> None:
    """Make the picture and say how far its losses went down."""
    if options.task == "fast":
        _fast(options)
        return
    content, styles = _read(options)
    network = options.load_network()
    if options.normalise_activations:
        seen = [*([] if content is None else [content]), *styles]
        shown = [tensor_of(floats(one, fitted(one, _NORMALISED))) for one in seen]
        normalise_activations(network, shown)
    settings = _settings(options, network)
    if options.task == "reconstruct":
        _reconstruct(options, network, settings, content, styles)
        return
    mask = None if options.mask is None else regions_of(read_image(options.mask), len(styles))
    job = Stylisation(network, settings, content, _weighted(styles, options.blend), mask)
    # Everything that can be refused is, before the folder is touched.
    job.objective(options.size[0])
    run = Run.create(folder_of(options.out), "style_transfer", "predict", options)
    result = work(job, run, save_every=options.save_every, resume=options.resume)
    target = picture_of(options.out)
    if target is not None:
        save_image(target, result)
    finish(run, job, result, content, styles)


def _fast(options: Options) -> None:
    net, style = transform.load(options.weights)
    net.to(resolve_device(options.device))
    named = fast.targets(options.pictures)
    target = picture_of(options.out)
    if target is not None and len(named) > 1:
        raise ValueError(f"--out {target} is one picture, and {len(named)} are to be painted")
    _refuse_to_overwrite(target, [path for path, _ in named])
    run = Run.create(folder_of(options.out), "style_transfer", "predict", options)
    figures = fast.paint_all(net, options.pictures, run, options.size[-1])
    if target is not None:
        save_image(target, read_image(run.folder / fast.PAINTED / named[0][1]))
    run.finish({"style": style, **figures})


def _reconstruct(
    options: Options,
    network: Network,
    settings: Settings,
    content: Picture | None,
    styles: Sequence[Picture],
) -> None:
    assert content is not None
    if len(styles) > 1:
        raise ValueError(f"reconstruct takes a content and at most one style, not {len(styles)}")
    names = tuple(settings.weights.content if options.content_layers else settings.weights.style)
    every = replace(settings.weights, content=dict.fromkeys(names, 1.0))
    # Everything that can be refused is, before the folder is touched.
    pair = [(style, 1.0) for style in styles]
    Stylisation(network, replace(settings, weights=every), content, pair).objective(options.size[0])
    run = Run.create(folder_of(options.out), "style_transfer", "predict", options)
    left = by_layer(network, run, settings, names, content, *styles)
    target = picture_of(options.out)
    if target is not None:
        save_image(target, read_image(run.path(LAYERS)))
    run.finish({"network": network.name, "loss left of noise's": left})


def finish(
    run: Run,
    job: Stylisation,
    result: Picture,
    content: Picture | None,
    styles: Sequence[Picture],
) -> dict[str, Any]:
    """Draw what there is to draw, and write the summary."""
    viz.save(pictures.before_after(content, styles, result), run.picture("before_after.png"))
    path = run.path(METRICS)
    metrics = read_metrics(path) if path.exists() else []
    if metrics:
        viz.save(pictures.losses(metrics), run.picture("losses.png"))
    height, width = result.shape[:2]
    return run.finish(
        {
            "network": job.network.name,
            "width": width,
            "height": height,
            "iterations": len(metrics),
            **job.compared(result),
        }
    )


def _read(options: Options) -> tuple[Picture | None, list[Picture]]:
    paths = options.pictures
    least = 2 if options.task == "transfer" else 1
    if len(paths) < least:
        wanted = "a content picture and a style" if least == 2 else "one at least"
        raise ValueError(f"predict: {len(paths)} pictures, expected {wanted}")
    _refuse_to_overwrite(options.out, paths)
    first, *others = [read_image(path) for path in paths]
    return (None, [first, *others]) if options.task == "texture" else (first, others)


def _refuse_to_overwrite(target: Path | None, paths: Sequence[Path]) -> None:
    if target is not None and target.resolve() in {path.resolve() for path in paths}:
        raise ValueError(f"{target} would be overwritten; choose another --out")


def _weighted(styles: Sequence[Picture], blend: Sequence[float]) -> list[tuple[Picture, float]]:
    if not blend:
        blend = [1.0] * len(styles)
    if len(blend) != len(styles):
        raise ValueError(f"--blend has {len(blend)} weights for {len(styles)} styles")
    if min(blend) < 0 or not 0 < sum(blend) < float("inf"):
        raise ValueError(f"--blend is {tuple(blend)}; expected weights of 0 or more, not all 0")
    return list(zip(styles, blend, strict=True))


def _settings(options: Options, network: Network) -> Settings:
    weights = options.loss_weights(network)
    texture = options.task == "texture"
    if texture and options.init == "content":
        raise ValueError("a texture has no content: leave out --init content")
    return Settings(
        weights=replace(
            weights,
            content={} if texture else weights.content,
            normalise_gradients=options.normalise_gradients,
        ),
        descent=Descent(
            optimizer=options.optimizer,
            iterations=options.iterations,
            lr=options.lr,
            history=options.history,
        ),
        sizes=options.size,
        init=options.init or ("noise" if texture else "content"),
        style_scale=options.style_scale,
        colors=options.colors,
        recompute=options.recompute,
        seed=options.seed,
    )


if __name__ == "__main__":
    run_command(main, Options)
