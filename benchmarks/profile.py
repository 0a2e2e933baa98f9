"""Where the time of a step goes: by layer, and by kernel.

    python -m benchmarks.profile dqn
    python -m benchmarks.profile dcgan --steps 20

Layers are timed as `core.profile` does it, forward and backward. Kernels are timed where
operations call them, so that the loss and the optimiser are in that table too. Timing takes a
few microseconds for each call.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from unittest import mock

from benchmarks.sides import Ours
from benchmarks.steps import step_named
from core import kernels
from core.cli import run_command
from core.inspect.layer_times import Profile, layer_time
from core.inspect.spans import Spans
from core.inspect.table import table
from core.kernels.threads import get_num_threads


@dataclass(frozen=True, kw_only=True)
class Options:
    """Show which layers and which kernels take a step's time."""

    step: str
    """Which step of the benchmark."""

    steps: int = 10
    """How many are run; the times are their means."""

    threads: int | None = None
    """By default $OPENBOOK_NUM_THREADS, else one for each core."""


@dataclass
class KernelTimes:
    """Seconds and calls of each kernel, with what it calls itself."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        """One call."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.calls[name] = self.calls.get(name, 0) + 1

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Time the kernels that operations ask `kernels.of` for inside the block."""
        choose = kernels.of
        with mock.patch.object(kernels, "of", lambda *arrays: _Timed(choose(*arrays), self)):
            yield


class _Timed:
    """A backend whose functions are timed."""

    def __init__(self, backend: ModuleType, times: KernelTimes) -> None:
        self._backend = backend
        self._times = times

    def __getattr__(self, name: str) -> Any:
        kernel = getattr(self._backend, name)
        if not callable(kernel):
            return kernel
        place = kernel.__module__.removeprefix("core.kernels.").partition(".")[0]

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return kernel(*args, **kwargs)
            finally:
                self._times.add(f"{place}.{name}", time.perf_counter() - start)

        return timed


def main(options: Options) -> None:
    """Print both tables."""
    step = step_named(options.step)
    workload = step.build(Ours(options.threads or get_num_threads()), step)
    spans, times = Spans(*workload.networks), KernelTimes()
    workload.run()
    with spans.recording():
        workload.run()
        spans.clear()
        start = time.perf_counter()
        for _ in range(options.steps):
            workload.run()
        whole = 1e3 * (time.perf_counter() - start) / options.steps
    scale = 1e3 / options.steps
    layers = [layer_time(span, scale * span.forward, scale * span.backward) for span in spans]
    totals = [sum(getattr(layer, way) for layer in layers) for way in ("forward", "backward")]
    print(f"{step.title}, {step.size}: {whole:.3f} ms a step\n")
    print(Profile(tuple(layers), *totals))
    print(f"outside the layers (loss, optimiser, copies): {whole - sum(totals):.3f} ms\n")
    with times.recording():
        for _ in range(options.steps):
            workload.run()
    print("\n".join(kernel_table(times, options.steps, whole)))


def kernel_table(times: KernelTimes, steps: int, whole: float) -> list[str]:
    """Each kernel's calls and milliseconds in one step of `whole` milliseconds, longest first."""
    rows = []
    for name, seconds in sorted(times.seconds.items(), key=lambda item: -item[1]):
        ms = 1e3 * seconds / steps
        calls = times.calls[name] / steps
        rows.append((name, f"{calls:g}", f"{ms:.3f}", f"{100 * ms / whole:.1f} %"))
    return table(("kernel", "calls", "ms", "of the step"), rows, names=1)


if __name__ == "__main__":
    run_command(main, Options)
