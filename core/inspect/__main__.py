"""Print what a network costs, size and time by layer on the CPU, and draw where the time goes.

    python -m core.inspect alexnet
    python -m core.inspect resnet50 --batch-size 1 --inference

For AlexNet the picture is the book's figure 8-14.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core import models, viz
from core.cli import run_command
from core.inspect import profile, summary
from core.options import need_positive
from core.tensor import Tensor


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show the size, the arithmetic and the time of each layer of a network."""

    model: str
    """A name that core.models.build knows."""

    batch_size: int = 16
    """Pictures in the step that is timed."""

    steps: int = 5
    """How many steps are timed; the one of median length is shown."""

    inference: bool = False
    """Only the forward pass, as in inference."""

    out: Path = Path("runs/core-inspect")
    """Folder for the picture."""

    def __post_init__(self) -> None:
        need_positive(self, "batch_size", "steps")


def main(options: Options) -> None:
    """Print both tables and save the picture."""
    model = models.build(options.model)
    shape = models.input_shape(options.model)
    print(summary(model, (1, *shape)), end="\n\n", flush=True)
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((options.batch_size, *shape), np.float32))
    if options.inference:
        model.eval()
    found = profile(model, x, backward=not options.inference, steps=options.steps)
    print(found)
    path = options.out / f"{options.model}.png"
    viz.save(found.figure(f"{options.model}, {options.batch_size} pictures"), path)
    print(f"saved {path}")


if __name__ == "__main__":
    run_command(main, Options)
