"""The training loop: it continues exactly, and its episodes are what they should be."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from core.training import checkpoint
from core.training.interrupt import Interrupt
from core.training.run import LAST, METRICS, Run, read_metrics
from dqn import training
from dqn.environments import Signature
from dqn.noisy import NoisyLinear
from dqn.recipes import Recipe
from dqn.training import Training
from tests.dqn.conftest import small_recipe

ALL = {"double": True, "dueling": True, "prioritized": True, "noisy": True, "n_step": 3}


def started(recipe: Recipe, folder: Path, *, seed: int = 0) -> Training:
    folder.mkdir(parents=True, exist_ok=True)
    return Training(recipe, Run(folder), seed=seed)


def weights_of(one: Training) -> list[np.ndarray]:
    return list(one.agent.online.state_dict().values())


def figures(folder: Path) -> list[dict[str, Any]]:
    clocks = ("seconds", "frames_per_second")
    lines = read_metrics(folder / METRICS)
    return [{k: v for k, v in line.items() if k not in clocks} for line in lines]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cartpole", {}),
        ("cartpole", {**ALL, "environments": 3}),
        ("catch", {"n_step": 2, "steps": 500}),
    ],
)
def test_a_resumed_training_goes_on_as_if_it_had_not_stopped(
    name: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(name, **changes)
    whole = started(recipe, tmp_path / "whole")
    whole.fit()

    stopped = started(recipe, tmp_path / "stopped")
    evaluate = stopped._evaluate

    def interrupt_after_evaluation(progress: Any) -> None:
        before = stopped.evaluations
        evaluate(progress)
        if stopped.evaluations > before:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(stopped, "_evaluate", interrupt_after_evaluation)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit()
    assert 0 < stopped.step < whole.step

    resumed = started(recipe, tmp_path / "stopped")
    resumed.fit(resume=True)
    assert (resumed.step, resumed.updates, resumed.best) == (
        whole.step,
        whole.updates,
        whole.best,
    )
    assert figures(tmp_path / "stopped") == figures(tmp_path / "whole")


def test_the_same_seed_gives_the_same_training_and_another_another(tmp_path: Path) -> None:
    runs = [
        started(small_recipe(), tmp_path / str(i), seed=seed) for i, seed in enumerate((4, 4, 5))
    ]
    for each in runs:
        each.fit()
    logged = [figures(tmp_path / str(i)) for i in range(3)]
    assert logged[0] == logged[1] != logged[2]


def test_an_episode_is_a_line_of_metrics(tmp_path: Path) -> None:
    trained = started(small_recipe(), tmp_path)
    player = trained.fit()
    lines = read_metrics(tmp_path / METRICS)
    episodes = [line for line in lines if "return" in line]
    # CartPole's return is its length, and the episodes together are all steps.
    assert all(line["return"] == line["length"] for line in episodes)
    assert sum(line["length"] for line in episodes) == episodes[-1]["step"] == trained.step >= 300
    assert episodes[0]["epsilon"] > episodes[-1]["epsilon"] == pytest.approx(0.02)
    assert {"loss", "q", "updates", "frames_per_second"} <= set(episodes[-1])
    assert trained.updates == (trained.step - 40) // 4
    evaluations = [line["val_return"] for line in lines if "val_return" in line]
    assert len(evaluations) == 2 and trained.best == max(evaluations)
    states = np.zeros((1, 4), np.float32)
    assert player.values(states).shape == (1, 2)


def test_it_stops_at_the_goal(tmp_path: Path) -> None:
    trained = started(small_recipe(stop_at=1.0), tmp_path)
    trained.fit()
    assert 150 <= trained.step < 300


class Lives(gym.Env[np.ndarray, np.int64]):
    """Six steps, two lives, of which one is lost at every third step; rewards of 5 and -7."""

    observation_space = spaces.Box(0, 10, (1,), np.float32)
    action_space = spaces.Discrete(2)

    class ale:
        left = 2

        @classmethod
        def lives(cls) -> int:
            return cls.left

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at, self.ale.left = 0, 2
        return np.array([0], np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.at += 1
        if self.at % 3 == 0:
            self.ale.left -= 1
        reward = 5.0 if self.at % 2 else -7.0
        return np.array([self.at], np.float32), reward, self.at == 6, False, {}


@pytest.mark.parametrize("life_loss", [True, False])
def test_a_lost_life_is_terminal_to_the_learner_alone(life_loss: bool, tmp_path: Path) -> None:
    gym.register("openbook-tests/Lives-v0", lambda **given: Lives())
    try:
        recipe = small_recipe(
            env="openbook-tests/Lives-v0", life_loss=life_loss, clip_rewards=True, n_step=1
        )
        trained = started(recipe, tmp_path)
        trained._round(_Silent(), Interrupt())  # type: ignore[arg-type]
    finally:
        del gym.registry["openbook-tests/Lives-v0"]
    batch = trained.memory.sample(200, np.random.default_rng(0))
    found = {
        int(state[0]): (float(reward), float(discount), int(following[0]))
        for state, reward, discount, following in zip(
            batch.states, batch.returns, batch.discounts, batch.following, strict=True
        )
    }
    goes_on = pytest.approx(0.99)
    at_loss = 0.0 if life_loss else goes_on
    assert found == {
        0: (1, goes_on, 1),
        1: (-1, goes_on, 2),
        2: (1, at_loss, 3),
        3: (-1, goes_on, 4),
        4: (1, goes_on, 5),
        5: (-1, 0.0, 6),
    }
    (line,) = read_metrics(tmp_path / METRICS)
    assert line["return"] == 3 * 5 - 3 * 7, "the return is that of the game, not clipped"


class _Silent:
    def step(self, figures: Any) -> None: ...


def test_a_checkpoint_of_another_environment_or_network(tmp_path: Path) -> None:
    trained = started(small_recipe(), tmp_path)
    trained.fit()
    path = tmp_path / LAST
    state = checkpoint.load(path)
    state["actions"] = ["left", "stay", "right"]
    checkpoint.save(path, state)
    with pytest.raises(ValueError, match="CartPole-v1 here has 2 actions, that run 3"):
        started(small_recipe(), tmp_path).fit(resume=True)
    state["actions"], state["signature"] = ["0", "1"], [[6], 1]
    checkpoint.save(path, state)
    with pytest.raises(ValueError, match=r"shows 1 x \(4,\), that run 1 x \(6,\)"):
        started(small_recipe(), tmp_path).fit(resume=True)
    del state["memory"]
    state["signature"] = [[4], 1]
    checkpoint.save(path, state)
    with pytest.raises(ValueError, match="cannot continue from it: 'memory'"):
        started(small_recipe(), tmp_path).fit(resume=True)
    checkpoint.save(path, state)
    with pytest.raises(ValueError, match="its network does not fit QNetwork"):
        started(small_recipe(hidden=(17,)), tmp_path).fit(resume=True)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="no valid safetensors file"):
        started(small_recipe(), tmp_path).fit(resume=True)


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = started(small_recipe(), tmp_path)
    learn = trained.agent.learn
    monkeypatch.setattr(
        trained.agent, "learn", lambda batch: learn(batch)._replace(loss=float("nan"))
    )
    with pytest.raises(RuntimeError, match=r"no number any more after step \d+: try"):
        trained.fit()


def test_noise_is_another_in_each_episode_before_anything_is_learned(tmp_path: Path) -> None:
    trained = started(small_recipe(noisy=True, learning_starts=10_000), tmp_path)
    (layer, *_) = (m for m in trained.agent.online.modules() if isinstance(m, NoisyLinear))
    noises = []
    for _ in range(3):
        trained._round(_Silent(), Interrupt())  # type: ignore[arg-type]
        noises.append(layer.weight_noise.numpy().copy())
    assert trained.updates == 0
    assert not any(np.array_equal(noises[i], noises[i + 1]) for i in range(2))


def test_beta_rises_to_one(tmp_path: Path) -> None:
    trained = started(small_recipe(prioritized=True, beta=0.4), tmp_path)
    seen = []
    update = trained.memory.update
    trained.memory.update = lambda *args: (seen.append(trained.memory.beta), update(*args))[1]  # type: ignore[method-assign, attr-defined, func-returns-value]
    trained.fit()
    assert 0.4 < seen[0] < 0.6 and seen == sorted(seen) and seen[-1] == 1.0


def test_the_memory_is_as_large_as_the_recipe_says() -> None:
    signature = Signature((84, 84), 4, ("a",))
    memory = training._memory(small_recipe("pong", memory=100), signature)
    assert memory.nbytes == 100 * 84 * 84


def test_pong_begins(tmp_path: Path) -> None:
    pytest.importorskip("ale_py")
    recipe = small_recipe("pong", learning_starts=700, train_every=20)
    trained = started(recipe, tmp_path)
    trained._round(_Silent(), Interrupt())  # type: ignore[arg-type]
    line = json.loads((tmp_path / METRICS).read_text())
    assert -21 <= line["return"] <= -15 and 700 < line["length"] == trained.step
    assert trained.updates == (trained.step - 700) // 20
