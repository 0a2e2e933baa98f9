"""The demo keeps its promise; the training command runs from its flags to its summary."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from core import demo, models, train
from core.cli import run_command
from core.data import embedded_digits
from core.io import weights
from core.training import assemble
from core.training.evaluation import probabilities
from core.training.run import BEST, read_metrics
from core.training.trainer import classification

PICTURES = ["curves.png", "filters.png", "confusion.png", "mistakes.png"]


def test_the_demo_keeps_its_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(demo.main, demo.Options, ["--out", str(tmp_path), "--device", "cpu"])
    summary = json.loads((tmp_path / "summary.json").read_bytes())
    assert summary["accuracy"] >= demo.PROMISED_ACCURACY
    assert summary["samples"] == 360
    assert set(summary["pictures"]) == set(PICTURES)
    assert all((tmp_path / name).stat().st_size > 1000 for name in PICTURES)
    output = capsys.readouterr()
    assert '"accuracy": ' in output.out
    assert "epoch 40/40: loss" in output.err
    found = models.load_pretrained(tmp_path / BEST)
    test = embedded_digits("test")
    predicted = probabilities(found, list(test.images[:, 0])).argmax(axis=1)
    assert (predicted == test.labels).sum() > 0.9 * summary["right"]


def test_a_broken_promise_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EPOCHS", 1)
    with pytest.raises(RuntimeError, match=r"on the test digits is below the promised 0\.97"):
        demo.main(demo.Options(out=tmp_path, device="cpu", epochs=1))


def options(out: Path, **changes: Any) -> train.Options:
    settings: dict[str, Any] = {"data": "digits", "device": "cpu", "epochs": 2}
    return train.Options(out=out, **(settings | changes))


def test_a_training_from_its_options_to_its_weights(tmp_path: Path) -> None:
    summary = train.main(options(tmp_path, augment="affine", average=0.9, lr=0.01))
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [13, 26]
    assert summary["parameters"] == models.build("simple_convnet", image_size=8).num_parameters()
    assert summary["val_accuracy"] == max(line["val_accuracy"] for line in lines)
    assert 0.5 < summary["accuracy"] == summary["right"] / 360
    card = weights.read_card(tmp_path / BEST)
    assert (card.architecture, card.data, card.seed) == ("simple_convnet", "digits", 0)
    assert card.classes == tuple("0123456789")
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert config["options"]["average"] == 0.9


def test_a_resumed_training_ends_like_one_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train.main(options(tmp_path / "whole", model="mlp"))

    def stopping(model: Any, batch: Any, **settings: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return classification(model, batch, **settings)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(assemble, "classification", stopping)
        train.main(options(tmp_path / "stopped", model="mlp"))
    assert not (tmp_path / "stopped" / "summary.json").exists()
    resumed = train.main(options(tmp_path / "stopped", model="mlp", resume=True))
    for name in ("accuracy", "val_accuracy", "best_epoch"):
        assert resumed[name] == whole[name]


def test_training_goes_on_from_given_weights(tmp_path: Path) -> None:
    first = train.main(options(tmp_path / "first", epochs=4))
    path = tmp_path / "first" / BEST
    second = train.main(options(tmp_path / "second", epochs=1, lr=1e-9, weights=path))
    assert second["accuracy"] == first["accuracy"]


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    train.main(options(tmp_path / "mlp", model="mlp", epochs=1))
    with pytest.raises(ValueError, match="does not fit SimpleConvNet: it lacks features"):
        train.main(options(tmp_path / "cnn", weights=tmp_path / "mlp" / BEST))
