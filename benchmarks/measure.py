"""How a step is timed: a process for each side, which take turns.

A child (`python -m benchmarks.measure JOB`) makes its step ready, runs it twice and answers with
the two results; then it answers each line that comes in with a round of times, until there are no
more lines. Between its rounds it sleeps, and the others' turns come.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self, TextIO

import numpy as np

from benchmarks.sides import OURS, PEER, PEER_LAST, REFERENCE, side_of
from benchmarks.steps import Step, step_named

# The first results show that both sides compute the same, the second ones that the gradients
# do; a sign that rounding turns in a ReLU makes these differ more, on equal sides too.
FIRST, SECOND = 1e-4, 1e-2

# Other processes' idle threads spin for a moment before they sleep.
PAUSE = 0.2


@dataclass(frozen=True)
class Job:
    """What a child runs: a step in the size given, on one side."""

    step: str
    side: str
    threads: int
    batch: int
    shape: tuple[int, ...]
    width: int


@dataclass(frozen=True)
class Round:
    """An order: for how many seconds to time steps, and how many of them at least."""

    seconds: float
    least: int = 2


@dataclass
class Timing:
    """What one side showed."""

    results: list[float]
    """Of the first two steps."""

    rounds: list[float] = field(default_factory=list)
    """The median time of each round, ms."""

    peak_mb: float | None = None
    """Resident memory at its highest, above what it was before the first step."""

    @property
    def ms(self) -> float:
        """The median of the rounds."""
        return float(np.median(self.rounds))


class Runnable(Protocol):
    """What a child serves; `benchmarks.steps.Workload` is one."""

    def run(self) -> Any:
        """Run one step."""

    def value(self) -> float:
        """Run one step; a number that is the same on every side."""


# ---------------------------------------------------------------- the child


def serve(workload: Runnable, orders: TextIO, answers: TextIO) -> None:
    """Answer with the first two results, then every `Round` that comes with its times."""
    _give_back()
    level = _resident("VmRSS") if _forget_peak() else None
    _say(answers, {"results": [workload.value(), workload.value()]})
    for line in orders:
        times = timed(workload.run, Round(**json.loads(line)))
        peak = _resident("VmHWM")
        above = None if level is None or peak is None else peak - level
        _say(answers, {"ms": float(np.median(times)), "steps": len(times), "peak_mb": above})


def timed(run: Callable[[], Any], order: Round) -> list[float]:
    """Milliseconds of each step, after one that warms up."""
    run()
    times: list[float] = []
    while sum(times) < 1e3 * order.seconds or len(times) < order.least:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=answers, flush=True)


def _resident(name: str) -> float | None:
    """VmRSS (now) or VmHWM (highest) of this process in MB; None where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    kilobytes = next((line.split()[1] for line in lines if line.startswith(f"{name}:")), None)
    return None if kilobytes is None else int(kilobytes) / 1024


def _give_back() -> None:
    """Return freed memory to the system (glibc), so that the level holds nothing but what is used.

    This core keeps what making a network freed; a step that used it again would seem to need none.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _forget_peak() -> bool:
    """Let VmHWM start from now on (Linux); whether that is possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


# ---------------------------------------------------------------- the parent


class Child:
    """A process that answers lines of JSON with lines of JSON."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] = {}) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
            cwd=Path(__file__).parents[1],
        )

    def hear(self) -> dict[str, Any]:
        """The next answer; RuntimeError when the process ended instead."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended with status {self.process.wait()}")
        return json.loads(line)

    def ask(self, order: Round) -> dict[str, Any]:
        """The answer to `order`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asdict(order)) + "\n")
        self.process.stdin.flush()
        return self.hear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self.process.kill()
        self.process.communicate()


def start(job: Job) -> Child:
    """The child that runs `job`, with as many threads in every library."""
    threads = str(job.threads)
    environment = {
        "OPENBOOK_KERNELS": "reference" if job.side == REFERENCE else "",
        "OPENBOOK_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(asdict(job))]
    return Child(command, environment)


def compare(
    step: Step, threads: int, rounds: int, seconds: float, reference: bool = False
) -> dict[str, Timing]:
    """Time `step` on every side, in turns.

    The reference kernels, where asked for, have one turn of one step. Raises RuntimeError when
    a side fails, or when the sides do not compute the same.
    """
    sides = [OURS, PEER, PEER_LAST] + [REFERENCE] * reference
    with ExitStack() as stack:
        children, timings = {}, {}
        for side in sides:
            job = Job(step.name, side, threads, step.batch, step.shape, step.width)
            children[side] = stack.enter_context(start(job))
            # One after another: together they would be in each other's way.
            timings[side] = Timing(children[side].hear()["results"])
        check({side: timing.results for side, timing in timings.items()})
        for number in range(rounds):
            for side, child in children.items():
                if side == REFERENCE and number:
                    continue
                time.sleep(PAUSE)
                order = Round(0, least=1) if side == REFERENCE else Round(seconds)
                answer = child.ask(order)
                timings[side].rounds.append(answer["ms"])
                timings[side].peak_mb = answer["peak_mb"]
    return timings


def check(results: Mapping[str, Sequence[float]], oracle: str = PEER) -> None:
    """RuntimeError unless all sides have the first two results of `oracle`."""
    expected = results[oracle]
    for side, found in results.items():
        for which, tolerance, ours, theirs in zip(
            ("first", "second"), (FIRST, SECOND), found, expected, strict=True
        ):
            # Written so that NaN fails.
            if not abs(ours - theirs) <= tolerance * abs(theirs):
                raise RuntimeError(
                    f"the {which} results differ: {side} {ours:.7g}, {oracle} {theirs:.7g}"
                )


def main(argument: str) -> None:
    """Be the child for one job, given as JSON."""
    job = Job(**json.loads(argument))
    step = step_named(job.step)
    step = replace(step, batch=job.batch, shape=tuple(job.shape), width=job.width)
    serve(step.build(side_of(job.side, job.threads), step), sys.stdin, sys.stdout)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        raise SystemExit(130) from None
