"""A training that takes a second, as a program that can be killed: tiny_run.py FOLDER [resume]."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import core
from core import nn, optim
from core.data import ArrayDataset, DataLoader
from core.data.rng import Draws
from core.training.average import MovingAverage
from core.training.run import Run
from core.training.trainer import Trainer, classification, evaluate


@dataclass(frozen=True)
class Options:
    seed: int = 3
    resume: bool = False


def noisy(batch: tuple[np.ndarray, np.ndarray], draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    images, labels = batch
    noise = draws(images[0].size).reshape(images.shape)
    return images + noise.astype(np.float32), labels


def tiny_trainer(folder: Path, resume: bool = False, **changes: Any) -> Trainer:
    """Everything that a resumed training has to get right: shuffling, augmentation, dropout,
    batch statistics, momentum, a schedule, an average, and a smaller last batch."""
    core.seed(3)
    rng = np.random.default_rng(5)
    images = rng.normal(size=(45, 1, 6, 6)).astype(np.float32)
    data = ArrayDataset(images, rng.integers(0, 3, 45), ("a", "b", "c"))
    held_out = DataLoader(data.subset(range(10)), 4)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64, 3),
    )
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(data, 10, shuffle=True, seed=3, transform=noisy)
    settings: dict[str, Any] = {
        "schedule": optim.CosineAnnealingLR(optimizer, 30),
        "schedule_per": "step",
        "clip_norm": 1.0,
        "average": MovingAverage(model, 0.9),
        "run": Run.create(folder, "core", "train", Options(resume=resume)),
        "evaluate": lambda: evaluate(model, held_out, classification),
    }
    return Trainer(model=model, optimizer=optimizer, loader=loader, **(settings | changes))


if __name__ == "__main__":
    resumed = "resume" in sys.argv[2:]
    tiny_trainer(Path(sys.argv[1]), resumed, checkpoint_minutes=0).fit(6, resume=resumed)
