"""Few labelled pictures: a network from scratch against trained ones (book, 8.2.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import core
from core import data, models, nn, optim
from core import device as dev
from core.cli import resolve_device, run_command
from core.data import augment
from core.data.dataset import ArrayDataset, Split
from core.data.loader import workers_for
from core.data.rng import Draws
from core.models.backbone import Backbone, normalised
from core.options import need_positive
from core.tape import no_grad
from core.tensor import Tensor
from core.training.classifier import to_network
from core.training.parts import finished_parts, parts
from core.training.run import METRICS, Run, read_metrics
from core.training.trainer import Trainer
from core.training.transfer import depth_groups, freeze_below, replace_head

SPLITS: tuple[Split, Split] = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Learn flowers from 10, 50 and 200 pictures of each kind, from scratch and by transfer."""

    counts: tuple[int, ...] = (10, 50, 200)
    """Labelled pictures of each class."""

    ways: tuple[str, ...] = ()
    """Which of the ways to compare; by default all: see core.transfer.WAYS."""

    size: int = 96
    """Pixels that pictures are scaled to."""

    seeds: int = 3
    """How many times each training is repeated, with other pictures."""

    steps: int = 250
    """How many steps each training takes, to a whole number of epochs."""

    batch_size: int = 32
    """Samples in one step."""

    validation: bool = False
    """Score on training pictures that are not used, to choose a recipe, instead of on the test."""

    data_root: Path | None = None
    """Folder of the data sets; by default $OPENBOOK_DATA, else the user cache."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto takes a GPU when there is one."""

    out: Path | None = None
    """Folder for the results; by default runs/core-transfer."""

    resume: bool = False
    """Go on with the trainings that the run in the folder has not finished."""

    def __post_init__(self) -> None:
        need_positive(self, "size", "seeds", "steps", "batch_size")
        if min(self.counts, default=0) < 1:
            raise ValueError(f"--counts is {min(self.counts, default='empty')}; expected 1 or more")
        for way in self.ways:
            if way not in WAYS:
                raise ValueError(f"--ways {way!r} is unknown; expected some of {', '.join(WAYS)}")


@dataclass(frozen=True)
class Way:
    """One way to begin, and to go on."""

    make: Callable[[Path | None], nn.Module]
    lr: float
    frozen: bool = False
    decay: float = 1.0


def _pretrained(name: str) -> Callable[[Path | None], nn.Module]:
    return lambda data_root: models.pretrained(name, data_root=data_root).model


WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "from scratch": Way(lambda root: Backbone(10, batch_norm=True), lr=0.003),
        "our backbone, frozen": Way(_pretrained("backbone"), lr=0.01, frozen=True),
        "our backbone, fine-tuned": Way(_pretrained("backbone"), lr=0.001, decay=0.8),
        "ImageNet SqueezeNet, frozen": Way(_pretrained("squeezenet1_0"), lr=0.001, frozen=True),
        "ImageNet SqueezeNet, fine-tuned": Way(_pretrained("squeezenet1_0"), lr=0.001, decay=0.9),
    }
)


def main(options: Options) -> dict[str, Any]:
    """Train and score every way on every count; returns the summary.

    Raises ValueError for more pictures than a class has.
    """
    train, test = (data.flowers(split, options.data_root, size=options.size) for split in SPLITS)
    run = Run.create(options.out, "core", "transfer", options)
    ways = options.ways or tuple(WAYS)
    trainings = list(product(options.counts, ways, range(options.seeds)))
    done = finished_parts(run) if options.resume else 0
    for number in parts(run, done, len(trainings)):
        count, way, seed = trainings[number - 1]
        part, unused = _few(train, count, seed)
        model = _trained(options, part, way, f"{way}, {count} a class", seed)
        score = accuracy(model, unused if options.validation else test)
        run.log(number, {"way": way, "count": count, "seed": seed, "accuracy": score})
    return run.finish({"rows": _rows(read_metrics(run.path(METRICS)))})


def _rows(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each count and way the accuracies of all seeds; prints their mean."""
    found: dict[tuple[int, str], list[float]] = {}
    for line in lines:
        found.setdefault((line["count"], line["way"]), []).append(line["accuracy"])
    for (count, way), scores in found.items():
        shown = ", ".join(f"{score:.1%}" for score in scores)
        print(f"{count:>4} a class, {way}: {np.mean(scores):.1%} ({shown})")
    return [{"way": way, "count": count, "accuracy": own} for (count, way), own in found.items()]


def _trained(options: Options, part: ArrayDataset, name: str, title: str, seed: int) -> nn.Module:
    """The network of one training on `part`."""
    core.seed(seed)
    way = WAYS[name]
    model = way.make(options.data_root)
    head = replace_head(model, len(part.classes))
    model.to(resolve_device(options.device))
    if way.frozen:
        freeze_below(model, head)
    optimizer = optim.AdamW(depth_groups(model, way.lr, way.decay), lr=way.lr, weight_decay=0.01)
    batch_size = min(options.batch_size, len(part))
    loader = data.DataLoader(
        part,
        batch_size,
        shuffle=True,
        seed=seed,
        drop_last=True,
        transform=_augmented,
        workers=workers_for(next(model.parameters()).device),
    )
    epochs = max(1, round(options.steps / len(loader)))
    schedule = optim.CosineAnnealingLR(optimizer, epochs * len(loader))
    Trainer(
        model=model,
        optimizer=optimizer,
        loader=loader,
        schedule=schedule,
        schedule_per="step",
        graph=True,
        title=f"{title}, seed {seed}",
    ).fit(epochs)
    return model


def _few(train: ArrayDataset, count: int, seed: int) -> tuple[ArrayDataset, ArrayDataset]:
    """`count` pictures of each class, drawn by `seed`, and the others."""
    rng = np.random.default_rng(seed)
    chosen = []
    for label, name in enumerate(train.classes):
        own = np.flatnonzero(train.labels == label)
        if count < 1 or count > len(own):
            raise ValueError(f"--counts {count}: {name} has {len(own)} pictures")
        chosen.append(rng.permutation(own)[:count])
    indices = np.sort(np.concatenate(chosen))
    others = np.setdiff1d(np.arange(len(train)), indices)
    return train.subset(indices), train.subset(others)


def accuracy(model: nn.Module, test: ArrayDataset, batch_size: int = 100) -> float:
    """The share of pictures that get their class."""
    model.eval()
    device, right = next((p.device for p in model.parameters()), "cpu"), 0
    with no_grad():
        for start in range(0, len(test), batch_size):
            part = slice(start, start + batch_size)
            inputs = dev.to_device(normalised(to_network(test.images[part])), device)
            logits = model(Tensor(inputs))
            right += int((logits.numpy().argmax(axis=1) == test.labels[part]).sum())
    return right / len(test)


_AUGMENTATION = augment.Compose(
    [
        augment.RandomHorizontalFlip(),
        augment.RandomAffine(15, 0.1, (0.8, 1.3), interpolation="bilinear"),
        augment.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
    ]
)


def _augmented(batch: tuple[NDArray[np.uint8], NDArray[np.int64]], draws: Draws) -> Any:
    images, labels = batch
    changed = _AUGMENTATION(augment.Batch(to_network(images)), draws).images
    return normalised(changed), labels


if __name__ == "__main__":
    run_command(main, Options)
