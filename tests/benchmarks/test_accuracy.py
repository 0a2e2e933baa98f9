"""The same recipe on both sides gives the same training, as far as float32 goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import recipes, train
from core.data.dataset import ArrayDataset
from core.training import assemble
from core.training.run import read_metrics

pytestmark = pytest.mark.peer


@pytest.fixture(autouse=True)
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty pictures of 16 pixels instead of CIFAR-10."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 10
    images = rng.integers(0, 100, (60, 3, 16, 16)) + 15 * labels[:, None, None, None]
    data = ArrayDataset(images.astype(np.uint8), labels, tuple("0123456789"))
    monkeypatch.setattr(assemble, "dataset", lambda *_: data)


def options(kind: Any, out: Path, **changes: Any) -> Any:
    settings = {"epochs": 3, "batch_size": 18, "lr": 0.001, "device": "cpu", "out": out}
    return recipes.options(kind, "resnet20-cifar10", **(settings | changes))


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl")]


def test_the_same_recipe_is_the_same_training(tmp_path: Path) -> None:
    from benchmarks import accuracy

    train.main(options(train.Options, tmp_path / "ours"))
    accuracy.main(options(accuracy.Options, tmp_path / "peer"))
    ours, peer = losses(tmp_path / "ours"), losses(tmp_path / "peer")
    # Rounding grows from step to step, to 4e-4 here; a rate off by a twentieth gives 5e-3.
    np.testing.assert_allclose(ours[0], peer[0], rtol=1e-4)
    np.testing.assert_allclose(ours, peer, rtol=2e-3)


def test_a_resumed_peer_ends_like_one_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import accuracy

    whole = accuracy.main(options(accuracy.Options, tmp_path / "whole"))
    save = accuracy.Training.save

    def stopping(self: Any, run: Any, epoch: int, step: int) -> None:
        save(self, run, epoch, step)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(accuracy.Training, "save", stopping)
        accuracy.main(options(accuracy.Options, tmp_path / "part"))
    resumed = accuracy.main(options(accuracy.Options, tmp_path / "part", resume=True))
    assert losses(tmp_path / "part") == losses(tmp_path / "whole")
    assert resumed["accuracy"] == whole["accuracy"]
    assert json.loads((tmp_path / "part" / "summary.json").read_bytes())["samples"] == 60


def test_only_what_is_written_for_both(tmp_path: Path) -> None:
    from benchmarks import accuracy

    with pytest.raises(ValueError, match="expected cifar_resnet20 or deep_convnet"):
        accuracy.main(options(accuracy.Options, tmp_path, model="mlp"))
