"""Steps whose batches are loaded and augmented on the way, beside the same steps without.

    python -m benchmarks.loaded

DeepConvNet on digits that are shifted by up to two pixels, ResNet-20 on pictures that are padded,
cropped and mirrored, from 8-bit arrays in memory, as MNIST and CIFAR-10 have them. Here the
batches come through `core.data.DataLoader`, made in the step's own thread or ahead of it; beside
it PyTorch does the same to tensors, a whole batch at a time. Both take the same random numbers,
so that their losses have to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.measure import Timing, compare
from benchmarks.report import markdown_line
from benchmarks.sides import OURS, PEER, PEER_LAST, Ours, Side
from benchmarks.steps import Step, Workload
from core.cli import run_command
from core.data import ArrayDataset, DataLoader, augment
from core.data.rng import Draws
from core.kernels.threads import get_num_threads

BATCHES = 30
"""In an epoch."""

CLASSES = tuple(map(str, range(10)))


@dataclass(frozen=True)
class Recipe:
    """How far pictures are shifted, whether they are mirrored, and what learns from them."""

    shift: int
    mirrored: bool
    learner: Callable[[Side, Step], tuple[Any, Any]]


def deep_convnet(side: Side, step: Step) -> tuple[Any, Any]:
    """The network and its optimiser, as `steps.deep_convnet` has them."""
    net = side.module(networks.deep_convnet(side.nn, step.shape[-1], step.width))
    return net, side.optim.Adam(net.parameters())


def resnet20(side: Side, step: Step) -> tuple[Any, Any]:
    """The network and its optimiser, as `steps.resnet20` has them."""
    net = side.module(networks.resnet20(side.nn, side.functional, step.width))
    return net, side.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


RECIPES = {
    "deep_convnet": Recipe(2, False, deep_convnet),
    "resnet20": Recipe(4, True, resnet20),
}


def pictures(step: Step) -> ArrayDataset:
    """Random 8-bit pictures with random labels."""
    rng = np.random.default_rng(0)
    count = BATCHES * step.batch
    images = rng.integers(256, size=(count, *step.shape), dtype=np.uint8)
    return ArrayDataset(images, rng.integers(10, size=count), CLASSES)


def build(recipe: Recipe, prefetch: int | None, side: Side, step: Step) -> Workload:
    """The step with its loading; `prefetch` None takes one batch that is made beforehand."""
    net, optimizer = recipe.learner(side, step)
    criterion = side.nn.CrossEntropyLoss()
    batches = (_ours if isinstance(side, Ours) else _peers)(side, step, recipe, prefetch)
    if prefetch is None:
        batches = iter(partial(lambda batch: batch, next(batches)), None)

    def run() -> Any:
        x, target = next(batches)
        optimizer.zero_grad()
        loss = criterion(net(x), target)
        loss.backward()
        optimizer.step()
        return loss

    return Workload(run, (net,))


def _ours(side: Side, step: Step, recipe: Recipe, prefetch: int | None) -> Iterator[Any]:
    size = (step.shape[1], step.shape[2])
    transforms: list[augment.Transform] = [augment.RandomCrop(size, recipe.shift)]
    if recipe.mirrored:
        transforms.append(augment.RandomHorizontalFlip())
    augmented = augment.Compose(transforms)

    def transform(batch: tuple[Any, Any], draws: Draws) -> tuple[Any, Any]:
        images, labels = batch
        changed = augmented(augment.Batch(images), draws).images
        # Scaled, and laid out for the kernels, in the loader's thread.
        return side.tensor(changed.astype(np.float32) / np.float32(255)), side.tensor(labels)

    dataset = pictures(step)
    loader = DataLoader(
        dataset, step.batch, shuffle=True, transform=transform, prefetch=prefetch or 0
    )
    while True:
        yield from loader


def _peers(side: Any, step: Step, recipe: Recipe, prefetch: int | None) -> Iterator[Any]:
    """The same in PyTorch: gathers over a whole batch, in the step's thread."""
    torch = side.torch
    dataset = pictures(step)
    images, labels = torch.from_numpy(dataset.images), torch.from_numpy(dataset.labels)
    height, width = step.shape[1:]
    epoch = 0
    while True:
        order = np.random.default_rng((0, epoch)).permutation(len(dataset))
        for first in range(0, len(order), step.batch):
            indices = order[first : first + step.batch]
            draw, shift = Draws(0, epoch, indices), recipe.shift
            chance = torch.from_numpy(draw(2))
            chosen = images[torch.from_numpy(indices)]
            framed = torch.nn.functional.pad(chosen, [shift] * 4)
            top, left = (chance * (2 * shift + 1)).long().T
            rows = (top[:, None] + torch.arange(height))[:, None, :, None]
            columns = (left[:, None] + torch.arange(width))[:, None, None, :]
            sample = torch.arange(len(indices))[:, None, None, None]
            channel = torch.arange(step.shape[0])[:, None, None]
            changed = framed[sample, channel, rows, columns]
            if recipe.mirrored:
                mirrored = torch.from_numpy(draw(1) < 0.5)[:, :, None, None]
                changed = torch.where(mirrored, changed.flip(3), changed)
            x = (changed.float() / 255).contiguous(memory_format=side.layout)
            yield x, labels[torch.from_numpy(indices)]
        epoch += 1


def _steps(name: str, batch: int, shape: tuple[int, ...]) -> tuple[Step, ...]:
    """One batch again and again; loaded in the step's thread; loaded ahead of it."""
    kinds = (("fixed", None), ("loaded", 0), ("prefetched", 2))
    return tuple(
        Step(
            f"{name}_{kind}",
            f"{name}, {kind}",
            partial(build, RECIPES[name], prefetch),
            1.0,
            batch,
            shape,
        )
        for kind, prefetch in kinds
    )


LOADED = _steps("deep_convnet", 100, (1, 28, 28)) + _steps("resnet20", 128, (3, 32, 32))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Time steps with and without the loading of their batches."""

    steps: tuple[str, ...] = tuple(RECIPES)
    """Which networks."""

    rounds: int = 3
    """How often each side has its turn; the median of the turns counts."""

    seconds: float = 2.0
    """For how long a side times steps in its turn (two steps at least)."""

    threads: int | None = None
    """Threads of every side; by default $OPENBOOK_NUM_THREADS, else one for each core."""

    out: Path = Path("runs/benchmarks")
    """Folder for loaded.json and loaded.md."""

    def __post_init__(self) -> None:
        unknown = [name for name in self.steps if name not in RECIPES]
        if unknown:
            raise ValueError(f"--steps has {unknown[0]!r}; expected {', '.join(RECIPES)}")


def main(options: Options) -> None:
    """Print and save the table."""
    from benchmarks.__main__ import conditions
    from core.io.files import write_json, write_text

    threads = options.threads or get_num_threads()
    found: dict[str, dict[str, Timing]] = {}
    for step in LOADED:
        if step.name.rpartition("_")[0] not in options.steps:
            continue
        found[step.name] = compare(step, threads, options.rounds, options.seconds)
        print(f"{step.title}: {found[step.name][OURS].ms:.4g} ms", flush=True)
    text = table(found)
    about = conditions(threads, options.rounds)
    write_json(options.out / "loaded.json", {"conditions": about, "steps": details(found)})
    write_text(options.out / "loaded.md", text)
    print(f"\n{text}\nsaved in {options.out}")


HEAD = ("step", "openbook, ms", "of it loading", "PyTorch, ms", "of it loading", "ratio")


def table(found: Mapping[str, Mapping[str, Timing]]) -> str:
    """The times as Markdown; what loading takes is a step's time less that of the fixed batch."""
    lines = [markdown_line(HEAD), markdown_line(["---"] * len(HEAD))]
    for step in LOADED:
        if step.name in found:
            fixed = found[f"{step.name.rpartition('_')[0]}_fixed"]
            ours, theirs = _both(found[step.name])
            cells = [step.title]
            for ms, without in zip((ours, theirs), _both(fixed), strict=True):
                cells += [f"{ms:.4g}", f"{100 * (1 - without / ms):.1f} %"]
            lines.append(markdown_line([*cells, f"{ours / theirs:.2f}"]))
    return "\n".join([*lines, ""])


def _both(timings: Mapping[str, Timing]) -> tuple[float, float]:
    """Our time, and PyTorch's in its faster layout."""
    return timings[OURS].ms, min(timings[PEER].ms, timings[PEER_LAST].ms)


def details(found: Mapping[str, Mapping[str, Timing]]) -> dict[str, Any]:
    """Everything that was measured."""
    return {
        name: {side: vars(timing) for side, timing in timings.items()}
        for name, timings in found.items()
    }


if __name__ == "__main__":
    run_command(main, Options)
