"""Draw pictures with a trained generator."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import arg

from core.cli import resolve_device, run_command
from core.data.images import WRITABLE, save_image
from dcgan import pictures
from dcgan.artist import load_artist, noise
from dcgan.evaluate import MOST


@dataclass(frozen=True, kw_only=True)
class Options:
    """Draw samples into one picture (PNG, JPEG), or into a folder of single ones."""

    count: int = 64
    """How many samples."""

    seed: int = 0
    """The same seed draws the same samples."""

    kind: Annotated[str | None, arg(name="class")] = None
    """What to draw, with class-conditional weights: 3, say; by default every class in turn."""

    out: Path = Path("runs") / "dcgan-predict" / "samples.png"
    """Picture to write, or a folder (a name without an ending) for one picture each."""

    data: str = "digits"
    """The data set that the shipped weights were trained on."""

    weights: Path | None = None
    """Weights (safetensors) to use instead of the shipped ones."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes the GPU when there is one."""

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise ValueError(f"--count is {self.count}; expected 1 to {MOST}")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}; expected 0 or more")
        if self.out.suffix and self.out.suffix.lower() not in WRITABLE:
            raise ValueError(f"--out {self.out}: expected a folder or {', '.join(WRITABLE)}")


def main(options: Options) -> None:
    """Draw and write; prints what was drawn as JSON."""
    artist = load_artist(options.data, options.weights)
    artist.generator.to(resolve_device(options.device))
    labels = artist.labels(options.count)
    if options.kind is not None:
        labels = np.full(options.count, artist.label(options.kind))
    points = noise(options.count, artist.generator.latent, (options.seed, 0))
    samples = artist.draw(points, labels)
    if options.out.suffix:
        save_image(options.out, pictures.sheet(samples))
    else:
        for number, sample in enumerate(samples):
            save_image(options.out / f"{number:05d}.png", sample)
    told = {"samples": len(samples), "seed": options.seed, "out": str(options.out)}
    print(json.dumps({**told, "trained_on": artist.data}))


if __name__ == "__main__":
    run_command(main, Options)
