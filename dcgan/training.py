"""The training: a step for the discriminator, a step for the generator, and watching both."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from core import Tensor, nn, optim
from core import device as dev
from core import functional as F
from core.data.images import Picture
from core.data.loader import DataLoader
from core.device import Array
from core.training import checkpoint
from core.training.average import MovingAverage, update_bn
from core.training.interrupt import interruptible
from core.training.progress import Progress
from core.training.run import LAST, Run
from core.training.step import Recorded, numbers
from dcgan.artist import Artist, noise
from dcgan.losses import discriminator_loss, generator_loss
from dcgan.metrics import diversity
from dcgan.recipes import Recipe

Figures = dict[str, float]

WATCHED = 64  # samples of the fixed noise
_STATISTICS = 8  # batches of noise that batch norm's statistics are taken from
_APART = 2**31  # keys of noise that no step has
_CHECKPOINT_MINUTES = 10.0
# What is said aloud: a discriminator that is always right or guesses, no gradient, samples alike.
_ALWAYS_RIGHT = 0.98
_GUESSED = 0.5
_VANISHED = 1e-4
_ALIKE = 0.3
_DIVERGED = 50.0  # of a mean loss; a logit of 50 is a probability of 2e-22


@dataclass(kw_only=True)
class Duel:
    """Trains generator and discriminator against each other on the batches of a loader.

    Batches are (pictures float32 (N, C, S, S) of -1 to 1, labels (N,)). With a `run`, each epoch
    writes a line of metrics, the checkpoint last.safetensors, and what the generator makes of the
    same noise (`on_epoch_end`). The noise of a step is a function of seed and step, so that a run
    that continues is the one that never stopped, bit for bit.
    """

    artist: Artist
    loader: DataLoader
    recipe: Recipe
    seed: int
    real_diversity: float
    """Of real pictures, in -1 to 1: what samples are compared with."""

    run: Run | None = None
    on_epoch_end: Callable[[int, Sequence[Picture]], None] | None = None
    """Called with the number of the epoch that ended, from 1, and the samples of fixed noise."""

    title: str = ""
    epoch: int = field(default=0, init=False)
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.artist.discriminator is None:
            raise ValueError("Duel: the artist has no discriminator")
        self.generator, self.discriminator = self.artist.generator, self.artist.discriminator
        betas = (self.recipe.beta1, 0.999)
        self._optimizers = {
            name: optim.Adam(network.parameters(), lr=self.recipe.lr, betas=betas)
            for name, network in self._networks().items()
        }
        self.average = None
        if self.recipe.average is not None:
            self.average = MovingAverage(self.generator, self.recipe.average)
        self._recorded = Recorded(self._play, next(self.generator.parameters()).device)
        self.fixed = noise(WATCHED, self.generator.latent, self.seed)
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._steps_summed = 0
        self._logged = 0
        self._saved_at = time.monotonic()

    def _networks(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "discriminator": self.discriminator}

    # ------------------------------------------------------------------ one step

    def play(self, pictures: NDArray[np.float32], labels: Any) -> Figures:
        """One step of both networks; their losses, and what the discriminator thinks.

        `real` and `made` are its mean probabilities, `right` the share that it tells apart,
        `d_gradient` and `g_gradient` the norms.
        """
        points = noise(len(pictures), self.generator.latent, (self.seed, self.step))
        told = (labels,) if self.generator.classes else ()
        self.generator.train()
        self.discriminator.train()
        figures = numbers(self._recorded(points, pictures, *told))
        for name in ("discriminator", "generator"):
            self._need_numbers(name, figures[f"{name[0]}_loss"], figures[f"{name[0]}_gradient"])
        if self.average is not None:
            self.average.update()
        return figures

    def _play(self, points: Array, pictures: Array, told: Array | None = None) -> dict[str, Tensor]:
        """The step itself, on the device; see `play`."""
        made = self.generator(Tensor(points), told)
        real = self.discriminator(Tensor(pictures), told)
        fake = self.discriminator(made.detach(), told)
        d_loss = discriminator_loss(self.recipe.loss, real, fake, self.recipe.label_smoothing)
        d_gradient = self._learn("discriminator", d_loss)
        # The generator's gradient goes through the discriminator, whose weights need none.
        self.discriminator.requires_grad_(False)
        try:
            g_loss = generator_loss(self.recipe.loss, self.discriminator(made, told))
            g_gradient = self._learn("generator", g_loss)
        finally:
            self.discriminator.requires_grad_(True)
        return {
            "d_loss": d_loss.detach(),
            "g_loss": g_loss.detach(),
            "real": F.mean(F.sigmoid(real.detach())),
            "made": F.mean(F.sigmoid(fake.detach())),
            "right": (_share_above(real) + 1 - _share_above(fake)) / 2,
            "d_gradient": d_gradient,
            "g_gradient": g_gradient,
        }

    def _learn(self, name: str, loss: Tensor) -> Tensor:
        """One step of a network; the norm of its gradient."""
        network, optimizer = self._networks()[name], self._optimizers[name]
        optimizer.zero_grad()
        loss.backward()
        # A norm without end: nothing is clipped, only measured.
        norm = nn.utils.clip_grad_norm_(network.parameters(), math.inf)
        if loss.device == "cpu":  # a GPU is not waited for here
            self._need_numbers(name, loss.item(), norm.item())
        optimizer.step()
        return norm

    def _need_numbers(self, name: str, loss: float, norm: float) -> None:
        if not (math.isfinite(norm) and math.isfinite(loss)):
            self._stop(f"the {name}'s loss is {loss}, its gradient {norm}")

    # ------------------------------------------------------------------ the loop

    def fit(self, epochs: int, *, resume: bool = False) -> None:
        """Train until `epochs` epochs are done; `resume` continues from the run's checkpoint.

        Ctrl-C writes one and raises KeyboardInterrupt after the step. Raises RuntimeError when a
        loss or a gradient is no number any more: the last checkpoint stays.
        """
        if resume:
            self._resume()
        progress = Progress(
            epochs=epochs, steps_per_epoch=len(self.loader), done=self.step, title=self.title
        )
        with interruptible() as interrupt, progress:
            while self.epoch < epochs:
                for pictures, labels in self.loader:
                    figures = self.play(pictures, labels)
                    self.step += 1
                    self._steps_summed += 1
                    for name, value in figures.items():
                        self._sums[name] += value
                    progress.step(figures)
                    if interrupt.requested:
                        self._interrupted(progress)
                    if time.monotonic() - self._saved_at > 60 * _CHECKPOINT_MINUTES:
                        self._save_last()
                self._end_epoch(progress)
                if interrupt.requested:
                    self._interrupted(progress)

    def _end_epoch(self, progress: Progress) -> None:
        figures = {name: total / self._steps_summed for name, total in self._sums.items()}
        for name in ("discriminator", "generator"):
            loss = figures[f"{name[0]}_loss"]
            if abs(loss) > _DIVERGED:
                self._stop(f"diverged, the {name}'s mean loss is {loss:.3g}")
        self._sums.clear()
        self._steps_summed = 0
        self.epoch += 1
        with self.drawing():
            samples = self.artist.draw(self.fixed, self.artist.labels(WATCHED))
        # Samples are 0 to 255, the other pictures -1 to 1.
        figures["diversity"] = diversity(np.stack(samples)) / 127.5 / self.real_diversity
        for line in worries(figures, self.recipe):
            progress.note(f"epoch {self.epoch}: {line}")
        if self.run is not None:
            self.run.log(self.step, {"epoch": self.epoch, **figures})
            self._logged = self.step
        if self.on_epoch_end is not None:
            self.on_epoch_end(self.epoch, samples)
        if self.run is not None:
            self._save_last()
        progress.epoch(self.epoch, figures)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Inside the block the generator is the one that draws; afterwards it is as it was.

        Its weights are the averaged ones, if they are averaged, and its batch norm has the
        statistics of just these weights.
        """
        own = {name: b.data.copy() for name, b in self.generator.named_buffers()}
        with ExitStack() as stack:
            if self.average is not None:
                stack.enter_context(self.average.applied())
            take_statistics(self.artist, self.recipe, self.seed)
            try:
                yield
            finally:
                for name, buffer in self.generator.named_buffers():
                    buffer.copy_(own[name])

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the training depends on."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "logged": self._logged,
            "sums": dict(self._sums),
            "summed": self._steps_summed,
            "loader": self.loader.state_dict(),
            "random": dev.random.state_dict(),
            "networks": {name: one.state_dict() for name, one in self._networks().items()},
            "optimizers": {name: one.state_dict() for name, one in self._optimizers.items()},
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken. Raises ValueError for a state of other parts."""
        for name, network in self._networks().items():
            network.load_state_dict(state["networks"][name])
            self._optimizers[name].load_state_dict(state["optimizers"][name])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.loader.load_state_dict(state["loader"])
        dev.random.load_state_dict(state["random"])
        self._sums = defaultdict(float, state["sums"])
        self._steps_summed, self._logged = int(state["summed"]), int(state["logged"])
        self.epoch, self.step = int(state["epoch"]), int(state["step"])

    def _save_last(self) -> None:
        self._saved_at = time.monotonic()
        if self.run is not None:
            checkpoint.save(self.run.path(LAST), self.state_dict())

    def _resume(self) -> None:
        if self.run is None:
            raise ValueError("Duel: without a run nothing was written to go on from")
        path = self.run.path(LAST)
        try:
            self.load_state_dict(checkpoint.load(path))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: cannot continue from it: {error}") from error
        self.run.rewind(self._logged)

    def _interrupted(self, progress: Progress) -> NoReturn:
        if self.run is not None:
            self._save_last()
            progress.note(
                f"stopped in epoch {self.epoch + 1} after step {self.step}, saved in "
                f"{self.run.folder}; the same command with --resume continues"
            )
        raise KeyboardInterrupt

    def _stop(self, what: str) -> NoReturn:
        kept = ""
        if self.run is not None and self.run.path(LAST).is_file():
            kept = f"; {self.run.path(LAST)} is from before"
        raise RuntimeError(
            f"training stopped in epoch {self.epoch + 1} at step {self.step + 1}: {what}{kept}; "
            "try a smaller learning rate"
        )


def take_statistics(artist: Artist, recipe: Recipe, seed: int) -> None:
    """Measure the generator's batch norm anew, on eight batches of noise and every class."""
    size, latent = recipe.batch_size, recipe.latent
    batches = [noise(size, latent, (seed, _APART + i)) for i in range(_STATISTICS)]
    update_bn(batches, _Told(artist))


class _Told(nn.Module):
    """A generator that is told every class in turn, for those who give it noise alone."""

    def __init__(self, artist: Artist) -> None:
        super().__init__()
        self.generator = artist.generator
        self._labels = artist.labels

    def forward(self, points: Tensor) -> Tensor:
        return self.generator(points, self._labels(len(points)))


def worries(figures: Figures, recipe: Recipe) -> list[str]:
    """What an epoch's figures say of the balance, in words; empty when nothing is wrong."""
    found = []
    if figures["right"] > _ALWAYS_RIGHT:
        smoother = recipe.loss == "bce" and not recipe.label_smoothing
        found.append(
            f"the discriminator is right about {figures['right']:.1%} of all pictures: the "
            f"generator learns little; try --{'label-smoothing 0.1' if smoother else 'spectral'}"
        )
    if figures["right"] < _GUESSED:
        found.append(
            f"the discriminator is right about {figures['right']:.1%} of all pictures, no better "
            "than a guess: the generator has nothing to learn from"
        )
    if figures["g_gradient"] < _VANISHED:
        found.append(f"the generator's gradient has vanished ({figures['g_gradient']:.1e})")
    if figures["diversity"] < _ALIKE:
        found.append(
            f"samples look alike ({figures['diversity']:.2f} of real pictures' diversity): the "
            "generator may have collapsed; try --spectral or another --seed"
        )
    return found


def _share_above(logits: Tensor) -> Tensor:
    """The share of logits that say "real"; no gradient flows."""
    return F.mean(Tensor((logits.data > 0).astype(np.float32)))
