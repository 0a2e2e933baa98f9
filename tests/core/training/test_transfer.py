"""Transfer: which layer is the head, what learns, and how fast."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import core
from core import Tensor, models, nn, transfer
from core import functional as F
from core.data.dataset import ArrayDataset
from core.training.transfer import depth_groups, freeze_below, head_of, replace_head


@pytest.fixture(autouse=True)
def seeded() -> None:
    core.seed(0)


def test_the_head_is_the_last_layer_with_weights() -> None:
    assert head_of(models.build("simple_convnet")) == "classifier.2"
    with nn.init.skip_draws():
        squeezenet = models.build("squeezenet1_0")
    assert head_of(squeezenet) == "classifier.1"
    with pytest.raises(ValueError, match="ReLU has no linear layer"):
        head_of(nn.ReLU())


@pytest.mark.parametrize("name", ["deep_convnet", "squeezenet1_1"])
def test_a_new_head_gives_the_new_classes_nearly_alike(name: str) -> None:
    model = models.build(name)
    head = replace_head(model, 3)
    channels, *size = models.input_shape(name)
    x = np.random.default_rng(0).random((2, channels, min(size[0], 64), min(size[0], 64)))
    x = x[..., : size[0], : size[0]].astype(np.float32)
    logits = model.eval()(Tensor(x)).numpy()
    assert logits.shape == (2, 3) and np.ptp(logits, axis=1).max() < 0.2
    assert head is model.get_submodule(head_of(model))


def test_every_class_of_a_new_head_learns_behind_a_relu() -> None:
    model = models.build("squeezenet1_1")
    head = replace_head(model, 20)
    assert isinstance(head, nn.Conv2d)
    x = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)
    F.cross_entropy(model.eval()(Tensor(x)), np.array([0, 1])).backward()
    assert head.bias is not None and head.bias.grad is not None
    assert np.all(head.bias.grad.numpy() != 0)


def test_only_the_head_learns_when_the_rest_is_frozen() -> None:
    model = models.build("deep_convnet")
    head = replace_head(model, 3)
    freeze_below(model, head)
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning == ["classifier.3.weight", "classifier.3.bias"]
    assert len(depth_groups(model, 0.1, 0.5)) == 1


def test_each_layer_below_learns_at_a_smaller_rate() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.Linear(4, 5))
    groups = depth_groups(model, 0.8, 0.5)
    assert [group["lr"] for group in groups] == [0.2, 0.4, 0.8]
    assert [len(group["params"]) for group in groups] == [2, 2, 2]
    with pytest.raises(ValueError, match="decay is 0, expected 0 < decay <= 1"):
        depth_groups(model, 0.8, 0)


def test_few_pictures_of_each_class_are_drawn_by_seed() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    pictures = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
    train = ArrayDataset(pictures, labels, ("a", "b", "c"))
    part, others = transfer._few(train, 7, seed=1)
    assert np.bincount(part.labels).tolist() == [7, 7, 7] and len(others) == 39
    assert not set(part.images.ravel()) & set(others.images.ravel())
    again, _ = transfer._few(train, 7, seed=1)
    np.testing.assert_array_equal(part.images, again.images)
    assert (transfer._few(train, 7, seed=2)[0].images != part.images).any()
    with pytest.raises(ValueError, match="--counts 11: a has 10 pictures"):
        transfer._few(train, 11, seed=0)


def test_accuracy_is_the_share_of_right_answers() -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean((2, 3))
            return mean[:, :2]

    images = np.zeros((4, 3, 2, 2), np.uint8)
    images[[0, 1, 2], 0], images[3, 1] = 200, 200
    data = ArrayDataset(images, np.array([0, 0, 1, 1]), ("red", "green"))
    assert transfer.accuracy(Bright(), data, batch_size=3) == 0.75


@pytest.fixture
def few_flowers(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (12, 3, 32, 32)).astype(np.uint8)
    flowers = ArrayDataset(images, np.arange(12) % 2, ("daisy", "rose"))
    monkeypatch.setattr(transfer.data, "flowers", lambda *_, **__: flowers)


def test_a_stopped_comparison_goes_on_with_what_is_left(
    few_flowers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = ("from scratch", "our backbone, frozen")
    settings = transfer.Options(counts=(2,), ways=ways, size=32, seeds=2, steps=1, batch_size=4)
    whole = transfer.main(replace(settings, out=tmp_path / "whole"))
    assert [(row["way"], len(row["accuracy"])) for row in whole["rows"]] == [(w, 2) for w in ways]
    trained, begun = transfer._trained, []

    def stopping(options: transfer.Options, *args: Any) -> nn.Module:
        begun.append(args[-1])
        if len(begun) == 3:
            raise KeyboardInterrupt
        return trained(options, *args)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(transfer, "_trained", stopping)
        transfer.main(replace(settings, out=tmp_path / "stopped"))
    again = transfer.main(replace(settings, out=tmp_path / "stopped", resume=True))
    assert again["rows"] == whole["rows"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"counts": ()}, "--counts is empty; expected 1 or more"),
        ({"seeds": 0}, "--seeds is 0; expected 1 or more"),
        ({"steps": -1}, "--steps is -1; expected 1 or more"),
        ({"ways": ("by magic",)}, "--ways 'by magic' is unknown; expected some of from scratch"),
    ],
)
def test_comparisons_that_compare_nothing(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transfer.Options(**changes)
