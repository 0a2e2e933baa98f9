"""One side of the comparison on a GPU: a process that goes through all steps.

    python -m benchmarks.gpu_child JOB

It answers in lines of JSON: first what it runs on, then for each step and mode the first results
and the time, or the problem. CUDA is started, and PyTorch loaded, once. A problem that leaves the
GPU unusable ends the process, and `benchmarks.cuda` goes on with a new one.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

import numpy as np

from benchmarks import steps
from benchmarks.gpu_sides import OursOnGpu, PeerOnGpu
from benchmarks.steps import Step, step_named

EAGER, GRAPH, CONTIGUOUS, LAST, COMPILED = "eager", "graph", "contiguous", "last", "compiled"
OURS, PEER, COUNT = "openbook", "pytorch", "count"
WARM_UP, ROUNDS, MOST = 4, 3, 2000
UNUSABLE = 3  # the status of a process that cannot use the GPU any more


def _sized(like: str, name: str = "", goal: float = 1.0, **size: Any) -> Step:
    return replace(step_named(like), name=name or like, goal=goal, **size)


STEPS = (
    _sized("deep_convnet", goal=0.7),
    _sized("resnet20"),
    Step("resnet50", "ResNet-50, momentum", steps.resnet50, 1.0, 64, (3, 224, 224)),
    _sized("segnet", batch=8),
    _sized("style_512"),
    _sized("dcgan", batch=128),
    _sized("nic", batch=256),
    _sized("dqn", goal=0.7),
    _sized("dqn", "dqn_512", batch=512),
    _sized("attention", batch=256),
)


def gpu_step(name: str) -> Step:
    """The step with this name, "resnet20@512" with that batch; ValueError for an unknown one."""
    like, _, batch = name.partition("@")
    for step in STEPS:
        if step.name == like:
            return replace(step, name=name, batch=int(batch)) if batch else step
    raise ValueError(f"step {name!r}, expected one of {', '.join(s.name for s in STEPS)}")


@dataclass(frozen=True)
class Job:
    """What a child runs."""

    side: str
    steps: Sequence[dict[str, Any]]
    """Of each the name, batch, shape and width."""

    device: str = "cuda"
    precision: str = "tf32"
    seconds: float = 0.5
    modes: Sequence[str] = ()
    peak: bool = False


def wanted(job: Job) -> list[Step]:
    """The steps of `job`."""
    return [replace(gpu_step(s["name"]), **{**s, "shape": tuple(s["shape"])}) for s in job.steps]


def timed(side: Any, run: Callable[[], Any], seconds: float) -> float:
    """Milliseconds of a step: the median of rounds of many, each waited for as a whole."""
    for _ in range(WARM_UP):
        run()

    def round_of(count: int) -> float:
        side.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            run()
        side.synchronize()
        return (time.perf_counter() - start) / count

    count = int(min(MOST, max(2, seconds / ROUNDS / round_of(2))))
    return 1e3 * float(np.median([round_of(count) for _ in range(ROUNDS)]))


def of_ours(job: Job, step: Step) -> Iterator[dict[str, Any]]:
    """The answers about one step of this core."""
    side = OursOnGpu(job.precision, job.device)
    workload = step.build(side, step)
    results = [workload.value(), workload.value()]
    for mode in job.modes:

        def measure(mode: str = mode) -> float:
            run = side.recorded(workload.run) if mode == GRAPH else workload.run
            return timed(side, run, job.seconds)

        # A step that cannot be recorded is still one that can be run.
        yield from _guarded(mode, measure, results)


def of_peer(job: Job, step: Step) -> Iterator[dict[str, Any]]:
    """The answers about one step of PyTorch; graph and compiled in the faster layout."""
    times: dict[str, float] = {}
    for mode in job.modes:
        results: list[float] = []

        def measure(mode: str = mode, results: list[float] = results) -> float:
            last = mode == LAST or times.get(LAST, np.inf) < times.get(CONTIGUOUS, np.inf)
            side = PeerOnGpu(job.precision, job.device, last, graph=mode == GRAPH)
            workload = step.build(side, step)
            results += [workload.value(), workload.value()]
            if mode == COMPILED:
                for net in workload.networks:
                    net.compile()
            run = side.recorded(workload.run) if mode == GRAPH else workload.run
            times[mode] = timed(side, run, job.seconds)
            return times[mode]

        yield from _guarded(mode, measure, results)


def _guarded(
    mode: str, measure: Callable[[], float], results: list[float]
) -> Iterator[dict[str, Any]]:
    try:
        yield {"mode": mode, "ms": measure(), "results": results}
    except Exception as error:
        yield {"mode": mode, "problem": in_one_line(error)}


def in_one_line(error: Exception) -> str:
    """What went wrong, and where in this project."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if f"{os.sep}core{os.sep}" in file and "site-packages" not in file:
            place = f" ({os.sep.join(file.split(os.sep)[-3:])}:{trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"


def serve(job: Job, answers: TextIO) -> None:
    """Answer everything that `job` asks for."""

    def say(**answer: Any) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    if job.side == COUNT:
        from benchmarks.machine import count_gflop

        say(ready={})
        for step in wanted(job):
            say(step=step.name, gflop=count_gflop(step))
            say(done=step.name)
        say(end=True)
        return
    side: Any = _side(job)
    say(ready=side.versions())
    if job.peak:
        try:
            say(peak=side.product_tflops())
        except Exception as error:
            print(f"{job.side}: the product failed: {in_one_line(error)}", file=sys.stderr)
        side.release()
    for step in wanted(job):
        try:
            for answer in (of_ours if job.side == OURS else of_peer)(job, step):
                say(step=step.name, **answer)
        except Exception as error:
            say(step=step.name, mode=job.modes[0], problem=in_one_line(error))
        say(done=step.name)
        try:
            side.tensor(np.ones(4, np.float32))
            side.synchronize()
            side.release()
        except Exception:
            os._exit(UNUSABLE)
    say(end=True)


def _side(job: Job) -> Any:
    if job.side == OURS:
        return OursOnGpu(job.precision, job.device)
    return PeerOnGpu(job.precision, job.device, False)


if __name__ == "__main__":
    # What libraries print goes to the terminal, the answers alone to the parent.
    answering = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(Job(**json.loads(sys.argv[1])), answering)
