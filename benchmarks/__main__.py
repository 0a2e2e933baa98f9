"""Time every training step on this core and on PyTorch, and print and save the table.

    python -m benchmarks                                # all steps, about ten minutes
    python -m benchmarks --steps resnet20 dqn --rounds 5 --reference

Each side runs in its own process, and they take turns. A pair that does not compute the same
is not timed. The machine should have nothing else to do: PyTorch's threads wait for each other
by spinning, and on a busy machine its times on several threads mean nothing. Kernels that have
to be compiled first count in the memory, so the second run tells it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks import machine
from benchmarks.measure import compare
from benchmarks.report import Report, Row
from benchmarks.steps import STEPS, Step, step_named
from core.cli import run_command
from core.kernels.threads import get_num_threads

# The load of a machine that is left alone, with some of what came just before.
BUSY = 0.5


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the training steps on this core and on PyTorch."""

    steps: tuple[str, ...] = tuple(step.name for step in STEPS)
    """Which steps."""

    rounds: int = 3
    """How often each side has its turn; the median of the turns counts."""

    seconds: float = 2.0
    """For how long a side times steps in its turn (two steps at least)."""

    threads: int | None = None
    """Threads of every side; by default $OPENBOOK_NUM_THREADS, else one for each core."""

    batch: float = 1.0
    """Factor on every step's batch."""

    reference: bool = False
    """Time the reference kernels too: one step each, which is slow for the large networks."""

    out: Path = Path("runs/benchmarks")
    """Folder for steps.json and steps.md."""

    def __post_init__(self) -> None:
        for flag, value in (("--rounds", self.rounds), ("--threads", self.threads)):
            if value is not None and value < 1:
                raise ValueError(f"{flag} is {value}; expected 1 or more")
        for flag, number in (("--seconds", self.seconds), ("--batch", self.batch)):
            if not number > 0:
                raise ValueError(f"{flag} is {number}; expected more than 0")


def main(options: Options) -> None:
    """Fill the table row by row; what is done is saved at once."""
    steps = [scaled(step_named(name), options.batch) for name in options.steps]
    threads = options.threads or get_num_threads()
    report = Report(conditions(threads, options.rounds))
    if machine.load() > BUSY:
        print(f"warning: the load is {machine.load():.1f}; the times will mislead", file=sys.stderr)
    print("counting the arithmetic and measuring matrix products", flush=True)
    facts = machine.ask(threads, steps)
    report.peak = facts["peak"]
    for step in steps:
        row = run(step, threads, options)
        row.gflop = facts["gflop"][step.name] * step.batch / step_named(step.name).batch
        report.rows.append(row)
        print(summary(row), flush=True)
        report.save(options.out)
    print(f"\n{report.markdown()}\nsaved in {options.out}")


def scaled(step: Step, factor: float) -> Step:
    """`step` with its batch times `factor`, at least 1."""
    return replace(step, batch=max(1, round(step.batch * factor)))


def run(step: Step, threads: int, options: Options) -> Row:
    """The row of `step`; a side that fails, or results that differ, leave their reason."""
    try:
        timings = compare(step, threads, options.rounds, options.seconds, options.reference)
    except RuntimeError as error:
        return Row(step, problem=str(error))
    return Row(step, timings)


def summary(row: Row) -> str:
    """A line for the terminal."""
    if row.problem:
        return f"{row.step.name:13} {row.step.size:16} {row.problem}"
    times = "  ".join(f"{side} {timing.ms:.4g} ms" for side, timing in row.timings.items())
    return f"{row.step.name:13} {row.step.size:16} ratio {row.ratio:.2f}  {times}"


def conditions(threads: int, rounds: int) -> dict[str, str | int]:
    """What the figures depend on."""
    packages: Sequence[str] = ("numpy", "numba", "torch")
    return {
        "processor": machine.processor(),
        "threads": threads,
        "rounds": rounds,
        "load before": f"{machine.load():.1f}",
        "date": date.today().isoformat(),
        **{name: version(name) for name in packages},
    }


if __name__ == "__main__":
    run_command(main, Options)
