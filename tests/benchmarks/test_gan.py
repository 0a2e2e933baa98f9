"""The same game on both sides: the same pictures, noise and steps, the same networks at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import gan
from core import recipes
from core.io import weights
from dcgan import train
from dcgan.recipes import RECIPES


def options(out: Path, **changes: Any) -> train.Options:
    small: dict[str, Any] = {
        "size": 16, "width": 4, "latent": 8, "epochs": 2, "batch_size": 16, "count": 48,
        "samples": 16, "device": "cpu", "data": "digits", "out": out,
    }  # fmt: skip
    return recipes.options(train.Options, "mnist", RECIPES, **{**small, **changes})


@pytest.mark.peer
@pytest.mark.parametrize("changes", [{}, {"conditional": True, "average": 0.9}])
def test_both_sides_end_with_the_same_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    pytest.importorskip("torch", reason="PyTorch (the bench extra) is not installed")
    for module in (train, gan):
        monkeypatch.setattr(module, "report", lambda *_: {})
    train.main(options(tmp_path / "ours", **changes))
    gan.main(options(tmp_path / "theirs", **changes))
    ours, theirs = (weights.load(tmp_path / name / train.NETWORK)[0] for name in ("ours", "theirs"))
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_allclose(
            array.astype(np.float64), theirs[name].astype(np.float64),
            rtol=2e-3, atol=2e-4, err_msg=name,
        )  # fmt: skip


def test_only_the_papers_game_is_written_for_both(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch (the bench extra) is not installed")
    with pytest.raises(ValueError, match="only the paper's game is written for both"):
        gan.main(options(tmp_path / "x", loss="hinge"))
