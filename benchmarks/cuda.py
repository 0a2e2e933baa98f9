"""Time every training step on a GPU, on this core and on PyTorch, and print and save the table.

    python -m benchmarks.cuda                           # all steps in TF32, some minutes
    python -m benchmarks.cuda --steps resnet20 dqn --precision float16
    python -m benchmarks.cuda --batches --steps         # throughput against batch size alone

One process for each side goes through all steps: this core with cuDNN's convolutions, PyTorch, this
core with its own convolutions. Times are of many steps in a row, waited for at the end. A problem
leaves its reason in the table, and the rest goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from threading import Thread, Timer
from typing import Any

from benchmarks.gpu_child import (
    COMPILED,
    CONTIGUOUS,
    COUNT,
    EAGER,
    GRAPH,
    LAST,
    OURS,
    PEER,
    STEPS,
    UNUSABLE,
    Job,
    gpu_step,
)
from benchmarks.gpu_sides import Precision
from benchmarks.machine import processor
from benchmarks.measure import Child
from benchmarks.report import markdown_line, short
from benchmarks.steps import Step
from core.cli import run_command

CUDNN, GEMM, HOST = "cudnn", "gemm", "host"
BATCHES = (128, 256, 512, 1024, 2048, 4096)
ON_CPU = ("deep_convnet", "resnet20")
OWN_GOAL = 2.0
EAGER_PEERS = ((PEER, CONTIGUOUS), (PEER, LAST))
# Of the first results, which show that both sides compute the same.
EXACT, ROUNDED = 1e-3, 1e-2


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the training steps on a GPU, on this core and on PyTorch."""

    steps: tuple[str, ...] = tuple(step.name for step in STEPS)
    """Which steps; "resnet20@512" is one with that batch."""

    precision: Precision = "tf32"
    """How all sides multiply."""

    seconds: float = 0.5
    """For how long a mode of a side is timed."""

    batches: bool = False
    """ResNet-20 with batches from 128 to 4096 too."""

    cpu: bool = False
    """DeepConvNet and ResNet-20 on this machine's CPU too."""

    compile: bool = False
    """PyTorch's compiler too, which is slow to start."""

    limit: float = 120.0
    """Seconds after which a process that says nothing is given up."""

    out: Path = Path("runs/benchmarks-cuda")
    """Folder for PRECISION.json and PRECISION.md."""

    device: str = "cuda"
    """"cpu" tries everything without a GPU."""

    def __post_init__(self) -> None:
        for flag, value in (("--seconds", self.seconds), ("--limit", self.limit)):
            if not value > 0:
                raise ValueError(f"{flag} is {value}; expected more than 0")


@dataclass
class Results:
    """What all sides showed, by step and (side, mode)."""

    steps: Sequence[Step]
    precision: str
    ms: dict[str, dict[tuple[str, str], float]] = field(default_factory=dict)
    first: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    problems: dict[str, dict[tuple[str, str], str]] = field(default_factory=dict)
    gflop: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, float] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)

    def take(self, side: str, answer: dict[str, Any]) -> None:
        """Put an answer of a child where it belongs."""
        if "ready" in answer:
            self.conditions.update(answer["ready"])
        elif "peak" in answer:
            self.peaks[side] = answer["peak"]
        elif "gflop" in answer:
            self.gflop[answer["step"]] = answer["gflop"]
        elif "ms" in answer:
            self.ms.setdefault(answer["step"], {})[side, answer["mode"]] = answer["ms"]
            self.first.setdefault(answer["step"], {})[side] = answer["results"]
        elif "problem" in answer:
            self.fail(side, answer["mode"], answer["step"], answer["problem"])

    def fail(self, side: str, mode: str, step: str, problem: str) -> None:
        """Note why there is no time."""
        self.problems.setdefault(step, {})[side, mode] = problem
        print(f"{step} {side} {mode}: {problem}", file=sys.stderr, flush=True)

    def best(self, step: str, *which: tuple[str, str]) -> float | None:
        """The shortest of these times that there are."""
        times = [t for key, t in self.ms.get(step, {}).items() if key in which]
        return min(times, default=None)

    def ours(self, step: str, *sides: str) -> float | None:
        """Our best time on `sides`, as a graph or not."""
        return self.best(step, *((side, mode) for side in sides for mode in (EAGER, GRAPH)))

    def ratio(self, step: str, *sides: str) -> float | None:
        """Our best time on `sides` over PyTorch's, eager, in its faster layout."""
        ours, peer = self.ours(step, *sides), self.best(step, *EAGER_PEERS)
        return None if ours is None or peer is None else ours / peer

    def differences(self, step: str) -> dict[str, float]:
        """How far the first results are from PyTorch's, as a part of it, by side."""
        first = self.first.get(step, {})
        if PEER not in first:
            return {}
        expected = first[PEER][0]
        return {side: abs(r[0] - expected) / abs(expected) for side, r in first.items()}

    def is_same(self, step: str) -> bool:
        """Whether all sides compute the same."""
        limit = EXACT if self.precision == "float32" else ROUNDED
        # Written so that NaN fails.
        return all(apart <= limit for apart in self.differences(step).values())

    def speed(self, step: str, ms: float | None) -> str:
        """TFLOP/s, and of the peak."""
        if ms is None or step not in self.gflop:
            return ""
        speed = self.gflop[step] / ms
        peak = max(self.peaks.values(), default=None)
        return f"{speed:.3g}" + (f" ({100 * speed / peak:.0f} %)" if peak else "")

    def cells(self, step: Step) -> list[str]:
        """A row of the table."""
        name = step.name
        times = [self.best(name, key) for key in COLUMNS]
        layouts = self.ms.get(name, {})
        peer = self.best(name, *EAGER_PEERS)
        last = peer is not None and layouts.get((PEER, LAST)) == peer
        ratios = [self.ratio(name, CUDNN, GEMM), self.ratio(name, GEMM)]
        ours = self.ours(name, CUDNN, GEMM)
        return [
            step.title + ("" if self.is_same(name) else " (results differ)"),
            step.size,
            *map(short, times[:4]),
            short(peer) + (" (channels-last)" if last else ""),
            *map(short, times[4:]),
            *("" if r is None else f"{r:.2f}" for r in ratios),
            f"<= {step.goal}, {OWN_GOAL}",
            self.speed(name, ours),
            self.speed(name, peer),
        ]

    def markdown(self) -> str:
        """The tables."""
        head = ", ".join(f"{name} {value}" for name, value in self.conditions.items())
        peaks = ", ".join(f"{side} {value:.0f}" for side, value in self.peaks.items())
        lines = [f"{head}. TFLOP/s of a matrix product: {peaks}.", ""]
        lines += [markdown_line(HEAD), markdown_line(["---"] * len(HEAD))]
        lines += [markdown_line(self.cells(step)) for step in self.steps]
        lines += [*self._of_batches(), *self._of_host()]
        for step, problems in list(self.problems.items()):
            lines += [f"{step} {side} {mode}: {text}" for (side, mode), text in problems.items()]
        return "\n".join([*lines, ""])

    def _of_batches(self) -> list[str]:
        """Pictures a second against the batch."""
        rows = [step for step in self.steps if "@" in step.name]
        lines = ["", markdown_line(["step", "batch", "openbook, 1/s", "PyTorch, 1/s"])]
        lines.append(markdown_line(["---"] * 4))
        for step in rows:
            ours = self.ours(step.name, CUDNN, GEMM)
            peer = self.best(step.name, *EAGER_PEERS)
            speeds = ["" if t is None else f"{1e3 * step.batch / t:.0f}" for t in (ours, peer)]
            lines.append(markdown_line([step.title, str(step.batch), *speeds]))
        return lines if rows else []

    def _of_host(self) -> list[str]:
        """The book's figure 8-15."""
        lines = ["", markdown_line(["step", "CPU, ms", "GPU, ms", "times as fast"])]
        lines.append(markdown_line(["---"] * 4))
        for step in self.steps:
            host = self.best(step.name, (HOST, EAGER))
            ours = self.ours(step.name, CUDNN, GEMM)
            if host and ours:
                cells = [step.title, short(host), short(ours), f"{host / ours:.0f}"]
                lines.append(markdown_line(cells))
        return lines if len(lines) > 3 else []

    def json(self) -> dict[str, Any]:
        """Everything that was measured."""
        return {
            "conditions": self.conditions,
            "peak_tflops": self.peaks,
            "steps": {step.name: self._details(step) for step in self.steps},
        }

    def _details(self, step: Step) -> dict[str, Any]:
        name = step.name
        return {
            "title": step.title,
            "size": step.size,
            "goal": step.goal,
            "gflop": self.gflop.get(name),
            "ms": _joined(self.ms.get(name, {})),
            "ratio": self.ratio(name, CUDNN, GEMM),
            "ratio_own_kernels": self.ratio(name, GEMM),
            "first_results": self.first.get(name, {}),
            "same": self.is_same(name),
            "problems": _joined(self.problems.get(name, {})),
        }

    def save(self, folder: Path) -> None:
        """Write both forms."""
        from core.io.files import write_json, write_text

        write_json(folder / f"{self.precision}.json", self.json())
        write_text(folder / f"{self.precision}.md", self.markdown())


COLUMNS = (
    (CUDNN, EAGER),
    (CUDNN, GRAPH),
    (GEMM, EAGER),
    (GEMM, GRAPH),
    (PEER, GRAPH),
    (PEER, COMPILED),
)
HEAD = (
    "step",
    "batch",
    "openbook, cuDNN, ms",
    "as a graph",
    "own kernels, ms",
    "as a graph",
    "PyTorch, ms",
    "as a graph",
    "compiled",
    "ratio",
    "with own kernels",
    "goals",
    "openbook, TFLOP/s (of peak)",
    "PyTorch, TFLOP/s (of peak)",
)


def _joined(values: dict[tuple[str, str], Any]) -> dict[str, Any]:
    return {" ".join(key): value for key, value in values.items()}


def main(options: Options) -> Results:
    """Measure side after side; what is done is saved at once."""
    names = [*options.steps, *(f"resnet20@{n}" for n in BATCHES if options.batches)]
    results = measure([gpu_step(name) for name in names], options)
    print(f"\n{results.markdown()}\nsaved in {options.out}")
    return results


def measure(steps: Sequence[Step], options: Options) -> Results:
    """All sides on all `steps`."""
    results = Results(steps, options.precision)
    results.conditions |= {"precision": options.precision, "date": date.today().isoformat()}
    if options.cpu:
        results.conditions["processor"] = processor()
    job = Job(
        OURS,
        [{"name": s.name, "batch": s.batch, "shape": s.shape, "width": s.width} for s in steps],
        options.device,
        options.precision,
        options.seconds,
        (EAGER, GRAPH),
        peak=options.device == "cuda",
    )
    counting = Thread(
        target=collect, args=(COUNT, replace(job, side=COUNT), options, results, {}), daemon=True
    )
    counting.start()
    peer = replace(job, side=PEER, modes=(CONTIGUOUS, LAST, GRAPH, *[COMPILED] * options.compile))
    on_gpu = options.device == "cuda"
    # As PyTorch's cudnn.benchmark, which the other side has on.
    fast = {"OPENBOOK_CUDA_CONV": CUDNN, "OPENBOOK_CUDNN_BENCHMARK": "1"}
    collect(CUDNN, job, options, results, fast if on_gpu else {})
    collect(PEER, peer, options, results, {})
    results.save(options.out)
    own = replace(job, peak=False)
    collect(GEMM, own, options, results, {"OPENBOOK_CUDA_CONV": GEMM})
    if options.cpu:
        on_cpu = [s for s in job.steps if s["name"] in ON_CPU]
        host = replace(own, device="cpu", precision="float32", modes=(EAGER,), steps=on_cpu)
        collect(HOST, host, options, results, {})
    counting.join(options.limit)
    results.save(options.out)
    return results


def collect(
    side: str, job: Job, options: Options, results: Results, environment: dict[str, str]
) -> None:
    """Everything that children say about `job`; a new one where one ended before its time."""
    waiting = list(job.steps)
    while waiting:
        ready = False
        command = [
            sys.executable,
            "-m",
            "benchmarks.gpu_child",
            json.dumps(asdict(replace(job, steps=waiting))),
        ]
        with Child(command, environment) as child:
            try:
                while True:
                    answer = _hear(child, options.limit)
                    ready = True
                    results.take(side, answer)
                    if "done" in answer:
                        waiting.pop(0)
                        if side != COUNT:
                            _progress(side, answer["done"], results)
                            results.save(options.out)
                    if "end" in answer:
                        child.process.kill()
                        return
            except RuntimeError as error:
                failed = str(error)
        job = replace(job, peak=False)
        if not ready:
            for step in waiting:
                results.fail(side, "start", step["name"], failed)
            return
        if waiting and not failed.endswith(f" {UNUSABLE}"):
            results.fail(side, "process", waiting.pop(0)["name"], failed)


def _hear(child: Child, limit: float) -> dict[str, Any]:
    """The next answer; RuntimeError when the process ended, or says nothing for too long."""
    timer = Timer(limit, child.process.kill)
    timer.start()
    try:
        return child.hear()
    finally:
        timer.cancel()


def _progress(side: str, step: str, results: Results) -> None:
    times = [f"{m} {t:.4g} ms" for (s, m), t in results.ms.get(step, {}).items() if s == side]
    ratio = results.ratio(step, CUDNN, GEMM)
    shown = "" if ratio is None else f"  ratio {ratio:.2f}"
    same = "" if results.is_same(step) else f"  results differ: {results.first[step]}"
    print(f"{side:8} {step:14} {'  '.join(times)}{shown}{same}", flush=True)


if __name__ == "__main__":
    run_command(main, Options)
