"""The training loop, to be read from top to bottom: `Trainer.fit`."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NoReturn, TextIO

import numpy as np

from core import device as dev
from core import functional as F
from core import nn
from core.data.loader import DataLoader
from core.io import weights
from core.tape import no_grad
from core.tensor import Tensor
from core.training import checkpoint
from core.training.average import MovingAverage
from core.training.interrupt import interruptible
from core.training.progress import Progress
from core.training.run import BEST, LAST, Run
from core.training.step import Figures, Forward, TrainingStep, numbers, scaler_of


def classification(
    model: nn.Module, batch: Any, *, label_smoothing: float = 0.0
) -> tuple[Tensor, Figures]:
    """The `Forward` of a classifier: cross entropy and accuracy of a batch (inputs, labels).

    A model that gives more than logits in training says itself what its loss is: what it gives has
    `logits` and a method `cross_entropy`.
    """
    device = next(model.parameters()).device
    inputs, target = (dev.to_device(part, device) for part in batch)
    outputs = model(Tensor(inputs))
    if isinstance(outputs, Tensor):
        logits = outputs
        loss = F.cross_entropy(logits, target, label_smoothing=label_smoothing)
    else:
        logits = outputs.logits
        loss = outputs.cross_entropy(target, label_smoothing=label_smoothing)
    return loss, {"accuracy": (logits.data.argmax(axis=1) == target).mean()}


def evaluate(model: nn.Module, loader: Iterable[Any], forward: Forward) -> Figures:
    """The mean of `forward`'s loss and figures over all samples of `loader`.

    The model is in evaluation mode meanwhile and nothing is recorded. Every sample counts the
    same, those of a smaller last batch too; a batch is a tuple whose first part has the samples.
    """
    was_training, mean = model.training, _Mean()
    model.eval()
    try:
        with no_grad():
            for batch in loader:
                loss, figures = forward(model, batch)
                mean.add(numbers({"loss": loss, **figures}), len(batch[0]))
    finally:
        model.train(was_training)
    return mean.figures()


class _Mean:
    """Means over samples of figures that come batch by batch."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._count = 0

    def add(self, figures: Mapping[str, float], samples: int) -> None:
        self._count += samples
        for name, value in figures.items():
            self._sums[name] += value * samples

    def figures(self) -> Figures:
        if not self._count:
            raise ValueError("the loader has no samples to average over")
        return {name: total / self._count for name, total in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums = defaultdict(float, state["sums"])
        self._count = int(state["count"])


@dataclass(kw_only=True)
class Trainer:
    """Trains a model on the batches of a loader; `fit` is the loop.

        trainer = Trainer(
            model=model, optimizer=optimizer, loader=loader, run=run,
            evaluate=lambda: evaluate(model, held_out, classification),
        )
        trainer.fit(epochs=20)

    With a `run`, each epoch writes a line of metrics (the training's figures, and those of
    `evaluate` as "val_" + name) and the checkpoint last.safetensors; best.safetensors has the
    weights of the best epoch. A run that continues from a checkpoint gives the same figures, bit
    for bit, as one that never stopped.
    """

    model: nn.Module
    optimizer: Any
    loader: DataLoader
    forward: Forward = classification
    """Loss and figures of a batch."""

    evaluate: Callable[[], Mapping[str, float]] | None = None
    """Figures of the held-out data, asked for after every epoch."""

    monitor: str = "accuracy"
    """The figure that says which epoch is the best."""

    mode: Literal["max", "min"] = "max"
    """Whether a larger or a smaller `monitor` is better."""

    patience: int | None = None
    """Stop after so many epochs without a better one."""

    schedule: Any = None
    """A learning-rate schedule; its `step` is called."""

    schedule_per: Literal["step", "epoch"] = "epoch"
    """How often."""

    clip_norm: float | None = None
    """Scale gradients down to this norm when theirs is larger."""

    graph: bool = False
    """Record the step on a GPU as one CUDA graph: `forward` must read nothing back."""

    average: MovingAverage | None = None
    """An average of the weights; it is then what is evaluated and kept as the best."""

    run: Run | None = None
    """Where metrics, checkpoints and weights go; without one nothing is written."""

    card: weights.Card = field(default_factory=weights.Card)
    """What best.safetensors says about itself; the figures of its epoch are added."""

    checkpoint_minutes: float = 10
    """A checkpoint is written at least this often, in the middle of an epoch too."""

    on_epoch_end: list[Callable[[int, Figures], None]] = field(default_factory=list)
    """Called with the number of the epoch that ended, from 1, and its figures."""

    title: str = ""
    """Stands before each line of progress."""

    stream: TextIO | None = None
    """Where progress is written; stderr when None."""

    epoch: int = field(default=0, init=False)
    step: int = field(default=0, init=False)
    best: float | None = field(default=None, init=False)
    best_epoch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name, given, known in (
            ("mode", self.mode, ("max", "min")),
            ("schedule_per", self.schedule_per, ("step", "epoch")),
        ):
            if given not in known:
                raise ValueError(
                    f"Trainer: {name} {given!r}, expected {known[0]!r} or {known[1]!r}"
                )
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"Trainer: patience is {self.patience}, expected 1 or more, or None")
        self._mean = _Mean()
        self._scaler = scaler_of(self.model)
        self._logged = 0
        self._saved_at = time.monotonic()

    def fit(self, epochs: int, *, resume: bool = False) -> None:
        """Train until `epochs` epochs are done, or `patience` is at its end.

        `resume` continues from the run's checkpoint. Ctrl-C writes one and raises
        KeyboardInterrupt after the step. Raises RuntimeError when the loss is no number any more
        (checkpoint and best weights stay as they were), ValueError when the checkpoint does not
        fit.
        """
        if resume:
            self._resume()
        step = TrainingStep(
            self.model,
            self.optimizer,
            self.forward,
            clip_norm=self.clip_norm,
            graph=self.graph,
            scaler=self._scaler,
        )
        progress = Progress(
            epochs=epochs,
            steps_per_epoch=len(self.loader),
            done=self.step,
            title=self.title,
            stream=self.stream,
        )
        with interruptible() as interrupt, progress:
            while self.epoch < epochs and not self._out_of_patience():
                self.model.train()
                start, samples = time.perf_counter(), 0
                for batch in self.loader:
                    shown = step(batch)
                    if not math.isfinite(shown["loss"]):
                        self._stop_at_nan(f"the loss is {shown['loss']}")
                    if self.schedule is not None and self.schedule_per == "step":
                        self.schedule.step()
                    if self.average is not None:
                        self.average.update()
                    self.step += 1
                    self._mean.add(shown, len(batch[0]))
                    samples += len(batch[0])
                    progress.step(shown)
                    if interrupt.requested:
                        self._interrupted(progress)
                    if time.monotonic() - self._saved_at > 60 * self.checkpoint_minutes:
                        self._save_last()
                speed = samples / (time.perf_counter() - start)
                self._end_epoch(progress, speed)
                if interrupt.requested:
                    self._interrupted(progress)

    def _end_epoch(self, progress: Progress, samples_per_second: float) -> None:
        lr = self.optimizer.param_groups[0]["lr"]
        if self.schedule is not None and self.schedule_per == "epoch":
            self.schedule.step()
        figures = self._mean.figures()
        self._mean = _Mean()
        self.epoch += 1
        if self.average is None:
            self._judge(figures)
        else:
            with self.average.applied():
                self._judge(figures)
        if self.run is not None:
            extra = {"lr": lr, "samples_per_second": round(samples_per_second, 1)}
            self.run.log(self.step, {"epoch": self.epoch, **figures, **extra})
            self._logged = self.step
            # After the line and the best weights: a run killed in between repeats this epoch.
            self._save_last()
        progress.epoch(self.epoch, figures)
        for hook in self.on_epoch_end:
            hook(self.epoch, figures)

    def _judge(self, figures: Figures) -> None:
        """Add the held-out figures, and keep the weights when they are the best so far."""
        name = self.monitor
        if self.evaluate is not None:
            figures.update({f"val_{key}": value for key, value in self.evaluate().items()})
            name = f"val_{self.monitor}"
        if name not in figures:
            raise ValueError(f"Trainer: no figure {name!r} to monitor among {', '.join(figures)}")
        value = figures[name]
        if self._is_better(value):
            self.best, self.best_epoch = value, self.epoch
            if self.run is not None:
                self._need_numbers()
                card = replace(self.card, metrics={**figures, "epoch": self.epoch})
                weights.save_model(self.model, self.run.path(BEST), card)

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        return value > self.best if self.mode == "max" else value < self.best

    def _out_of_patience(self) -> bool:
        return self.patience is not None and self.epoch - self.best_epoch >= self.patience

    def restore_best(self) -> None:
        """Give the model the weights of the best epoch."""
        weights.load_model(self.model, self._need_run().path(BEST))

    def _need_run(self) -> Run:
        if self.run is None:
            raise ValueError("Trainer: without a run nothing was written to read back")
        return self.run

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "logged": self._logged,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "mean": self._mean.state_dict(),
            "batches": [self.loader.batch_size, len(self.loader), self.loader.seed],
            "loader": self.loader.state_dict(),
            "random": dev.random.state_dict(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises ValueError for a state of other parts."""
        for name in ("schedule", "average"):
            if (state[name] is None) != (getattr(self, name) is None):
                raise ValueError(f"with and without {name} are two different trainings")
        batches = [self.loader.batch_size, len(self.loader), self.loader.seed]
        if state["batches"] != batches:
            raise ValueError(
                "its batch size, batches in an epoch and seed are "
                f"{', '.join(map(str, state['batches']))}, here {', '.join(map(str, batches))}"
            )
        weights.check_fit(self.model, state["model"], "its model")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if self._scaler is not None and state.get("scaler") is not None:
            self._scaler.load_state_dict(state["scaler"])
        self.loader.load_state_dict(state["loader"])
        dev.random.load_state_dict(state["random"])
        self._mean.load_state_dict(state["mean"])
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self._logged = int(state["logged"])
        self.best, self.best_epoch = state["best"], int(state["best_epoch"])

    def _save_last(self) -> None:
        self._saved_at = time.monotonic()
        if self.run is not None:
            self._need_numbers()
            checkpoint.save(self.run.path(LAST), self.state_dict())

    def _resume(self) -> None:
        run = self._need_run()
        path = run.path(LAST)
        state = checkpoint.load(path)
        try:
            self.load_state_dict(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: cannot continue from it: {error}") from error
        # Not to `step`: a run killed between the line of an epoch and its checkpoint has a line
        # for that very step, which is going to be written again.
        run.rewind(self._logged)

    def _interrupted(self, progress: Progress) -> NoReturn:
        if self.run is not None:
            self._save_last()
            progress.note(
                f"stopped in epoch {self.epoch + 1} after step {self.step}, saved in "
                f"{self.run.folder}; the same command with --resume continues"
            )
        raise KeyboardInterrupt

    def _need_numbers(self) -> None:
        """Refuse to save weights that are no numbers over a checkpoint that has some."""
        for name, array in self.model.state_dict().items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                self._stop_at_nan(f"{name} holds values that are no numbers")

    def _stop_at_nan(self, what: str) -> NoReturn:
        kept = ""
        if self.run is not None and self.run.path(LAST).is_file():
            kept = f"; {self.run.path(LAST)} is from before"
        raise RuntimeError(
            f"training stopped in epoch {self.epoch + 1} after step {self.step}: {what}{kept}; "
            "try a smaller learning rate"
        )
