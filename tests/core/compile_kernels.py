"""Compile all kernels in CUDA C++ at once, by one process for each source and dtype.

CuPy keeps them on disk: tests that run side by side then need not each compile the same.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import resources
from itertools import product
from multiprocessing import get_context

from core import device as dev
from core.kernels.cuda import launch


def compile_one(job: tuple[str, str]) -> str:
    """What went wrong with (source, dtype), if anything."""
    name, dtype = job
    try:
        kernel = re.findall(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)", _own(name))[0]
        launch._function(dev.cuda_module(), name, dtype, kernel)
    except Exception as error:
        return f"{name} for {dtype}: {type(error).__name__}: {str(error)[:2000]}"
    return ""


def _own(name: str) -> str:
    return resources.files("core.kernels.cuda").joinpath(name).read_text()


def main() -> None:
    """Compile, and say what did not."""
    start = time.perf_counter()
    folder = resources.files("core.kernels.cuda")
    sources = sorted(f.name for f in folder.iterdir() if f.name.endswith(".cu"))
    jobs = list(product(sources, launch.C_NAMES))
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        wrong = [message for message in pool.map(compile_one, jobs) if message]
    for message in wrong:
        print(message)
    seconds = time.perf_counter() - start
    print(f"compiled {len(jobs) - len(wrong)} of {len(jobs)} in {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
