"""The book's own way of computing DeepConvNet's step, and how much faster this core is.

    python -m benchmarks.book_step

NumPy in float64: convolution and pooling through im2col (book, 7.4), col2im for their gradients,
Adam parameter by parameter (6.1.6). Both sides start from the same weights, and
their first two losses have to agree. The book's trainer makes a second forward pass to
print the loss; its step is timed without it and with it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.__main__ import conditions
from benchmarks.measure import PAUSE, Child, Job, Round, Timing, check, serve, start
from benchmarks.sides import OURS, weights
from benchmarks.steps import Step, step_named
from core.cli import run_command
from core.kernels.threads import get_num_threads

GOAL = 25.0
"""How much faster this core is to be."""

BOOK, TRAINER = "the book's way", "the book's trainer"

Array = NDArray[np.float64]
Gradients = dict[str, Array]
# What a layer returns beside its result: the gradient of its input for that of its result.
# Those of its parameters it leaves in `gradients`.
Back = Callable[[Array], Array]


def im2col(x: Array, kernel: int, stride: int, pad: int) -> Array:
    """The windows of (N, C, H, W) as rows: (N H' W', C kernel kernel) (book, 7.4.3)."""
    n, c, height, width = x.shape
    rows, columns = ((size + 2 * pad - kernel) // stride + 1 for size in (height, width))
    framed = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.zeros((n, c, kernel, kernel, rows, columns))
    for i in range(kernel):
        for j in range(kernel):
            below, right = i + stride * rows, j + stride * columns
            windows[:, :, i, j] = framed[:, :, i:below:stride, j:right:stride]
    return windows.transpose(0, 4, 5, 1, 2, 3).reshape(n * rows * columns, -1)


def col2im(table: Array, shape: tuple[int, ...], kernel: int, stride: int, pad: int) -> Array:
    """The sum of the rows of `im2col`'s table where they came from: (N, C, H, W)."""
    n, c, height, width = shape
    rows, columns = ((size + 2 * pad - kernel) // stride + 1 for size in (height, width))
    windows = table.reshape(n, rows, columns, c, kernel, kernel).transpose(0, 3, 4, 5, 1, 2)
    framed = np.zeros((n, c, height + 2 * pad, width + 2 * pad))
    for i in range(kernel):
        for j in range(kernel):
            below, right = i + stride * rows, j + stride * columns
            framed[:, :, i:below:stride, j:right:stride] += windows[:, :, i, j]
    return framed[:, :, pad : pad + height, pad : pad + width]


def convolution(
    x: Array, w: Array, b: Array, pad: int, gradients: Gradients, name: str
) -> tuple[Array, Back]:
    """Book, 7.4.3: one product of the windows and the filters."""
    n, _, height, width = x.shape
    filters, _, kernel, _ = w.shape
    rows, columns = height + 2 * pad - kernel + 1, width + 2 * pad - kernel + 1
    table, flat = im2col(x, kernel, 1, pad), w.reshape(filters, -1).T
    y = (table @ flat + b).reshape(n, rows, columns, filters).transpose(0, 3, 1, 2)

    def back(gy: Array) -> Array:
        g = gy.transpose(0, 2, 3, 1).reshape(-1, filters)
        gradients[f"{name}.bias"] = g.sum(axis=0)
        gradients[f"{name}.weight"] = (table.T @ g).T.reshape(w.shape)
        return col2im(g @ flat.T, x.shape, kernel, 1, pad)

    return y, back


def max_pooling(x: Array) -> tuple[Array, Back]:
    """Book, 7.4.4, over 2x2 pixels: the largest of each window, a row for each channel."""
    n, c, height, width = x.shape
    rows, columns = height // 2, width // 2
    table = im2col(x, 2, 2, 0).reshape(-1, 4)
    largest = table.argmax(axis=1)
    y = table.max(axis=1).reshape(n, rows, columns, c).transpose(0, 3, 1, 2)

    def back(gy: Array) -> Array:
        g = np.zeros(table.shape)
        g[np.arange(len(g)), largest] = gy.transpose(0, 2, 3, 1).ravel()
        return col2im(g.reshape(n * rows * columns, -1), x.shape, 2, 2, 0)

    return y, back


def relu(x: Array) -> tuple[Array, Back]:
    """Book, 5.5.1."""
    below = x <= 0
    return np.where(below, 0.0, x), lambda gy: np.where(below, 0.0, gy)


def affine(x: Array, w: Array, b: Array, gradients: Gradients, name: str) -> tuple[Array, Back]:
    """Book, 5.6.2."""
    flat = x.reshape(len(x), -1)

    def back(gy: Array) -> Array:
        gradients[f"{name}.bias"] = gy.sum(axis=0)
        gradients[f"{name}.weight"] = gy.T @ flat
        return (gy @ w).reshape(x.shape)

    return flat @ w.T + b, back


def dropout(x: Array, rate: float, rng: np.random.Generator) -> tuple[Array, Back]:
    """Book, 6.4.3, scaled as in PyTorch."""
    if not rate:
        return x, lambda gy: gy
    mask = (rng.random(x.shape) > rate) / (1 - rate)
    return x * mask, lambda gy: gy * mask


def softmax_loss(x: Array, target: NDArray[np.int64]) -> tuple[float, Array]:
    """The mean cross entropy and its gradient (book, 5.6.3)."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    at = np.arange(len(x)), target
    loss = -np.log(p[at] + 1e-7).mean()
    p[at] -= 1
    return float(loss), p / len(x)


# The layers of `networks.deep_convnet` by number: a convolution's padding, 2x2 pooling, affine.
LAYERS: tuple[tuple[int, str, int], ...] = (
    (0, "convolution", 1),
    (2, "convolution", 1),
    (4, "pooling", 0),
    (5, "convolution", 1),
    (7, "convolution", 2),
    (9, "pooling", 0),
    (10, "convolution", 1),
    (12, "convolution", 1),
    (14, "pooling", 0),
    (16, "affine", 0),
    (18, "dropout", 0),
    (19, "last", 0),
)


class BookStep:
    """DeepConvNet with Adam on random pictures, those of `benchmarks.steps.deep_convnet`.

    With `trainer`, each step is followed by the forward pass with which the book's trainer
    computes the loss that it prints.
    """

    def __init__(self, step: Step, trainer: bool = False) -> None:
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((step.batch, *step.shape), np.float32).astype(np.float64)
        self.target = rng.integers(10, size=(step.batch,))
        shapes = parameter_shapes(step)
        self.parameters = {name: weights(name, s).astype(np.float64) for name, s in shapes.items()}
        self.first = {name: np.zeros(s) for name, s in shapes.items()}
        self.second = {name: np.zeros(s) for name, s in shapes.items()}
        self.steps = 0
        self.trainer = trainer
        self.rate = 0.5
        self.rng = rng

    def run(self) -> float:
        """One step; the loss."""
        gradients: Gradients = {}
        y, backs = self.forward(gradients)
        loss, g = softmax_loss(y, self.target)
        for back in reversed(backs):
            g = back(g)
        self.update(gradients)
        if self.trainer:
            softmax_loss(self.forward({})[0], self.target)
        return loss

    def forward(self, gradients: Gradients) -> tuple[Array, list[Back]]:
        """The logits, and the way back of every layer, which fills `gradients`."""
        y, backs = self.x, []
        for number, kind, pad in LAYERS:
            w, b = (self.parameters.get(f"{number}.{part}") for part in ("weight", "bias"))
            if kind == "pooling":
                y, back = max_pooling(y)
            elif kind == "dropout":
                y, back = dropout(y, self.rate, self.rng)
            else:
                assert w is not None and b is not None
                if kind == "convolution":
                    y, back = convolution(y, w, b, pad, gradients, str(number))
                else:
                    y, back = affine(y, w, b, gradients, str(number))
            backs.append(back)
            if kind in ("convolution", "affine"):
                y, back = relu(y)
                backs.append(back)
        return y, backs

    def update(self, gradients: Gradients) -> None:
        """Adam (Kingma and Ba 2015, algorithm 1; book, 6.1.6)."""
        self.steps += 1
        for name, g in gradients.items():
            m, v = self.first[name], self.second[name]
            m += (1 - 0.9) * (g - m)
            v += (1 - 0.999) * (g**2 - v)
            m_hat, v_hat = m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)
            self.parameters[name] -= 1e-3 * m_hat / (np.sqrt(v_hat) + 1e-8)

    def value(self) -> float:
        """One step without dropout; the loss."""
        rate, self.rate = self.rate, 0.0
        try:
            return self.run()
        finally:
            self.rate = rate


def parameter_shapes(step: Step) -> dict[str, tuple[int, ...]]:
    """The parameters of `networks.deep_convnet` by name."""
    from benchmarks import networks
    from core import nn

    net = networks.deep_convnet(nn, step.shape[-1], step.width)
    return {name: parameter.shape for name, parameter in net.named_parameters()}


# ---------------------------------------------------------------- the comparison


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time the book's way of computing beside this core."""

    rounds: int = 3
    """How often each side has its turn; the median of the turns counts."""

    seconds: float = 2.0
    """For how long a side times steps in its turn (two steps at least)."""

    threads: int | None = None
    """Threads of both sides; by default $OPENBOOK_NUM_THREADS, else one for each core."""

    out: Path = Path("runs/benchmarks")
    """Folder for book.json."""


def main(options: Options) -> None:
    """Print and save the times and their ratios."""
    from core.io.files import write_json

    threads = options.threads or get_num_threads()
    found = compare(step_named("deep_convnet"), threads, options.rounds, options.seconds)
    figures: dict[str, Any] = {name: asdict(timing) for name, timing in found.items()}
    for name, timing in found.items():
        print(f"{name}: {timing.ms:.4g} ms, {timing.ms / found[OURS].ms:.1f} times ours")
        figures[name]["ratio"] = timing.ms / found[OURS].ms
    print(f"goal: {GOAL:g} times")
    about = {**conditions(threads, options.rounds), "goal": GOAL}
    write_json(options.out / "book.json", {"conditions": about, "sides": figures})


def compare(step: Step, threads: int, rounds: int, seconds: float) -> dict[str, Timing]:
    """The timings of this core, of the book's step and of its trainer's, in turns.

    Raises RuntimeError when their losses differ.
    """
    job = Job(step.name, OURS, threads, step.batch, step.shape, step.width)
    with start(job) as ours, _start_book(job, BOOK) as book, _start_book(job, TRAINER) as trainer:
        children = {OURS: ours, BOOK: book, TRAINER: trainer}
        # One after another: together they would be in each other's way.
        timings = {name: Timing(child.hear()["results"]) for name, child in children.items()}
        check({name: timing.results for name, timing in timings.items()}, BOOK)
        for _ in range(rounds):
            for name, child in children.items():
                time.sleep(PAUSE)
                answer = child.ask(Round(seconds))
                timings[name].rounds.append(answer["ms"])
                timings[name].peak_mb = answer["peak_mb"]
    return timings


def _start_book(job: Job, side: str) -> Child:
    threads = str(job.threads)
    environment = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), threads)
    order = json.dumps(asdict(replace(job, side=side)))
    return Child([sys.executable, "-m", "benchmarks.book_step", "--serve", order], environment)


def serve_book(arguments: Sequence[str]) -> None:
    """Be the child for the job in `arguments`, given as JSON."""
    job = Job(**json.loads(arguments[0]))
    step = replace(step_named(job.step), batch=job.batch, shape=tuple(job.shape), width=job.width)
    serve(BookStep(step, trainer=job.side == TRAINER), sys.stdin, sys.stdout)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve_book(sys.argv[2:])
    else:
        run_command(main, Options)
