"""Convolutions of the networks here: our kernels, the reference kernels and PyTorch, one process.

    python -m benchmarks.conv_sweep                # every layer shape
    python -m benchmarks.conv_sweep --only resnet --rounds 9 --reference

Each figure is the smallest of several medians, the sides taking turns, PyTorch's the better
of its two memory layouts. Times are in milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from core.kernels import reference
from core.kernels.layout import channels_first
from core.kernels.reference.conv import Window, weight_view
from core.kernels.threads import get_num_threads


@dataclass(frozen=True)
class Layer:
    """One convolution: square pictures, kernel, stride and padding."""

    name: str
    batch: int
    channels: int
    filters: int
    size: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


LAYERS = (
    Layer("deepconvnet 1", 100, 1, 16, 28),
    Layer("deepconvnet 2", 100, 16, 16, 28),
    Layer("deepconvnet 4", 100, 16, 32, 14, padding=2),
    Layer("deepconvnet 5", 100, 32, 64, 8),
    Layer("deepconvnet 6", 100, 64, 64, 8),
    Layer("resnet20 first", 128, 3, 16, 32),
    Layer("resnet20 16", 128, 16, 16, 32),
    Layer("resnet20 16-32", 128, 16, 32, 32, stride=2),
    Layer("resnet20 1x1", 128, 16, 32, 32, kernel=1, stride=2, padding=0),
    Layer("resnet20 32", 128, 32, 32, 16),
    Layer("resnet20 64", 128, 64, 64, 8),
    Layer("lenet 5x5", 100, 6, 16, 14, kernel=5, padding=0),
    Layer("vgg 1_1", 1, 3, 64, 224),
    Layer("vgg 1_2", 1, 64, 64, 224),
    Layer("vgg 2_2", 1, 128, 128, 112),
    Layer("vgg 3_2", 1, 256, 256, 56),
    Layer("vgg 4_2", 1, 512, 512, 28),
    Layer("vgg 5_2", 1, 512, 512, 14),
    Layer("segnet last", 1, 64, 11, 240),
    Layer("resnet50 7x7", 4, 3, 64, 224, kernel=7, stride=2, padding=3),
    Layer("resnet50 1x1", 4, 256, 64, 56, kernel=1, padding=0),
    Layer("alexnet 11x11", 4, 3, 64, 224, kernel=11, stride=4, padding=2),
    Layer("alexnet 5x5", 4, 64, 192, 27, kernel=5, padding=2),
    Layer("dcgan 4x4", 64, 3, 64, 64, kernel=4, stride=2),
    Layer("dcgan 4x4", 64, 64, 128, 32, kernel=4, stride=2),
    Layer("dcgan 4x4", 64, 256, 512, 8, kernel=4, stride=2),
    Layer("dqn 8x8", 32, 4, 32, 84, kernel=8, stride=4, padding=0),
    Layer("dqn 4x4", 32, 32, 64, 20, kernel=4, stride=2, padding=0),
    Layer("dqn 3x3", 32, 64, 64, 9, padding=0),
)

Runs = dict[str, Callable[[], Any]]


def operands(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray, Window]:
    """Input, weight and gradient of the result, channels-last, and the window."""
    rng = np.random.default_rng(0)
    k, s, p = layer.kernel, layer.stride, layer.padding
    window = Window((s, s), (p, p), (1, 1))
    rows, columns = window.output_size((layer.size, layer.size), (k, k))
    x = rng.standard_normal((layer.batch, layer.size, layer.size, layer.channels), np.float32)
    gy = rng.standard_normal((layer.batch, rows, columns, layer.filters), np.float32)
    weight = rng.standard_normal((k, k, layer.channels, layer.filters), np.float32)
    return channels_first(x), weight_view(weight), channels_first(gy), window


def ours(kernels: Any, layer: Layer) -> Runs:
    """Forward pass, input gradient and weight gradient with one of our backends."""
    x, weight, gy, window = operands(layer)
    size = x.shape[2:]
    return {
        "forward": lambda: kernels.convolve(x, weight, None, window),
        "input": lambda: kernels.convolve_input_gradient(gy, weight, size, window),
        "weight": lambda: kernels.convolve_weight_gradient(x, gy, weight.shape[2:], window),
    }


def pytorch(layer: Layer, channels_last: bool) -> Runs:
    """The same with PyTorch, all arrays in one memory layout."""
    import torch

    torch.set_num_threads(get_num_threads())
    layout = torch.channels_last if channels_last else torch.contiguous_format
    arrays = operands(layer)[:3]
    x, weight, gy = (torch.from_numpy(a).contiguous(memory_format=layout) for a in arrays)
    s, p = [layer.stride] * 2, [layer.padding] * 2

    def backward(mask: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            gy, x, weight, None, s, p, [1, 1], False, [0, 0], 1, mask
        )

    return {
        "forward": lambda: torch.nn.functional.conv2d(x, weight, None, s, p),
        "input": lambda: backward([True, False, False]),
        "weight": lambda: backward([False, True, False]),
    }


def median_ms(run: Callable[[], Any], seconds: float = 0.15) -> float:
    """The median of a few calls that take about `seconds` together.

    On one thread it is the thread's own time that counts, which a busy machine does not change.
    """
    clock = time.thread_time if get_num_threads() == 1 else time.perf_counter
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        start = clock()
        run()
        times.append(clock() - start)
    return 1e3 * float(np.median(times))


def compare(sides: dict[str, Runs], what: str, rounds: int) -> dict[str, float]:
    """Each side's smallest median; the sides take turns, with a pause for idle threads."""
    best = dict.fromkeys(sides, np.inf)
    for side in sides:
        sides[side][what]()
    for _ in range(rounds):
        for side, runs in sides.items():
            time.sleep(0.02)
            best[side] = min(best[side], median_ms(runs[what]))
    return best


@dataclass
class Options:
    """Which layers, and how long."""

    only: Annotated[str, "part of a layer's name"] = ""
    rounds: Annotated[int, "medians of which the smallest counts"] = 3
    reference: Annotated[bool, "time the reference kernels too"] = False


def main(options: Options) -> None:
    """Print the table."""
    from core.kernels import cpu

    for layer in LAYERS:
        if options.only not in layer.name:
            continue
        sides = {"ours": ours(cpu, layer)}
        sides |= {f"torch{last}": pytorch(layer, bool(last)) for last in (0, 1)}
        if options.reference:
            sides["reference"] = ours(reference, layer)
        print(describe(layer), end="", flush=True)
        for what in ("forward", "input", "weight"):
            best = compare(sides, what, options.rounds)
            theirs = min(best["torch0"], best["torch1"])
            print(f" | {best['ours']:7.2f} {theirs:7.2f} {best['ours'] / theirs:5.2f}", end="")
            if options.reference:
                print(f" {best['reference']:8.1f}", end="")
        print(flush=True)


def describe(layer: Layer) -> str:
    """A line's beginning: name, shape, window."""
    return (
        f"{layer.name:15} {layer.batch:3} {layer.channels:3}->{layer.filters:<3} "
        f"{layer.size:3}x{layer.size:<3} k{layer.kernel:<2} s{layer.stride} p{layer.padding}"
    )


if __name__ == "__main__":
    import tyro

    main(tyro.cli(Options))
