"""What the machine can do, and what a step asks of it.

python -m benchmarks.machine THREADS            # GFLOP/s of matrix products, as JSON
python -m benchmarks.machine THREADS STEP ...   # and the GFLOP of each step
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sides import Peer
from benchmarks.steps import STEPS, Step

# Large enough to be bound by arithmetic, small enough to be done in a tenth of a second.
SIDE = 2048


def product_gflops(threads: int) -> float:
    """The fastest of a few float32 matrix products, NumPy's and PyTorch's, in GFLOP/s."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIDE, SIDE), np.float32) for _ in range(2))
    c, d = torch.from_numpy(a), torch.from_numpy(b)
    with threadpool_limits(threads, user_api="blas"):
        seconds = min(_fastest(lambda: a @ b), _fastest(lambda: c @ d))
    return 2e-9 * SIDE**3 / seconds


def _fastest(run: Callable[[], Any], calls: int = 8) -> float:
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


class Shapes(Peer):
    """PyTorch with tensors that have a shape and no values: operations cost nothing."""

    def tensor(self, array: np.ndarray) -> Any:
        """See Side."""
        return self.torch.empty(array.shape, dtype=self.torch.from_numpy(array).dtype)

    def module(self, module: Any, std: float | None = None) -> Any:
        """See Side."""
        return module

    def descend(self, loss: Any, optimizer: Any) -> None:
        """The gradients alone: optimisers multiply no matrices, and some read a number back."""
        loss.backward()


def count_gflop(step: Step) -> float:
    """What the convolutions and matrix products of `step` take by the direct algorithm."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        workload = step.build(Shapes(1, channels_last=False), step)
        before = counter.get_total_flops()
        workload.run()
    return 1e-9 * (counter.get_total_flops() - before)


def ask(threads: int, steps: Sequence[Step]) -> dict[str, Any]:
    """`product_gflops` as "peak" and `count_gflop` by name as "gflop", from a process of its own.

    Raises RuntimeError when that fails.
    """
    command = [sys.executable, "-m", "benchmarks.machine", str(threads), *(s.name for s in steps)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=root)
    if done.returncode:
        raise RuntimeError(f"benchmarks.machine ended with status {done.returncode}")
    return json.loads(done.stdout)


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def load() -> float:
    """How many programs ran or waited to run in the last minute; 0 where that is not told."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def main(threads: int, names: Sequence[str]) -> None:
    """Print the figures as JSON."""
    gflop = {step.name: count_gflop(step) for step in STEPS if step.name in names}
    print(json.dumps({"peak": product_gflops(threads), "gflop": gflop}))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
