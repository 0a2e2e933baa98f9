"""Paint a photograph in the style of another, both from scikit-image: pictures and losses."""

from __future__ import annotations

from dataclasses import dataclass

from core.cli import CommonOptions, resolve_device, run_command
from core.data.images import Picture
from core.training.run import Run
from style_transfer.network import load
from style_transfer.objective import Weights
from style_transfer.optimise import Descent
from style_transfer.options import require
from style_transfer.predict import finish
from style_transfer.session import work
from style_transfer.stylise import Settings, Stylisation

PROMISE = 0.1
"""The style loss at the end over that of the content photograph, at most."""


@dataclass(frozen=True, kw_only=True)
class Options(CommonOptions):
    """Style transfer between two photographs; nothing is downloaded."""

    network: str = "backbone"
    """The network that looks: backbone (ships), squeezenet1_0, vgg19."""

    size: int = 320
    """Longer side of the result, in pixels."""

    iterations: int = 80
    """Iterations of L-BFGS."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_float16()
        require(1, size=self.size, iterations=self.iterations)


def main(options: Options) -> None:
    """Transfer, draw, and say how far the losses went; fails when the style was not reached."""
    device = resolve_device(options.device)
    network = load(options.network, options.weights, data_root=options.data_root, device=device)
    recipe = network.recipe
    if recipe is None:
        raise ValueError(f"--network {network.name} has no default layers; predict takes any")
    content, style = photographs()
    settings = Settings(
        weights=Weights.of(recipe),
        descent=Descent(iterations=options.iterations),
        sizes=(options.size,),
        seed=options.seed,
    )
    job = Stylisation(network, settings, content, [(style, 1.0)])
    run = Run.create(options.out, "style_transfer", "demo", options)
    result = work(job, run, save_every=max(1, options.iterations // 8), resumable=False)
    summary = finish(run, job, result, content, [style])
    left = summary["style loss"]["final/initial"]
    # Weights of yours, and a handful of iterations, promise nothing.
    if options.weights is None and options.iterations >= Options.iterations and left > PROMISE:
        raise RuntimeError(f"{left:.1%} of the style loss is left, the demo promises {PROMISE:.0%}")


def photographs() -> tuple[Picture, Picture]:
    """Content and style: a cat, and stained tissue under a microscope (CC0, scikit-image)."""
    from skimage import data

    return data.chelsea(), data.immunohistochemistry()


if __name__ == "__main__":
    run_command(main, Options)
