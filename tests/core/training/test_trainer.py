"""The trainer: it learns, stops when it should, and continues as if it had not stopped."""

from __future__ import annotations

import math
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import nn, optim
from core.data import ArrayDataset, DataLoader, embedded_digits
from core.io import weights
from core.models import SimpleConvNet
from core.tensor import Tensor
from core.training import checkpoint
from core.training.classifier import scaled
from core.training.run import BEST, LAST, METRICS, Run, read_metrics
from core.training.trainer import Trainer, classification, evaluate

PROGRAM = Path(__file__).with_name("tiny_run.py")
ROOT = Path(__file__).parents[3]
EPOCHS = 6

_program = runpy.run_path(str(PROGRAM))


def tiny(folder: Path, resume: bool = False, **changes: Any) -> Trainer:
    trainer = _program["tiny_trainer"](folder, resume, **changes)
    assert isinstance(trainer, Trainer)
    return trainer


def figures(folder: Path) -> list[dict[str, Any]]:
    """The metrics without those that depend on the clock."""
    lines = read_metrics(folder / METRICS)
    return [{k: v for k, v in x.items() if not k.startswith(("seconds", "samples"))} for x in lines]


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights.load(one)[0], weights.load(other)[0]
    return list(first) == list(second) and all(
        np.array_equal(a, second[name]) for name, a in first.items()
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    tiny(folder).fit(EPOCHS)
    return folder


def stopping_at(step: int) -> Any:
    """`classification`, with a Ctrl-C while it computes that step."""
    calls = 0

    def forward(model: nn.Module, batch: Any) -> Any:
        nonlocal calls
        if model.training:
            calls += 1
            if calls == step:
                signal.raise_signal(signal.SIGINT)
        return classification(model, batch)

    return forward


def test_it_learns(tmp_path: Path) -> None:
    digits = embedded_digits("train").subset(range(300))
    model = SimpleConvNet(image_size=8, filters=8, padding=2)
    loader = DataLoader(digits, 50, shuffle=True, transform=scaled)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    assert evaluate(model, loader, classification)["accuracy"] < 0.5
    Trainer(model=model, optimizer=optimizer, loader=loader).fit(8)
    assert evaluate(model, loader, classification)["accuracy"] > 0.95


def test_every_epoch_is_written_down(uninterrupted: Path) -> None:
    lines = figures(uninterrupted)
    assert [(line["epoch"], line["step"]) for line in lines] == [(i, 5 * i) for i in range(1, 7)]
    assert set(lines[0]) == {
        "step",
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "lr",
    }


def test_the_best_weights_are_those_that_scored_best(tmp_path: Path) -> None:
    trainer = tiny(tmp_path)
    trainer.fit(EPOCHS)
    best = max(figures(tmp_path), key=lambda line: (line["val_accuracy"], -line["epoch"]))
    assert (trainer.best, trainer.best_epoch) == (best["val_accuracy"], best["epoch"])
    trainer.restore_best()
    assert trainer.evaluate is not None
    assert trainer.evaluate()["loss"] == best["val_loss"]
    card = weights.read_card(tmp_path / BEST)
    assert card.metrics["val_accuracy"] == best["val_accuracy"]
    assert card.metrics["epoch"] == best["epoch"]


@pytest.mark.parametrize("step", [1, 5, 7, 15, 28])
def test_a_run_that_was_stopped_continues_bit_for_bit(
    step: int, uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, forward=stopping_at(step)).fit(EPOCHS)
    assert checkpoint.load(tmp_path / LAST)["step"] == step
    assert f"after step {step}, saved in {tmp_path}; the same command with --resume" in (
        capsys.readouterr().err
    )
    tiny(tmp_path, resume=True).fit(EPOCHS, resume=True)
    assert figures(tmp_path) == figures(uninterrupted)
    assert same_weights(tmp_path / BEST, uninterrupted / BEST)
    assert same_weights(tmp_path / LAST, uninterrupted / LAST)


def test_kill_it_at_any_moment(uninterrupted: Path, tmp_path: Path) -> None:
    """With a checkpoint after every step: a kill falls into writing one as well."""
    moments = random.Random(time.time_ns())
    command = [sys.executable, str(PROGRAM), str(tmp_path)]
    killed = 0
    while True:
        resume = ["resume"] if (tmp_path / LAST).exists() else []
        process = subprocess.Popen([*command, *resume], cwd=ROOT, stderr=subprocess.DEVNULL)
        if killed < 4:
            before = (tmp_path / LAST).stat().st_mtime_ns if resume else None
            while process.poll() is None and (
                not (tmp_path / LAST).exists() or (tmp_path / LAST).stat().st_mtime_ns == before
            ):
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.05))
            process.kill()
            killed += 1
        process.wait()
        assert checkpoint.load(tmp_path / LAST)["step"] <= 5 * EPOCHS
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert figures(tmp_path) == figures(uninterrupted)
    assert same_weights(tmp_path / BEST, uninterrupted / BEST)
    assert same_weights(tmp_path / LAST, uninterrupted / LAST)


def test_killed_between_the_line_of_an_epoch_and_its_checkpoint(
    uninterrupted: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, forward=stopping_at(10)).fit(EPOCHS)
    Run(tmp_path).log(10, {"epoch": 2, "loss": 123.0})
    tiny(tmp_path, resume=True).fit(EPOCHS, resume=True)
    assert figures(tmp_path) == figures(uninterrupted)


def test_metrics_after_the_last_checkpoint_are_dropped(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, forward=stopping_at(12)).fit(EPOCHS)
    Run(tmp_path).log(15, {"epoch": 3, "loss": 123.0})
    tiny(tmp_path, resume=True).fit(EPOCHS, resume=True)
    assert figures(tmp_path) == figures(uninterrupted)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"average": None}, "with and without average"),
        ({"schedule": None}, "with and without schedule"),
        ({"loader": DataLoader(embedded_digits("test"), 7)}, "batch size, batches in an epoch"),
        ({"model": nn.Linear(2, 2)}, "its model does not fit Linear: it lacks weight"),
    ],
)
def test_another_training_is_not_continued(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tiny(tmp_path).fit(1)
    trainer = tiny(tmp_path, resume=True)
    for name, value in changes.items():
        setattr(trainer, name, value)
    with pytest.raises(ValueError, match=message) as caught:
        trainer.fit(2, resume=True)
    assert str(tmp_path / LAST) in str(caught.value)


def test_early_stopping(tmp_path: Path) -> None:
    scores = iter([0.1, 0.3, 0.2, 0.3, 0.2, 0.9])
    seen = []
    trainer = tiny(tmp_path, evaluate=lambda: {"accuracy": next(scores)}, patience=3)
    trainer.on_epoch_end.append(lambda epoch, figures: seen.append((epoch, figures["accuracy"])))
    trainer.fit(100)
    assert (trainer.epoch, trainer.best, trainer.best_epoch) == (5, 0.3, 2)
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4, 5]


def test_a_smaller_figure_can_be_the_better_one(tmp_path: Path) -> None:
    losses = iter([float("nan"), 2.0, 1.0, 1.5])
    trainer = tiny(tmp_path, evaluate=lambda: {"loss": next(losses)}, monitor="loss", mode="min")
    trainer.fit(4)
    assert (trainer.best, trainer.best_epoch) == (1.0, 3)


def test_a_figure_that_nobody_computes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no figure 'val_mIoU' to monitor among loss, accuracy"):
        tiny(tmp_path, monitor="mIoU").fit(1)


def test_a_loss_that_is_no_number_stops_and_keeps_what_was_good(tmp_path: Path) -> None:
    calls = 0

    def forward(model: nn.Module, batch: Any) -> Any:
        nonlocal calls
        calls += model.training
        loss, shown = classification(model, batch)
        return (loss * float("nan") if calls == 8 else loss), shown

    with pytest.raises(RuntimeError, match=r"epoch 2 after step 7: the loss is nan; .* is from"):
        tiny(tmp_path, forward=forward).fit(EPOCHS)
    state = checkpoint.load(tmp_path / LAST)
    assert state["step"] == 5
    assert all(np.isfinite(array).all() for array in state["model"].values())


def test_weights_that_are_no_numbers_are_never_saved(tmp_path: Path) -> None:
    trainer = tiny(tmp_path)
    trainer.fit(1)
    trainer.on_epoch_end.clear()
    next(trainer.model.parameters()).data[...] = np.nan
    with pytest.raises(RuntimeError, match=r"0\.weight holds values that are no numbers"):
        trainer._save_last()
    assert checkpoint.load(tmp_path / LAST)["step"] == 5


def test_evaluation_counts_every_sample_once() -> None:
    """Seven samples in batches of four: a mean over batches would be wrong."""
    labels = np.array([0, 0, 0, 0, 1, 1, 0])
    data = ArrayDataset(np.zeros((7, 2), np.float32), labels, ("a", "b"))
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.9))
    model[0].bias.copy_(np.array([1.0, 0.0], np.float32))
    found = evaluate(model, DataLoader(data, 4), classification)
    sure = -math.log(math.exp(1) / (1 + math.exp(1)))
    assert found["accuracy"] == pytest.approx(5 / 7)
    assert found["loss"] == pytest.approx((5 * sure + 2 * (1 + sure)) / 7, rel=1e-6)
    assert model.training
    assert model[0].weight.grad is None


def test_an_empty_loader_is_an_error() -> None:
    data = embedded_digits("test").subset([])
    with pytest.raises(ValueError, match="no samples"):
        evaluate(nn.Linear(1, 1), DataLoader(data), classification)


def test_one_forward_pass_a_step(tmp_path: Path) -> None:
    passes = 0

    def hook(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal passes
        passes += 1

    trainer = tiny(tmp_path, evaluate=None, average=None)
    trainer.model.register_forward_hook(hook)
    trainer.fit(2)
    assert passes == 10


def test_gradients_are_clipped(tmp_path: Path) -> None:
    """With plain gradient descent a step is at most lr * clip_norm long."""
    trainer = tiny(tmp_path, schedule=None, average=None, clip_norm=0.01)
    trainer.optimizer = optim.SGD(trainer.model.parameters(), lr=1.0)
    before = [p.numpy().copy() for p in trainer.model.parameters()]
    trainer.fit(1)
    after = trainer.model.parameters()
    squares = [((p.numpy() - b) ** 2).sum() for p, b in zip(after, before, strict=True)]
    assert 0 < math.sqrt(sum(squares)) <= 5 * 0.01 * 1.001


def test_without_a_run_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = tiny(tmp_path / "unused", run=None, checkpoint_minutes=0)
    (tmp_path / "unused" / "config.json").unlink()
    trainer.fit(1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    with pytest.raises(ValueError, match="without a run"):
        trainer.restore_best()


@pytest.mark.parametrize(
    "wrong", [{"mode": "maximum"}, {"schedule_per": "batch"}, {"patience": 0}], ids=str
)
def test_settings_that_mean_nothing_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Trainer: {next(iter(wrong))} "):
        tiny(tmp_path, **wrong)
