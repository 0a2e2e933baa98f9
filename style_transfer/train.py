"""Teach a network one style, so that it paints any picture in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import core
from core import nn, optim, viz
from core.cli import TrainingOptions, resolve_device, run_command
from core.data.images import read_image, save_image
from core.data.loader import DataLoader, workers_for
from core.device import to_device
from core.io import weights
from core.tensor import Tensor
from core.training.run import METRICS, Run, read_metrics
from core.training.trainer import Trainer, evaluate
from style_transfer import pictures
from style_transfer.crops import Batch, Crops, batch_of, photographs, source, square
from style_transfer.fast import paint
from style_transfer.network import FAST_RECIPES, Network, Pooling, Recipe
from style_transfer.objective import Objective, tensor_of
from style_transfer.options import LossOptions, require
from style_transfer.stylise import LEAST_SIDE, fitted, floats
from style_transfer.transform import TransformNet, card_of

STYLE = "style.safetensors"
STEPS_PER_EPOCH = 200


@dataclass(frozen=True, kw_only=True)
class Options(LossOptions, TrainingOptions):
    """Train a network for one style; the run folder then holds style.safetensors for --weights."""

    style: Path
    """The picture whose style is learned (JPEG, PNG, WebP, GIF)."""

    data: tuple[str, ...] = ("photographs",)
    """Folders of training pictures; or photographs (ship with scikit-image), or flowers."""

    pooling: Pooling = "average"
    """Max pooling leaves a fine grid in the pictures."""

    size: int = 128
    """Side of the squares that the network is trained on, in pixels."""

    style_size: int = 384
    """Longer side of the style picture: larger gives larger strokes."""

    width: int = 16
    """Filters of the first layer; Johnson et al. have 32."""

    blocks: int = 5
    """Residual blocks."""

    epochs: int = 20
    """Epochs, of 200 batches each."""

    batch_size: int = 4
    """Pictures in one step."""

    lr: float = 1e-3
    """Learning rate of Adam at the start; it falls along a cosine."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(LEAST_SIDE, size=self.size, style_size=self.style_size)
        require(1, width=self.width, blocks=self.blocks)

    def recipe_of(self, network: Network) -> Recipe | None:
        """That of the fast form."""
        return FAST_RECIPES.get(network.name)


def main(options: Options) -> None:
    """Train, draw what the network makes of pictures it has not seen, and write its weights."""
    objective = _objective(options)
    crops = Crops(
        [source(name, options.data_root) for name in options.data],
        options.size,
        STEPS_PER_EPOCH * options.batch_size,
    )
    run = Run.create(options.out, "style_transfer", "train", options)
    core.seed(options.seed)
    net = TransformNet(options.width, options.blocks)
    net.to(resolve_device(options.device))
    fit(net, objective, crops, run, options)
    finish(net, crops, run, options)


def fit(net: TransformNet, objective: Objective, crops: Crops, run: Run, options: Options) -> None:
    """All epochs; after each, what the network makes of the held-out photographs is drawn."""
    held_out = photographs("test")
    watched = [(batch_of([square(one, options.size, 0, 0.5, 0.5, 1)]),) for one in held_out]

    def forward(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return perceptual(model, batch, objective)

    def draw(epoch: int, figures: Mapping[str, float]) -> None:
        painted = [paint(net, square(one, 2 * options.size, 0, 0.5, 0.5, 1)) for one in held_out]
        save_image(run.path(f"samples/{epoch:03d}.jpg"), np.concatenate(painted, axis=1))

    loader = DataLoader(
        crops,
        options.batch_size,
        seed=options.seed,
        transform=crops.make,
        collate=lambda items: np.array(items),
        workers=workers_for(objective.network.device),
    )
    optimizer = optim.Adam(net.parameters(), lr=options.lr)
    steps = options.epochs * len(loader)
    trainer = Trainer(
        model=net,
        optimizer=optimizer,
        loader=loader,
        forward=forward,
        graph=True,
        evaluate=lambda: evaluate(net, watched, forward),
        monitor="loss",
        mode="min",
        schedule=optim.CosineAnnealingLR(optimizer, T_max=steps),
        schedule_per="step",
        run=run,
        card=card_of(net, options.style.stem),
        on_epoch_end=[draw],
    )
    trainer.fit(options.epochs, resume=options.resume)
    trainer.restore_best()


def perceptual(
    model: nn.Module, batch: Batch, objective: Objective
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and figures of what the network makes of a batch (Johnson et al. 2016, section 3.2)."""
    contents = Tensor(to_device(batch[0], objective.network.device))
    total, parts = objective.towards(contents).losses(model(contents))
    return total, {name: parts[name].detach() for name in ("content", "style", "tv")}


def finish(net: TransformNet, crops: Crops, run: Run, options: Options) -> dict[str, Any]:
    """Write the weights, curves and pictures, and the summary."""
    metrics = read_metrics(run.path(METRICS))
    best: Mapping[str, Any] = min(metrics, key=lambda line: line["val_loss"])
    names = ("val_loss", "val_content", "val_style")
    about = card_of(
        net,
        options.style.stem,
        data=", ".join(Path(name).name for name in options.data),
        seed=options.seed,
        metrics={name: best[name] for name in names},
    )
    weights.save_model(net, run.path(STYLE), about, dtype=np.float16)
    for problem in crops.problems:
        print(f"skipped: {problem}", flush=True)
    viz.save(viz.curves(metrics, ("loss", "content", "style")), run.picture("curves.png"))
    shown = [square(one, 2 * options.size, 0, 0.5, 0.5, 1) for one in photographs("test")]
    painted = [(one, paint(net, one)) for one in shown]
    viz.save(pictures.pairs(painted, read_image(options.style)), run.picture("samples.png"))
    return run.finish(
        {
            "style": options.style.stem,
            "network": options.network,
            "parameters": sum(p.numel() for p in net.parameters()),
            "epoch": best["epoch"],
            **{name: best[name] for name in names},
            "skipped pictures": len(crops.problems),
            "seed": options.seed,
        }
    )


def _objective(options: Options) -> Objective:
    network = options.load_network()
    style = read_image(options.style)
    seen = tensor_of(floats(style, fitted(style, options.style_size)))
    return Objective(network, options.loss_weights(network), styles=[(seen, 1.0)])


if __name__ == "__main__":
    run_command(main, Options)
