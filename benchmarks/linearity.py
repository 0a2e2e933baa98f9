"""How the time of a step grows with the batch and with the pictures' size.

    python -m benchmarks.linearity
    python -m benchmarks.linearity --steps vgg16 --seconds 1

Four sizes each, one side only: this core. Time per picture, or per pixel, stays the same
where the growth is linear; it falls where a step has a fixed part (fully connected
layers, the optimiser, Python).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.__main__ import conditions
from benchmarks.measure import PAUSE, Job, Round, start
from benchmarks.report import markdown_line
from benchmarks.sides import OURS
from benchmarks.steps import Step, step_named
from core.cli import run_command
from core.kernels.threads import get_num_threads


@dataclass(frozen=True)
class Sizes:
    """Four batches with the step's own pictures, and four heights with a batch of `at`."""

    batches: tuple[int, ...]
    heights: tuple[int, ...]
    at: int


SIZES = {
    "deep_convnet": Sizes((25, 50, 100, 200), (14, 28, 56, 112), 25),
    "resnet20": Sizes((16, 32, 64, 128), (16, 32, 64, 128), 16),
    "vgg16": Sizes((1, 2, 4, 8), (112, 160, 224, 320), 1),
}


@dataclass(frozen=True)
class Point:
    """One size of a step and its time."""

    batch: int
    shape: tuple[int, ...]
    ms: float

    @property
    def pixels(self) -> int:
        """Of the whole batch."""
        return self.batch * int(np.prod(self.shape[1:]))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time steps of this core in four batches and four picture sizes."""

    steps: tuple[str, ...] = tuple(SIZES)
    """Which steps."""

    rounds: int = 3
    """How often each size has its turn; the smallest of their medians counts."""

    seconds: float = 0.5
    """For how long steps are timed in a turn (two steps at least)."""

    threads: int | None = None
    """By default $OPENBOOK_NUM_THREADS, else one for each core."""

    out: Path = Path("runs/benchmarks")
    """Folder for linearity.json and linearity.md."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.steps if name not in SIZES]
        if unknown:
            raise ValueError(f"--steps has {unknown[0]!r}; expected {', '.join(SIZES)}")


def main(options: Options) -> None:
    """Print and save the tables; what is done is saved at once."""
    from core.io.files import write_json, write_text

    threads = options.threads or get_num_threads()
    series: dict[str, list[Point]] = {}
    for name in options.steps:
        for what, steps in variants(name).items():
            series[f"{name}, {what}"] = [measure(step, threads, options) for step in steps]
            print(table(series), flush=True)
            figures = {title: [vars(point) for point in points] for title, points in series.items()}
            about = conditions(threads, options.rounds)
            write_json(options.out / "linearity.json", {"conditions": about, "series": figures})
            write_text(options.out / "linearity.md", table(series))


def variants(name: str) -> dict[str, list[Step]]:
    """The step in four batches, and in four picture sizes."""
    step, sizes = step_named(name), SIZES[name]
    return {
        "by batch": [replace(step, batch=batch) for batch in sizes.batches],
        "by picture": [
            replace(step, batch=sizes.at, shape=(step.shape[0], height, height))
            for height in sizes.heights
        ],
    }


def measure(step: Step, threads: int, options: Options) -> Point:
    """Time one size in a process of its own."""
    job = Job(step.name, OURS, threads, step.batch, step.shape, step.width)
    with start(job) as child:
        child.hear()
        times = []
        for _ in range(options.rounds):
            time.sleep(PAUSE)
            times.append(child.ask(Round(options.seconds))["ms"])
    return Point(step.batch, step.shape, min(times))


HEAD = ("step", "batch", "ms", "ms a picture", "ns a pixel", "of the first, a pixel")


def table(series: dict[str, list[Point]]) -> str:
    """All series as Markdown, each point beside the first of its series."""
    lines = [markdown_line(HEAD), markdown_line(["---"] * len(HEAD))]
    for title, points in series.items():
        lines += [markdown_line(cells(title, point, points)) for point in points]
    return "\n".join([*lines, ""])


def cells(title: str, point: Point, points: Sequence[Point]) -> list[Any]:
    """A row of the table; see HEAD."""
    first = points[0]
    relative = (point.ms / point.pixels) / (first.ms / first.pixels)
    return [
        title,
        f"{point.batch} x {'x'.join(map(str, point.shape))}",
        f"{point.ms:.3g}" if point.ms < 100 else f"{point.ms:.0f}",
        f"{point.ms / point.batch:.3g}",
        f"{1e6 * point.ms / point.pixels:.3g}",
        f"{relative:.2f}",
    ]


if __name__ == "__main__":
    run_command(main, Options)
