"""Peak memory of style transfer at a large size: activations kept, and computed again.

    python -m benchmarks.style_memory                       # the shipped backbone, 1,024 pixels
    python -m benchmarks.style_memory --networks vgg19      # random weights: they take the same

Each row runs in a process of its own; resident memory counts, Python and its libraries included.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from core.cli import run_command
from style_transfer.options import require


@dataclass(frozen=True, kw_only=True)
class Options:
    """Measure the peak memory of style transfer."""

    networks: tuple[str, ...] = ("backbone",)
    """Which networks: backbone, vgg19."""

    size: int = 1024
    """Side of the picture, a square."""

    iterations: int = 12
    """Iterations of L-BFGS; its memory is full after 10."""

    recompute: tuple[bool, ...] = (True, False)
    """Whether activations between the taps are computed again."""

    def __post_init__(self) -> None:
        require(1, size=self.size, iterations=self.iterations)


def main(options: Options) -> None:
    """A line for each network and way."""
    for network in options.networks:
        for recompute in options.recompute:
            job = json.dumps([network, options.size, options.iterations, recompute])
            child = [sys.executable, "-m", "benchmarks.style_memory", "--child", job]
            done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{network} ended with status {done.returncode}")
            figures: dict[str, Any] = json.loads(done.stdout)
            way = "computed again" if recompute else "kept"
            print(
                f"{network}, {options.size} pixels, activations {way}: "
                f"{figures['peak']:.0f} MB at the peak, {figures['before']:.0f} MB before, "
                f"{figures['seconds']:.1f} s an iteration",
                flush=True,
            )


def measure(network: str, size: int, iterations: int, recompute: bool) -> dict[str, float]:
    """Peak resident memory in MB, what was there before, and seconds of an iteration."""
    from core.data.images import resize
    from core.training.run import peak_memory_mb
    from style_transfer.demo import photographs
    from style_transfer.objective import Weights
    from style_transfer.optimise import Descent
    from style_transfer.stylise import Settings, Stylisation

    looking = _network(network)
    recipe = looking.recipe
    assert recipe is not None
    content, style = (resize(one, (size, size)) for one in photographs())
    settings = Settings(
        weights=Weights.of(recipe),
        descent=Descent(iterations=iterations),
        sizes=(size,),
        recompute=recompute,
    )
    before, start = peak_memory_mb(), time.perf_counter()
    done = Stylisation(looking, settings, content, [(style, 1.0)]).run(lambda at, losses: False)
    seconds = (time.perf_counter() - start) / max(1, done.done)
    return {"peak": peak_memory_mb(), "before": before, "seconds": seconds}


def _network(name: str) -> Any:
    from core import models
    from core.models.backbone import MEAN, STD
    from style_transfer.network import Network, load

    if name == "backbone":
        return load(name)
    # Without the classifier's half gigabyte, which no picture's features need.
    model = models.build(name, hidden=1).eval().requires_grad_(False)
    return Network(name, model, MEAN, STD)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(*json.loads(sys.argv[2]))))
    else:
        run_command(main, Options)
