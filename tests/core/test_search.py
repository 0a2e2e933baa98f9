"""The search draws what it promises, does not stop at a failed trial, and resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import recipes, search
from core.training.run import read_metrics


def options(out: Path, **changes: Any) -> search.Options:
    settings: dict[str, Any] = {
        "data": "digits",
        "model": "mlp",
        "device": "cpu",
        "trials": 4,
        "samples": 60,
        "epochs": 2,
        "lr_range": (0.01, 1.0),
    }
    return recipes.options(search.Options, "search-mnist", out=out, **(settings | changes))


def trials_in(folder: Path) -> list[dict[str, Any]]:
    lines = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_search_from_its_options_to_its_pictures(tmp_path: Path) -> None:
    summary = search.main(options(tmp_path))
    trials = trials_in(tmp_path)
    assert [trial["step"] for trial in trials] == [1, 2, 3, 4]
    best = max(trials, key=lambda trial: trial["val_accuracy"])
    assert (summary["lr"], summary["weight_decay"]) == (best["lr"], best["weight_decay"])
    assert all(0.01 <= trial["lr"] <= 1 for trial in trials)
    assert all(1e-8 <= trial["weight_decay"] <= 1e-4 for trial in trials)
    assert len({trial["lr"] for trial in trials}) == 4
    assert all(len(trial["course"]["val_accuracy"]) == 2 for trial in trials)
    assert all((tmp_path / name).stat().st_size > 1000 for name in summary["pictures"])
    assert json.loads((tmp_path / "summary.json").read_bytes())["trials"] == 4


def test_a_resumed_search_ends_like_one_that_was_not_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search.main(options(tmp_path / "whole"))
    real = search._trial

    def stopping(options: search.Options, number: int, *data: Any) -> dict[str, Any]:
        if number == 3:
            raise KeyboardInterrupt
        return real(options, number, *data)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(search, "_trial", stopping)
        search.main(options(tmp_path / "stopped"))
    with pytest.raises(ValueError, match="unfinished"):
        search.main(options(tmp_path / "stopped"))
    search.main(options(tmp_path / "stopped", resume=True))
    assert trials_in(tmp_path / "stopped") == trials_in(tmp_path / "whole")


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_trial_whose_loss_is_no_number_counts_as_the_worst(tmp_path: Path) -> None:
    summary = search.main(
        options(tmp_path, model="simple_convnet", lr_range=(1e20, 1e30), trials=1)
    )
    assert summary["val_accuracy"] == 0
    assert "the loss is" in trials_in(tmp_path)[0]["failed"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"lr": 0.1}, "--lr: it is what is looked for; --lr-range says where"),
        ({"weight_decay": 0.1}, "--weight-decay: it is what is looked for; --weight-decay-range"),
        ({"weights": Path("w.safetensors")}, "--weights: every trial begins with new weights"),
    ],
)
def test_what_a_search_has_no_use_for(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        search.main(options(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_draws_are_even_on_a_logarithmic_scale() -> None:
    rng = np.random.default_rng(0)
    drawn = np.log10([search._log_uniform(rng, (1e-6, 1e-2)) for _ in range(2000)])
    counts, _ = np.histogram(drawn, bins=4, range=(-6, -2))
    assert counts.sum() == 2000
    assert counts.min() > 400


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"trials": 0}, "--trials is 0"),
        ({"samples": 0}, "--samples is 0"),
        ({"val_samples": -1}, "--val-samples is -1"),
        ({"lr_range": (0.0, 1.0)}, "--lr-range"),
        ({"weight_decay_range": (1.0, 0.1)}, "--weight-decay-range"),
    ],
)
def test_senseless_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(Path("unused"), **settings)
