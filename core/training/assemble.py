"""From the words of a recipe to a trainer: data, network, optimiser, schedule, augmentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core import data, models, nn, optim
from core.data import augment, distort
from core.data.dataset import ArrayDataset, Split
from core.data.loader import workers_for
from core.io import weights
from core.recipes import Optimisation, Recipe
from core.training.average import MovingAverage
from core.training.classifier import AFFINE, Augmented, scaled
from core.training.run import Run
from core.training.trainer import Trainer, classification, evaluate

HELD_OUT = 5000
_EVALUATION_BATCH = 500
# Training pictures from which an average gets its batch statistics.
_STATISTICS = 5000


def _digits(split: Split, data_root: Path | None) -> ArrayDataset:
    return data.embedded_digits(split)


_SETS: Mapping[str, Callable[[Split, Path | None], ArrayDataset]] = MappingProxyType(
    {
        "mnist": data.mnist,
        "fashion-mnist": data.fashion_mnist,
        "cifar-10": data.cifar10,
        "digits": _digits,
    }
)


def dataset(recipe: Recipe, split: Split, data_root: Path | None) -> ArrayDataset:
    """The recipe's data set; raises as that set's reader does."""
    return _SETS[recipe.data](split, data_root)


def hold_out(train: ArrayDataset) -> tuple[ArrayDataset, ArrayDataset]:
    """Training pictures without, and only, those that choices are made on."""
    count = min(HELD_OUT, len(train) // 10)
    # One seed for all runs: they are compared on the same pictures.
    rest, held_out = train.split([len(train) - count, count], seed=0)
    return rest, held_out


def network(recipe: Recipe, train: ArrayDataset) -> nn.Module:
    """A new network for the pictures and classes of `train`."""
    channels, size = train.images.shape[1:3]
    return models.build(
        recipe.model,
        in_channels=channels,
        image_size=size,
        num_classes=len(train.classes),
        **network_options(recipe),
    )


def network_options(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says of the network's own settings."""
    options = {"width": recipe.width, "dropout": recipe.dropout}
    return {name: value for name, value in options.items() if value is not None}


def optimizer(recipe: Optimisation, model: Any, package: Any = optim) -> Any:
    """The recipe's optimiser of all of the model's parameters.

    `package` is where classes of `core.optim`'s names and meanings are found.
    """
    settings: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        return package.SGD(model.parameters(), momentum=0.9, nesterov=True, **settings)
    kind = package.AdamW if recipe.optimizer == "adamw" else package.Adam
    return kind(model.parameters(), **settings)


def schedule(
    recipe: Optimisation, optimizer: Any, steps_per_epoch: int, package: Any = optim
) -> Any:
    """The recipe's schedule, stepped after every batch; None for a constant rate.

    `package` as in `optimizer`.
    """
    steps = recipe.epochs * steps_per_epoch
    if recipe.schedule == "cosine":
        return package.CosineAnnealingLR(optimizer, steps)
    if recipe.schedule == "one-cycle":
        return package.OneCycleLR(optimizer, recipe.lr, steps)
    return None


def transform(recipe: Recipe, image_size: int) -> Callable[..., tuple[Any, Any]]:
    """The loader's transform of training pictures of `image_size` pixels."""
    changes: list[augment.Transform] = []
    if recipe.augment in ("affine", "elastic"):
        changes.append(AFFINE)
    if "crop" in recipe.augment:
        changes.append(augment.RandomCrop(image_size, padding=image_size // 8))
    if "flip" in recipe.augment:
        changes.append(augment.RandomHorizontalFlip())
    if recipe.augment == "elastic":
        changes.append(distort.ElasticTransform(alpha=40, sigma=4))
    if recipe.erase:
        changes.append(distort.RandomErasing(recipe.erase))
    return Augmented(changes, recipe.augment_p) if changes else scaled


def loader(recipe: Recipe, train: ArrayDataset, seed: int, device: str = "cpu") -> data.DataLoader:
    """Batches of training pictures for a network on `device`, shuffled and changed by `seed`."""
    return data.DataLoader(
        train,
        recipe.batch_size,
        shuffle=True,
        seed=seed,
        transform=transform(recipe, train.images.shape[2]),
        workers=workers_for(device),
    )


def trainer(
    recipe: Recipe,
    model: nn.Module,
    train: ArrayDataset,
    held_out: ArrayDataset,
    *,
    seed: int,
    run: Run | None = None,
    title: str = "",
) -> Trainer:
    """The trainer of `model` as the recipe says; `held_out` decides which epoch is the best."""
    validation = data.DataLoader(held_out, _EVALUATION_BATCH, transform=scaled)
    average = None
    if recipe.average is not None:
        some = train.subset(range(min(_STATISTICS, len(train))))
        average = MovingAverage(
            model,
            recipe.average,
            batches=lambda: loader(recipe, some, seed),
        )
    device = next(model.parameters()).device
    batches, steps = loader(recipe, train, seed, device), optimizer(recipe, model)
    return Trainer(
        model=model,
        optimizer=steps,
        loader=batches,
        graph=True,
        forward=partial(classification, label_smoothing=recipe.label_smoothing),
        evaluate=lambda: evaluate(model, validation, classification),
        schedule=schedule(recipe, steps, len(batches)),
        schedule_per="step",
        patience=recipe.patience,
        average=average,
        run=run,
        card=weights.Card(
            architecture=recipe.model,
            classes=train.classes,
            data=recipe.data,
            seed=seed,
            extra={"options": json.dumps(network_options(recipe))},
        ),
        title=title,
    )
