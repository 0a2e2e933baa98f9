"""Train a recipe's network on PyTorch: the same start, batches and schedule as `core.train`.

    python -m core.train --recipe resnet20-cifar10 --seed 0
    python -m benchmarks.accuracy --recipe resnet20-cifar10 --seed 0

The two differ in how sums are rounded and in nothing else; what they reach should too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

import core
from benchmarks import networks
from core import recipes
from core.cli import resolve_device, run_command
from core.data import DataLoader
from core.kernels.threads import get_num_threads
from core.recipes import RecipeOptions
from core.training import assemble, checkpoint
from core.training.run import LAST, Run


@dataclass(frozen=True, kw_only=True)
class Options(RecipeOptions):
    """The best epoch is chosen on held-out training pictures; the test set is scored once."""


def twin(name: str, ours: core.nn.Module) -> Any:
    """The network `name` of torch.nn with the weights of `ours`.

    Raises ValueError for one that is not written for both.
    """
    import torch

    if name == "cifar_resnet20":
        peer = networks.resnet20(torch.nn, torch.nn.functional)
    elif name == "deep_convnet":
        peer = networks.deep_convnet(torch.nn)
    else:
        raise ValueError(f"model {name!r}; expected cifar_resnet20 or deep_convnet")
    return taken_over(peer, ours).to(memory_format=torch.channels_last)


def taken_over(peer: Any, ours: core.nn.Module) -> Any:
    """The network of torch.nn with the weights of ours, which has the same layers in order."""
    import torch

    names, values = list(peer.state_dict()), list(ours.state_dict().values())
    arrays = zip(names, values, strict=True)
    peer.load_state_dict({key: torch.from_numpy(np.array(a, order="C")) for key, a in arrays})
    return peer


def main(options: Options) -> dict[str, Any]:
    """Train, keep the best epoch, score it on the test set; returns the summary."""
    import torch

    torch.set_num_threads(get_num_threads())
    core.seed(options.seed)
    torch.manual_seed(options.seed)
    test = assemble.dataset(options, "test", options.data_root)
    train, held_out = assemble.hold_out(assemble.dataset(options, "train", options.data_root))
    run = Run.create(options.out, "benchmarks", "accuracy", options)
    device = resolve_device(options.device)
    # As the precision of this core: products and convolutions alike.
    torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    model = twin(options.model, assemble.network(options, train)).to(device)
    training = Training(options, model, device)
    loader = assemble.loader(options, train, options.seed, device)
    training.start(len(loader))
    if options.resume:
        loader.set_epoch(training.load(run))
    for epoch in range(loader.epoch + 1, options.epochs + 1):
        figures = training.epoch(loader)
        figures["val_accuracy"] = training.score(held_out)
        if figures["val_accuracy"] > training.best:
            training.keep(figures["val_accuracy"], epoch)
        run.log(epoch * len(loader), {"epoch": epoch, **figures})
        training.save(run, epoch, epoch * len(loader))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        print(f"epoch {epoch}/{options.epochs}: {shown} ({run.seconds:.0f} s)", flush=True)
    training.model.load_state_dict(training.best_state)
    accuracy = training.score(test)
    return run.finish(
        {
            "accuracy": accuracy,
            "right": round(accuracy * len(test)),
            "samples": len(test),
            "val_accuracy": training.best,
            "best_epoch": training.best_epoch,
        }
    )


class Training:
    """A PyTorch model, its optimiser and schedule, and the best weights so far."""

    def __init__(self, options: Options, model: Any, device: str = "cpu") -> None:
        import torch
        from torch.optim import lr_scheduler

        self.options = options
        self.model = model
        self.device = device
        # What has the same name means the same: the recipe is read as our own trainer reads it.
        self._optim = SimpleNamespace(
            SGD=torch.optim.SGD,
            Adam=torch.optim.Adam,
            AdamW=torch.optim.AdamW,
            OneCycleLR=lr_scheduler.OneCycleLR,
            CosineAnnealingLR=lr_scheduler.CosineAnnealingLR,
        )
        self.optimizer = assemble.optimizer(options, model, self._optim)
        self.schedule: Any = None
        self.best, self.best_epoch = -1.0, 0
        self.best_state = _copied(model)

    def start(self, steps_per_epoch: int) -> None:
        """Make the schedule."""
        self.schedule = assemble.schedule(
            self.options, self.optimizer, steps_per_epoch, self._optim
        )

    def epoch(self, loader: DataLoader) -> dict[str, float]:
        """One pass over the loader; the mean loss and accuracy."""
        import torch

        self.model.train()
        total = right = samples = 0.0
        for images, labels in loader:
            target = torch.from_numpy(labels).to(self.device)
            logits = self.model(_pictures(images).to(self.device))
            loss = torch.nn.functional.cross_entropy(
                logits, target, label_smoothing=self.options.label_smoothing
            )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if self.schedule is not None:
                self.schedule.step()
            total += loss.item() * len(labels)
            right += (logits.argmax(1) == target).sum().item()
            samples += len(labels)
        return {"loss": total / samples, "accuracy": right / samples}

    def score(self, data: Any, batch_size: int = 500) -> float:
        """Accuracy on a data set."""
        import torch

        self.model.eval()
        right = 0
        with torch.inference_mode():
            for start in range(0, len(data), batch_size):
                images = data.images[start : start + batch_size].astype(np.float32) / 255
                predicted = self.model(_pictures(images).to(self.device)).argmax(1).cpu().numpy()
                right += int((predicted == data.labels[start : start + batch_size]).sum())
        return right / len(data)

    def keep(self, accuracy: float, epoch: int) -> None:
        """Take the weights as the best so far."""
        self.best, self.best_epoch = accuracy, epoch
        self.best_state = _copied(self.model)

    def save(self, run: Run, epoch: int, step: int) -> None:
        """Write a checkpoint, without pickle as everywhere here."""
        state = {
            "epoch": epoch,
            "step": step,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_state": self.best_state,
            **{name: part.state_dict() for name, part in self._parts().items()},
        }
        checkpoint.save(run.path(LAST), _arrays(state))

    def load(self, run: Run) -> int:
        """Continue from the checkpoint; returns the epochs that are done."""
        state = _tensors(checkpoint.load(run.path(LAST)))
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.best_state = state["best_state"]
        run.rewind(state["step"])
        return int(state["epoch"])

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "schedule": self.schedule}
        return {name: part for name, part in parts.items() if part is not None}


def _pictures(images: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)


def _copied(model: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _arrays(value: Any) -> Any:
    """`value` with arrays for its tensors."""
    import torch

    return _each(value, lambda item: item.cpu().numpy() if isinstance(item, torch.Tensor) else item)


def _tensors(value: Any) -> Any:
    """`value` with tensors for its arrays."""
    import torch

    return _each(
        value, lambda item: torch.from_numpy(item.copy()) if isinstance(item, np.ndarray) else item
    )


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return change(value)


if __name__ == "__main__":
    run_command(main, Options, defaults=recipes.defaults(Options, "resnet20-cifar10"))
