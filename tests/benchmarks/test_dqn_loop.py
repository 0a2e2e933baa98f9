"""The loop that is timed: both sides do the same, and the figures come out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import core
from benchmarks import dqn_loop
from benchmarks.dqn_loop import Options, TorchAgent, sampling_ms, steps_per_second
from benchmarks.sides import OURS, PEER
from dqn.recipes import Recipe
from dqn.replay import Batch
from dqn.training import _agent
from tests.dqn.conftest import SCREEN, VECTOR, small_recipe


def test_our_loop_has_a_speed() -> None:
    assert steps_per_second(small_recipe(), OURS, 50, threads=1) > 1
    assert 0 < sampling_ms(frames=60, draws=3) < 1000


def test_a_line_and_a_file_for_each_recipe(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    speeds = {OURS: 200.0, PEER: 100.0}
    monkeypatch.setattr(dqn_loop, "_in_a_process", lambda name, side, options: speeds[side])
    monkeypatch.setattr(dqn_loop, "sampling_ms", lambda: 0.25)
    dqn_loop.main(Options(recipes=("cartpole",), out=tmp_path))
    shown = capsys.readouterr().out
    assert "cartpole: 200 steps per second, with PyTorch 100; our time over its 0.50" in shown
    assert (tmp_path / "dqn_loop.json").is_file()
    with pytest.raises(ValueError, match="--steps is 0"):
        Options(steps=0)


@pytest.mark.peer
@pytest.mark.parametrize("signature", [VECTOR, SCREEN])
def test_both_sides_learn_the_same(signature: Any) -> None:
    torch = pytest.importorskip("torch")
    recipe: Recipe = small_recipe(width=4, hidden=(16,))
    core.seed(0)
    ours, peer = _agent(recipe, signature, "cpu"), TorchAgent(recipe, signature, threads=1)
    names = ours.online.state_dict().values()
    for net in (peer.online, peer.target):
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), names, strict=True):
                parameter.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    rng = np.random.default_rng(0)
    shape = (8, signature.stack, *signature.frame) if signature.is_screen else (8, 4)
    for _ in range(4):
        states, following = (
            rng.integers(0, 256, shape, dtype=np.uint8)
            if signature.is_screen
            else rng.standard_normal(shape, np.float32)
            for _ in range(2)
        )
        batch = Batch(
            states,
            rng.integers(len(signature.actions), size=8),
            rng.standard_normal(8, np.float32),
            rng.random(8, np.float32),
            following,
            np.arange(8),
            None,
        )
        first, second = ours.learn(batch), peer.learn(batch)
        assert first.loss == pytest.approx(second.loss, rel=1e-3)
        assert first.errors == pytest.approx(second.errors, abs=1e-3)
    assert ours.values(states) == pytest.approx(peer.values(states), abs=1e-3)
