"""Train the backbone that ships with the package: SqueezeNet's features, learned without labels.

The teacher is SqueezeNet trained on ImageNet; the student learns to predict its maps at strides 4,
8 and 16 (Romero et al. 2015, section 2.2, at three depths at once) on the training pictures of
flowers and CIFAR-10, and the classes of CIFAR-10. It sees no label of a flower, so that transfer to
flowers is honest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import core
from core import data, models, nn, optim
from core import device as dev
from core import functional as F
from core.cli import TrainingOptions, resolve_device, run_command
from core.data import augment
from core.data.dataset import ArrayDataset
from core.data.loader import workers_for
from core.data.preprocess import Preprocessing
from core.data.rng import Draws
from core.io import weights
from core.kernels.layout import ufunc
from core.models.backbone import MEAN, STD, Backbone, folded, normalised
from core.tape import no_grad
from core.tensor import Tensor
from core.training.classifier import to_network
from core.training.run import Run
from core.training.step import Forward
from core.training.trainer import Trainer, evaluate

_SIZE = 64
_UNLABELLED = len(data.cifar.CIFAR10_CLASSES)
# Layers of the teacher by the stage of the student that predicts them, and their channels.
_TAPS = {3: (5, 256), 4: (10, 512), 5: (12, 512)}
_HELD_OUT = 1000


@dataclass(frozen=True, kw_only=True)
class Options(TrainingOptions):
    """Distil a backbone; needs flowers, CIFAR-10 and the teacher's weights under the data root."""

    epochs: int = 3
    """How many times to go through the training set: CIFAR-10 once, the flowers eight times."""

    batch_size: int = 64
    """Samples in one step."""

    lr: float = 0.002
    """The largest learning rate of the cycle."""

    flowers: int = 8
    """How often a picture of a flower comes in one epoch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None:
            raise ValueError("--weights: the backbone is learned from its beginning; leave it out")


class Distillation(nn.Module):
    """The student, and what turns its maps into predictions of the teacher's (1x1 convolutions).

    `forward` takes pictures (N, 3, 64, 64), normalised, and gives the logits and a prediction for
    each tapped layer.
    """

    def __init__(self, student: Backbone) -> None:
        super().__init__()
        self.student = student
        widths = [m.out_channels for m in student.features if isinstance(m, nn.Conv2d)][1::2]
        self.regressors = nn.ModuleList(
            nn.Conv2d(widths[stage - 1], channels, 1) for stage, (_, channels) in _TAPS.items()
        )

    def forward(self, x: Tensor, sizes: list[tuple[int, int]]) -> tuple[Tensor, list[Tensor]]:
        names = [f"relu{stage}_2" for stage in _TAPS]
        found = models.features(self.student, [*names, ""])(x)
        predictions = [
            regressor(F.adaptive_avg_pool2d(found[name], size))
            for name, regressor, size in zip(names, self.regressors, sizes, strict=True)
        ]
        return found[""], predictions


def main(options: Options) -> dict[str, Any]:
    """Train, fold the batch norms away, save; returns the summary."""
    core.seed(options.seed)
    train, held_out = _pictures(options)
    device = resolve_device(options.device)
    teacher = models.pretrained("squeezenet1_0", data_root=options.data_root).model
    teacher.requires_grad_(False).to(device)
    run = Run.create(options.out, "core", "distil", options)
    model = Distillation(Backbone(_UNLABELLED, batch_norm=True)).to(device)
    forward = objective(teacher)
    loader = data.DataLoader(
        train,
        options.batch_size,
        shuffle=True,
        seed=options.seed,
        transform=_augmented,
        workers=workers_for(device),
    )
    validation = data.DataLoader(held_out, options.batch_size, transform=_plain)
    optimizer = optim.AdamW(model.parameters(), lr=options.lr, weight_decay=0.02)
    trainer = Trainer(
        model=model,
        optimizer=optimizer,
        loader=loader,
        forward=forward,
        evaluate=lambda: evaluate(model, validation, forward),
        monitor="loss",
        mode="min",
        schedule=optim.OneCycleLR(
            optimizer, options.lr, total_steps=options.epochs * len(loader), pct_start=0.2
        ),
        schedule_per="step",
        run=run,
    )
    trainer.fit(options.epochs, resume=options.resume)
    trainer.restore_best()
    student = folded(model.student).eval()
    figures = evaluate(model, validation, forward)
    card = weights.Card(
        architecture="backbone",
        classes=data.cifar.CIFAR10_CLASSES,
        data="CIFAR-10 and flowers, distilled from SqueezeNet 1.0 (ImageNet)",
        metrics=figures,
        seed=options.seed,
        extra=Preprocessing(size=_SIZE, resize=_SIZE, mean=MEAN, std=STD).header(),
    )
    weights.save_model(student, run.path("backbone.safetensors"), card, dtype=np.float16)
    return run.finish({**figures, "parameters": student.num_parameters()})


def objective(teacher: nn.Module) -> Forward:
    """The `Forward` of the training: squared errors of maps, in units of the maps' variance.

    A batch is (pictures in 0..1, labels); where a label is 10 the class counts nothing.
    """

    def forward(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        pictures, labels = batch
        device = next(model.parameters()).device
        x = Tensor(dev.to_device(normalised(pictures), device))
        wanted = [Tensor(t) for t in teacher_maps(teacher, x)]
        logits, predictions = model(x, [t.shape[2:] for t in wanted])
        errors = [F.mse_loss(p, t) for p, t in zip(predictions, wanted, strict=True)]
        distance = (errors[0] + errors[1] + errors[2]) / 3
        loss = distance
        if (labels != _UNLABELLED).any():
            target = dev.to_device(labels, device)
            loss = loss + 0.2 * F.cross_entropy(logits, target, ignore_index=_UNLABELLED)
        return loss, {"distance": distance.detach()}

    return forward


def teacher_maps(teacher: nn.Module, x: Tensor) -> list[dev.Array]:
    """The tapped maps of the teacher, each divided by its standard deviation over the batch."""
    with no_grad():
        found = models.features(teacher, [f"features.{layer}" for layer, _ in _TAPS.values()])(x)
    maps = [tap.data for tap in found.values()]
    return [ufunc("true_divide", a, a.std() + np.float32(1e-6)) for a in maps]


def _pictures(options: Options) -> tuple[ArrayDataset, ArrayDataset]:
    """All training pictures at 64 pixels, flowers without labels; and a thousand held out."""
    cifar = data.cifar10("train", options.data_root)
    flowers = data.flowers("train", options.data_root, size=_SIZE)
    known, held = cifar.split([len(cifar) - _HELD_OUT, _HELD_OUT], seed=0)
    plants, held_plants = flowers.split([0.9, 0.1], seed=0)
    classes = (*cifar.classes, "unlabelled")

    def joined(part: ArrayDataset, unlabelled: ArrayDataset, times: int) -> ArrayDataset:
        images = np.concatenate([_enlarged(part.images), *[unlabelled.images] * times])
        none = np.full(times * len(unlabelled), _UNLABELLED)
        return ArrayDataset(images, np.concatenate([part.labels, none]), classes)

    return joined(known, plants, options.flowers), joined(held, held_plants, 1)


def _enlarged(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (N, 3, 32, 32) at twice the size, a thousand at a time."""
    result = np.empty((len(images), 3, _SIZE, _SIZE), np.uint8)
    for i in range(0, len(images), 1000):
        part = Tensor(images[i : i + 1000].astype(np.float32))
        grown = F.interpolate(part, (_SIZE, _SIZE), mode="bilinear").numpy()
        result[i : i + 1000] = np.rint(np.clip(grown, 0, 255))
    return result


_AUGMENTATION = augment.Compose(
    [
        augment.RandomHorizontalFlip(),
        augment.RandomAffine(10, 0.1, (0.8, 1.4), interpolation="bilinear"),
        augment.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2),
    ]
)


def _augmented(batch: tuple[NDArray[np.uint8], NDArray[np.int64]], draws: Draws) -> Any:
    images, labels = batch
    return _AUGMENTATION(augment.Batch(to_network(images)), draws).images, labels


def _plain(batch: tuple[NDArray[np.uint8], NDArray[np.int64]], draws: Draws) -> Any:
    images, labels = batch
    return to_network(images), labels


if __name__ == "__main__":
    run_command(main, Options)
