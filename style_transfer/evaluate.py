"""Paint every content in every style: one grid to judge by eye, and what is left of the losses."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import viz
from core.cli import run_command
from core.data import roots
from core.data.folder import distinct_stems, pictures_below
from core.data.images import Picture, read_image, save_image
from core.training.progress import track
from core.training.run import Run
from style_transfer import pictures
from style_transfer.network import Network
from style_transfer.optimise import Descent
from style_transfer.options import LossOptions, require
from style_transfer.stylise import Settings, Stylisation

_NAMES = {
    "content": ("astronaut.jpg", "chelsea.jpg", "coffee.jpg", "rocket.jpg"),
    "style": ("composition_vii.jpg", "starry_night.jpg", "the_scream.jpg", "wave.jpg"),
}
_ORIGIN = "scikit-image's sample images and github.com/jcjohnson/neural-style"


@dataclass(frozen=True, kw_only=True)
class Options(LossOptions):
    """Style transfer between all pairs of contents and styles."""

    contents: Path | None = None
    """Folder of contents; by default four photographs in style/content below the data root."""

    styles: Path | None = None
    """Folder of styles; by default four paintings in style/style below the data root."""

    size: int = 256
    """Longer side of each result, in pixels."""

    iterations: int = 80
    """Iterations of L-BFGS for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(1, size=self.size, iterations=self.iterations)


def main(options: Options) -> None:
    """Paint, draw the grid, and write how much is left of each pair's losses."""
    contents = _pictures(options.contents, "content", options.data_root)
    styles = _pictures(options.styles, "style", options.data_root)
    network = options.load_network()
    settings = Settings(
        weights=options.loss_weights(network),
        descent=Descent(iterations=options.iterations),
        sizes=(options.size,),
        seed=options.seed,
    )
    run = Run.create(options.out, "style_transfer", "evaluate", options)
    painted: dict[tuple[str, str], Picture] = {}
    left: dict[str, dict[str, Any]] = {}
    for content, style in track([(c, s) for c in contents for s in styles], "painting"):
        pair = contents[content], styles[style]
        painted[content, style], left[f"{content} in {style}"] = _paint(network, settings, *pair)
        save_image(run.path(f"pairs/{content}-{style}.png"), painted[content, style])
    grid = pictures.table(contents, styles, painted)
    viz.save(grid, run.picture("grid.jpg"))
    # A picture painted in its own style begins with no loss of which some could be left.
    shares = [figures["style"] for figures in left.values() if figures["style"] is not None]
    run.finish(
        {
            "network": network.name,
            "pairs": len(left),
            "style loss left": {
                "mean": statistics.mean(shares) if shares else None,
                "least": min(shares, default=None),
                "most": max(shares, default=None),
            },
            "left": left,
            "seed": options.seed,
        }
    )


def _paint(
    network: Network, settings: Settings, content: Picture, style: Picture
) -> tuple[Picture, dict[str, Any]]:
    """The picture of a pair, and what is left of both losses: the start's, and white noise's."""
    job = Stylisation(network, settings, content, [(style, 1.0)])
    at = job.run(lambda progress, losses: False)
    assert at.best is not None
    result = job.finished(at.best)
    losses = job.compared(result)
    return result, {
        "style": losses["style loss"]["final/initial"],
        "content, of noise's": losses["content loss"]["final/noise"],
    }


def _pictures(folder: Path | None, kind: str, data_root: Path | None) -> dict[str, Picture]:
    """The pictures of a folder by name; without one, those of the data set `style`."""
    if folder is None:
        files = [f"{kind}/{name}" for name in _NAMES[kind]]
        paths = [roots.find("style", files, data_root, origin=_ORIGIN) / name for name in files]
    else:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
        paths = list(pictures_below(folder))
        if not paths:
            raise FileNotFoundError(f"{folder}: no pictures in this folder")
    return dict(zip(distinct_stems(paths), map(read_image, paths), strict=True))


if __name__ == "__main__":
    run_command(main, Options)
